// The browser client of Farcast: `connect` starts a session, `join` opens one by its token, `play` shows it in a <video>.

import { setServer } from "./net/api.js";
import { Session } from "./net/session.js";

/** @import { Start } from "./types.js" */
/** @typedef {import("./types.js").Chunk} Chunk */
/** @typedef {import("./types.js").Dial} Dial */
/** @typedef {import("./types.js").ModelCard} ModelCard */
/** @typedef {import("./types.js").PromptEvent} PromptEvent */
/** @typedef {import("./types.js").PromptRequest} PromptRequest */
/** @typedef {import("./types.js").SessionEvents} SessionEvents */
/** @typedef {import("./types.js").SessionInfo} SessionInfo */
/** @typedef {import("./types.js").Start} StartOptions */
/** @typedef {import("./types.js").Status} Status */

export { Problem, getModel, setServer } from "./net/api.js";
export { Session } from "./net/session.js";

/**
 * Start a session. Throws Problem if the server refuses or does not answer.
 * @param {string} server  its address, for example http://127.0.0.1:8000
 * @param {Start} start
 * @param {HTMLVideoElement} [video]  plays the session from its first frame
 * @returns {Promise<Session>}
 */
export async function connect(server, start, video) {
  setServer(server);
  const session = new Session();
  if (video) play(session, video);
  await session.create(start);
  session.open();
  return session;
}

/**
 * Open a session that exists, to steer it or to watch it, as the token allows.
 * @param {string} server
 * @param {{id: string, token: string}} key
 * @param {HTMLVideoElement} [video]
 * @returns {Promise<Session>}
 */
export async function join(server, { id, token }, video) {
  setServer(server);
  const session = new Session();
  if (video) play(session, video);
  await session.join(id, token);
  if (session.problem) throw session.problem;
  return session;
}

/**
 * Show the session in this element, and report shown frames to it: the first one makes its status "live".
 * @param {Session} session
 * @param {HTMLVideoElement} video
 */
export function play(session, video) {
  video.muted = true; // browsers start only muted video by themselves
  video.playsInline = true;
  session.on("stream", (stream) => {
    video.srcObject = stream;
    video.play().catch(() => {}); // the element was removed meanwhile
    const shown = () => {
      session.frameShown();
      if (session.running && video.srcObject === stream) video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  });
}
