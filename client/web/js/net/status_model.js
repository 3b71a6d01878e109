// How a take stands, from what is known about it. Pure: no sockets, no page.

/** @import { Problem } from "./api.js" */
/** @import { Status } from "../types.js" */

const ENDED = new Set(["stopped", "ended", "closed", "failed", "expired"]);

/** @param {string} server  the session's state as the server names it */
export const isOver = (server) => ENDED.has(server);

/**
 * @typedef {object} Facts
 * @property {boolean} known        the server has named the session
 * @property {boolean} controlDown  the control socket is gone
 * @property {boolean} frameSeen    the current peer has shown a frame
 * @property {boolean} everSeen     some peer has
 * @property {string} server        the session's state as the server names it
 * @property {string} reason        and why, where it says
 */

/**
 * @param {Facts} facts
 * @returns {Status}
 */
export function standing({ known, controlDown, frameSeen, everSeen, server, reason }) {
  if (!known) return { state: "connecting", detail: "" };
  if (controlDown || (everSeen && !frameSeen && server !== "paused")) {
    return { state: "reconnecting", detail: "The connection was lost. The take goes on; trying again." };
  }
  if (server === "recovering") return { state: "reconnecting", detail: reason };
  if (server === "paused") return { state: "paused", detail: reason };
  return frameSeen ? { state: "live", detail: "" } : { state: "warming", detail: "" };
}

/**
 * The server ended the take.
 * @param {string} server
 * @param {string} reason
 * @returns {Status}
 */
export const ending = (server, reason) => (server === "failed" ? { state: "refused", detail: reason } : { state: "ended", detail: "" });

/**
 * A problem that ends it for this page.
 * @param {Problem} problem
 * @param {boolean} starting  the server would not even begin
 * @returns {Status}
 */
export function stranded(problem, starting) {
  if (starting || !problem.gone) return { state: "refused", detail: problem.message };
  return { state: "lost", detail: "This take is no longer on the server; it may have been restarted." };
}

/**
 * A fatal message says with its code what HTTP would say with a status.
 * @param {string} code
 */
export const fatal = (code) => ({ code, status: { no_session: 404, unauthorised: 401 }[code] ?? 0 });
