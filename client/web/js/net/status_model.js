// The status that the page shows, computed from what is known about a session. No sockets, no DOM.

/** @import { Problem } from "./api.js" */
/** @import { Status } from "../types.js" */

const ENDED = new Set(["stopped", "ended", "closed", "failed", "expired"]);

/** @param {string} server  the session's state as the server names it */
export const isOver = (server) => ENDED.has(server);

/**
 * @typedef {object} Facts
 * @property {boolean} known        the server has answered with the session
 * @property {boolean} controlDown  the control socket is lost
 * @property {boolean} controlBlocked  it could never be opened, although HTTP works
 * @property {string[] | null} mediaBlocked  the server's media addresses, if no packet ever came from them
 * @property {boolean} frameSeen    the current peer has shown a frame
 * @property {boolean} everSeen     some peer has
 * @property {string} server        the session's state as the server names it
 * @property {string} reason        and its reason, if it gives one
 */

const NO_SOCKET =
  "The server answers over HTTP, but the WebSocket for commands cannot be opened. A proxy in front of the server must pass WebSockets: the headers Upgrade and Connection.";

/** @param {string[]} addresses */
const noMedia = (addresses) =>
  `UDP seems blocked: commands reach the server, but no video arrives from ${[...new Set(addresses)].slice(0, 2).join(", ")} (UDP). Open these ports in the firewall, tell the server its public address (--public-address), or give it a TURN server.`;

/**
 * @param {Facts} facts
 * @returns {Status}
 */
export function statusOf({ known, controlDown, controlBlocked, mediaBlocked, frameSeen, everSeen, server, reason }) {
  if (!known) return { state: "connecting", detail: "" };
  if (server === "recovering" && reason) return { state: "reconnecting", detail: reason };
  if (controlBlocked && controlDown) return { state: "reconnecting", detail: NO_SOCKET };
  if (mediaBlocked && !everSeen && !controlDown) return { state: "reconnecting", detail: noMedia(mediaBlocked) };
  if (controlDown || (everSeen && !frameSeen && server !== "paused")) {
    return { state: "reconnecting", detail: "The connection was lost. The take goes on; trying again." };
  }
  if (server === "recovering") return { state: "reconnecting", detail: "" };
  if (server === "paused") return { state: "paused", detail: reason };
  return frameSeen ? { state: "live", detail: "" } : { state: "warming", detail: "" };
}

/**
 * The session is over.
 * @param {string} server
 * @param {string} reason
 * @returns {Status}
 */
export const endStatus = (server, reason) => (server === "failed" ? { state: "refused", detail: reason } : { state: "ended", detail: "" });

/**
 * A problem after which this page cannot go on.
 * @param {Problem} problem
 * @param {boolean} starting  the session could not be started
 * @returns {Status}
 */
export function problemStatus(problem, starting) {
  if (starting || !problem.gone) return { state: "refused", detail: problem.message };
  return { state: "lost", detail: "This take is no longer on the server; it may have been restarted." };
}

/**
 * The HTTP status that corresponds to the code of a fatal `error` message.
 * @param {string} code
 */
export const fatalProblem = (code) => ({ code, status: { no_session: 404, unauthorised: 401 }[code] ?? 0 });
