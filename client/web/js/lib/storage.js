// What the page stores between loads, in localStorage and sessionStorage: the draft, earlier prompts, the session it steered.
// A browser may refuse storage; then nothing is stored and the page works without.

/**
 * @template T
 * @param {Storage} area
 * @param {string} key
 * @param {T} otherwise
 * @returns {T}
 */
function read(area, key, otherwise) {
  try {
    const text = area.getItem(`farcast.${key}`);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

/**
 * @param {Storage} area
 * @param {string} key
 * @param {unknown} value
 */
function write(area, key, value) {
  try {
    area.setItem(`farcast.${key}`, JSON.stringify(value));
  } catch {
    // the quota is used up or storage is refused
  }
}

const HISTORY = 50;
const LEASE_MS = 10_000;

/** @typedef {{id: string, token: string, view_token?: string}} SessionKey */
/** @typedef {{token: string, at: number}} Lease */
/** @typedef {{url: string, token: string, steps: number | null, name: string}} RenderRecord */

export const storage = {
  /** @returns {string[]} oldest first */
  history: () => read(localStorage, "history", /** @type {string[]} */ ([])),

  /** @param {string} text */
  addToHistory(text) {
    const others = storage.history().filter((known) => known !== text);
    write(localStorage, "history", [...others, text].slice(-HISTORY));
  },

  clearHistory: () => write(localStorage, "history", []),

  draft: () => read(localStorage, "draft", ""),

  /** @param {string} text */
  setDraft: (text) => write(localStorage, "draft", text),

  /** The second prompt of a mix. */
  second: () => read(localStorage, "second", ""),

  /** @param {string} text */
  setSecond: (text) => write(localStorage, "second", text),

  /** Renders asked for in this tab. @returns {RenderRecord[]} */
  renders: () => read(sessionStorage, "renders", /** @type {RenderRecord[]} */ ([])),

  /** @param {RenderRecord[]} renders */
  setRenders: (renders) => write(sessionStorage, "renders", renders),

  /** The session of this tab, so that a reload joins it again. */
  session: () => read(sessionStorage, "take", /** @type {SessionKey | null} */ (null)),

  /** @param {SessionKey | null} session */
  setSession: (session) => write(sessionStorage, "take", session),

  /**
   * Renew the lease of the session that this tab steers; alive = false ends it, when the tab is closed.
   * @param {{id: string, token: string}} session
   */
  renewLease({ id, token }, alive = true) {
    const all = read(localStorage, "takes", /** @type {Record<string, Lease>} */ ({}));
    all[id] = { token, at: alive ? Date.now() : 0 };
    write(localStorage, "takes", all);
  },

  /** Sessions whose lease has run out: their tab was closed and they still hold a slot on the server. Removes them from the list. */
  takeAbandoned() {
    const all = read(localStorage, "takes", /** @type {Record<string, Lease>} */ ({}));
    const own = storage.session()?.id;
    const left = Object.entries(all).filter(([id, { at }]) => id !== own && Date.now() - at > LEASE_MS);
    write(localStorage, "takes", Object.fromEntries(Object.entries(all).filter(([id]) => !left.some(([old]) => old === id))));
    return left.map(([id, { token }]) => ({ id, token }));
  },
};
