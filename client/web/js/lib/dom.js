// Typed helpers for the document.

/**
 * The element with this id, known to be of this class.
 * @template {Element} T
 * @param {string} id
 * @param {{new (): T, prototype: T}} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`#${id} should be a ${type.name}`);
  return found;
}

/**
 * A new element with properties and children; text is always set as text, never as markup.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Download a blob or a URL under this name.
 * @param {Blob | string} what
 * @param {string} name
 */
export function download(what, name) {
  const url = typeof what === "string" ? what : URL.createObjectURL(what);
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  if (typeof what !== "string") setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * A file name with the present time.
 * @param {string} [ending]
 * @param {string} [about]
 */
export function fileName(ending = "", about = "") {
  const stamp = new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-");
  return `farcast-${stamp}${about}${ending && `.${ending}`}`;
}

/**
 * Seconds as m:ss.
 * @param {number} seconds
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/**
 * Milliseconds as text: 640 ms, 1.5 s, 12 s.
 * @param {number} ms
 */
export function duration(ms) {
  if (ms < 995) return `${Math.round(ms)} ms`;
  return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}

export const calm = matchMedia("(prefers-reduced-motion: reduce)");
