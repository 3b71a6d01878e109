// HTTP requests. Every failure is thrown as a Problem whose message can be shown to the user.

import { updateIceServers } from "./ice.js";

/** @import { ModelCard, Render, SessionInfo, Start } from "../types.js" */

export class Problem extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string, retryAfter?: number}} [about]
   */
  constructor(message, { status = 0, code = "network", retryAfter = 0 } = {}) {
    super(message);
    this.name = "Problem";
    this.status = status; // 0: no answer
    this.code = code;
    this.retryAfter = retryAfter; // seconds; 0 if the server named none
  }

  /** The session does not exist any more, or the token is not valid: a retry cannot help. Only Farcast itself can say so. */
  get gone() {
    return !this.code.startsWith("http_") && [401, 403, 404, 409, 410].includes(this.status);
  }
}

/** The server's base address: the page's own, or what `setServer` was given. */
let base = typeof document === "undefined" ? "http://localhost:8000/" : document.baseURI;

/** @param {string} url  the address of the server, a path prefix included */
export function setServer(url) {
  base = url.endsWith("/") ? url : `${url}/`;
}

/**
 * An address that the server gave, under the base address. A server behind a proxy that strips a path prefix does not know
 * the prefix: a path that lacks it gets it.
 * @param {string} url
 */
export function address(url) {
  const prefix = new URL(".", base).pathname;
  if (url.startsWith("/") && !url.startsWith("//") && !url.startsWith(prefix)) return new URL(url.slice(1), base).href;
  return new URL(url, base).href;
}

/**
 * fetch that throws a Problem for any status but success.
 * @param {string} url
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
export async function call(url, init) {
  let response;
  try {
    response = await fetch(address(url), init);
  } catch {
    throw new Problem("The server does not answer. It may be restarting, or the network is down.");
  }
  updateIceServers(response.headers.get("Link"));
  if (response.ok) return response;
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  let code = `http_${response.status}`;
  let message = `The server answered ${response.status} ${response.statusText}.`;
  if ((response.headers.get("Content-Type") ?? "").includes("json")) {
    const body = await response.json().catch(() => ({}));
    if (typeof body.detail === "string" && body.detail) message = body.detail;
    else if (typeof body.title === "string" && body.title) message = body.title;
    if (typeof body.code === "string") code = body.code;
  }
  if (code === "http_401") message = "A proxy in front of the server asks for a user name and a password. Reload the page to give them.";
  throw new Problem(message, { status: response.status, code, retryAfter });
}

/**
 * The header with the session's token. Not `Authorization`: a proxy with a password needs that for itself.
 * @param {string} token
 */
export const tokenHeader = (token) => ({ "Farcast-Token": token });

/** @returns {Promise<ModelCard>} */
export const getModel = async () => (await call("v1/model")).json();

const KEY = "farcast.key"; // of the server, for those servers that ask for one

/**
 * @param {Start} start
 * @returns {Promise<SessionInfo>}
 */
export async function createSession(start) {
  try {
    return await postSession(start);
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== "no_key") throw error;
    const key = window.prompt("This server asks for a key. Its operator has it.");
    if (!key) throw error;
    localStorage.setItem(KEY, key.trim());
    return postSession(start);
  }
}

/**
 * @param {Start} start
 * @returns {Promise<SessionInfo>}
 */
async function postSession({ image, clip, ...request }) {
  const key = localStorage.getItem(KEY);
  const known = key ? tokenHeader(key) : {};
  const json = JSON.stringify(request);
  if (!image && !clip) {
    const headers = { ...known, "Content-Type": "application/json" };
    return (await call("v1/sessions", { method: "POST", headers, body: json })).json();
  }
  const form = new FormData();
  form.set("request", json);
  if (image) form.set("image", image, image instanceof File ? image.name : "image.png");
  if (clip) form.set("clip", clip, clip instanceof File ? clip.name : "clip.mp4");
  return (await call("v1/sessions", { method: "POST", headers: known, body: form })).json();
}

/**
 * @param {string} id
 * @param {string} token
 * @returns {Promise<SessionInfo>}
 */
export async function describeSession(id, token) {
  const response = await call(`v1/sessions/${encodeURIComponent(id)}`, { headers: tokenHeader(token) });
  const info = await response.json();
  return { urls: {}, ...info, id, token };
}

/**
 * End a session. Failures are ignored: a session without viewers is ended by the server.
 * @param {{id: string, token: string}} info
 */
export async function endSession(info) {
  const url = `v1/sessions/${encodeURIComponent(info.id)}`;
  await call(url, { method: "DELETE", headers: tokenHeader(info.token), keepalive: true }).catch(() => {});
}

/**
 * @param {SessionInfo} info
 * @param {Blob} image
 * @param {number} [strength]
 * @returns {Promise<{re: string}>}
 */
export async function sendImage(info, image, strength) {
  const form = new FormData();
  form.set("image", image, image instanceof File ? image.name : "image.png");
  if (strength !== undefined) form.set("strength", String(strength));
  const url = info.urls.image ?? `v1/sessions/${encodeURIComponent(info.id)}/image`;
  return (await call(url, { method: "POST", headers: tokenHeader(info.token), body: form })).json();
}

/**
 * The score of a session, as far as it has been made.
 * @param {SessionInfo} info
 */
export const getScore = async (info) => (await call(info.urls.score ?? "", { headers: tokenHeader(info.token) })).json();

/**
 * @param {string} url
 * @param {string} token
 */
export const getBlob = async (url, token) => (await call(url, { headers: tokenHeader(token) })).blob();

/**
 * Start a render of the session.
 * @param {SessionInfo} info
 * @param {number | null} steps  null = the live steps, which gives the same pixels
 * @returns {Promise<string>} the address of the render
 */
export async function startRender(info, steps) {
  const url = info.urls.renders ?? `v1/sessions/${encodeURIComponent(info.id)}/renders`;
  const headers = { ...tokenHeader(info.token), "Content-Type": "application/json" };
  const response = await call(url, { method: "POST", headers, body: JSON.stringify({ steps }) });
  return response.headers.get("Location") ?? `v1/renders/${(await response.json()).id}`;
}

/**
 * @param {string} url
 * @param {string} token
 * @returns {Promise<Render>}
 */
export const getRender = async (url, token) => (await call(url, { headers: tokenHeader(token) })).json();

/**
 * @param {string} url
 * @param {string} token
 */
export const cancelRender = (url, token) => call(url, { method: "DELETE", headers: tokenHeader(token) });
