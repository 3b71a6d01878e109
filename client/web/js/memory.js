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

export const memory = {
  /** @returns {string[]} oldest first */
  history: () => read(localStorage, "history", /** @type {string[]} */ ([])),

  /** @param {string} text */
  remember(text) {
    const others = memory.history().filter((known) => known !== text);
    write(localStorage, "history", [...others, text].slice(-HISTORY));
  },

  draft: () => read(localStorage, "draft", ""),

  /** @param {string} text */
  keepDraft: (text) => write(localStorage, "draft", text),

  /** The take of this tab, so that a reload goes on with it. */
  take: () => read(sessionStorage, "take", /** @type {{id: string, token: string} | null} */ (null)),

  /** @param {{id: string, token: string} | null} take */
  keepTake: (take) => write(sessionStorage, "take", take),
};
