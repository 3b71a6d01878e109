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

  /** The session does not exist any more, or the token is not valid: a retry cannot help. */
  get gone() {
    return [401, 403, 404, 409, 410].includes(this.status);
  }
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
    response = await fetch(url, init);
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
  throw new Problem(message, { status: response.status, code, retryAfter });
}

/** @param {string} token */
const bearer = (token) => ({ Authorization: `Bearer ${token}` });

/** @returns {Promise<ModelCard>} */
export const getModel = async () => (await call("v1/model")).json();

/**
 * @param {Start} start
 * @returns {Promise<SessionInfo>}
 */
export async function createSession({ image, clip, ...request }) {
  const json = JSON.stringify(request);
  if (!image && !clip) {
    const headers = { "Content-Type": "application/json" };
    return (await call("v1/sessions", { method: "POST", headers, body: json })).json();
  }
  const form = new FormData();
  form.set("request", json);
  if (image) form.set("image", image, image instanceof File ? image.name : "image.png");
  if (clip) form.set("clip", clip, clip instanceof File ? clip.name : "clip.mp4");
  return (await call("v1/sessions", { method: "POST", body: form })).json();
}

/**
 * @param {string} id
 * @param {string} token
 * @returns {Promise<SessionInfo>}
 */
export async function describeSession(id, token) {
  const response = await call(`v1/sessions/${encodeURIComponent(id)}`, { headers: bearer(token) });
  const info = await response.json();
  return { urls: {}, ...info, id, token };
}

/**
 * End a session. Failures are ignored: a session without viewers is ended by the server.
 * @param {{id: string, token: string}} info
 */
export async function endSession(info) {
  const url = `v1/sessions/${encodeURIComponent(info.id)}`;
  await call(url, { method: "DELETE", headers: bearer(info.token), keepalive: true }).catch(() => {});
}

/**
 * @param {SessionInfo} info
 * @param {Blob} image
 * @returns {Promise<{re: string}>}
 */
export async function sendImage(info, image) {
  const form = new FormData();
  form.set("image", image, image instanceof File ? image.name : "image.png");
  const url = info.urls.image ?? `v1/sessions/${encodeURIComponent(info.id)}/image`;
  return (await call(url, { method: "POST", headers: bearer(info.token), body: form })).json();
}

/**
 * @param {string} url
 * @param {string} token
 */
export const getBlob = async (url, token) => (await call(url, { headers: bearer(token) })).blob();

/**
 * Start a render of the session.
 * @param {SessionInfo} info
 * @param {number | null} steps  null = the live steps, which gives the same pixels
 * @returns {Promise<string>} the address of the render
 */
export async function startRender(info, steps) {
  const url = info.urls.renders ?? `v1/sessions/${encodeURIComponent(info.id)}/renders`;
  const headers = { ...bearer(info.token), "Content-Type": "application/json" };
  const response = await call(url, { method: "POST", headers, body: JSON.stringify({ steps }) });
  return response.headers.get("Location") ?? `v1/renders/${(await response.json()).id}`;
}

/**
 * @param {string} url
 * @param {string} token
 * @returns {Promise<Render>}
 */
export const getRender = async (url, token) => (await call(url, { headers: bearer(token) })).json();

/**
 * @param {string} url
 * @param {string} token
 */
export const cancelRender = (url, token) => call(url, { method: "DELETE", headers: bearer(token) });
