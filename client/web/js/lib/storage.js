// What the page remembers between loads: the draft, earlier prompts, the take it was steering. Storage may be refused; then it forgets.

/**
 * @template T
 * @param {Storage} storage
 * @param {string} key
 * @param {T} otherwise
 * @returns {T}
 */
function read(storage, key, otherwise) {
  try {
    const text = storage.getItem(`farcast.${key}`);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

/**
 * @param {Storage} storage
 * @param {string} key
 * @param {unknown} value
 */
function write(storage, key, value) {
  try {
    storage.setItem(`farcast.${key}`, JSON.stringify(value));
  } catch {
    // full or forbidden: the page works on without
  }
}

const HISTORY = 50;
const LEASE_MS = 10_000;

/** @typedef {{id: string, token: string, view_token?: string}} Taken */
/** @typedef {{token: string, at: number}} Lease */
/** @typedef {{url: string, token: string, steps: number | null, name: string}} Kept */

export const memory = {
  /** @returns {string[]} oldest first */
  history: () => read(localStorage, "history", /** @type {string[]} */ ([])),

  /** @param {string} text */
  remember(text) {
    const others = memory.history().filter((known) => known !== text);
    write(localStorage, "history", [...others, text].slice(-HISTORY));
  },

  forgetHistory: () => write(localStorage, "history", []),

  draft: () => read(localStorage, "draft", ""),

  /** @param {string} text */
  keepDraft: (text) => write(localStorage, "draft", text),

  /** The second prompt of a mix. */
  second: () => read(localStorage, "second", ""),

  /** @param {string} text */
  keepSecond: (text) => write(localStorage, "second", text),

  /** Renders asked for in this tab. @returns {Kept[]} */
  renders: () => read(sessionStorage, "renders", /** @type {Kept[]} */ ([])),

  /** @param {Kept[]} renders */
  keepRenders: (renders) => write(sessionStorage, "renders", renders),

  /** The take of this tab, so that a reload goes on with it. */
  take: () => read(sessionStorage, "take", /** @type {Taken | null} */ (null)),

  /** @param {Taken | null} take */
  keepTake: (take) => write(sessionStorage, "take", take),

  /**
   * Say that this tab still steers its take, or (alive = false) that it is being closed.
   * @param {{id: string, token: string}} take
   */
  touch({ id, token }, alive = true) {
    const all = read(localStorage, "takes", /** @type {Record<string, Lease>} */ ({}));
    all[id] = { token, at: alive ? Date.now() : 0 };
    write(localStorage, "takes", all);
  },

  /** Takes whose tab was closed: they hold room on the server that a new one may need. Forgotten here by asking. */
  abandoned() {
    const all = read(localStorage, "takes", /** @type {Record<string, Lease>} */ ({}));
    const own = memory.take()?.id;
    const left = Object.entries(all).filter(([id, { at }]) => id !== own && Date.now() - at > LEASE_MS);
    write(localStorage, "takes", Object.fromEntries(Object.entries(all).filter(([id]) => !left.some(([old]) => old === id))));
    return left.map(([id, { token }]) => ({ id, token }));
  },
};
