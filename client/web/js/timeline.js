// The take as a strip of chunks: a small picture of each, its steps, the prompts above. Choosing one goes back to it.

import { byId, clock, make } from "./dom.js";

/** @import { Session } from "./session.js" */
/** @import { Chunk } from "./types.js" */

const MOST = 240; // tiles kept: three minutes at 16 fps
const SIDE = 92; // pixels of a tile's picture, twice its size on the page
const HUES = [172, 32, 262, 210, 340, 90];

/**
 * @typedef {object} Tile
 * @property {number} index
 * @property {HTMLButtonElement} button
 * @property {HTMLCanvasElement} canvas
 * @property {string} prompt
 */

export class Timeline {
  #strip = byId("timeline", HTMLElement);
  /** @type {Tile[]} */
  #tiles = [];
  /** @type {HTMLElement | null} */
  #shot = null;
  #shots = 0;
  /** @type {Set<number>} */
  #images = new Set();
  /** @type {Session | null} */
  #session = null;
  #follow = true; // keep the newest in sight, until the user scrolls away

  /** @param {HTMLVideoElement} video  where the tiles' pictures come from */
  constructor(video) {
    this.video = video;
    this.#strip.addEventListener("keydown", (event) => this.#key(event));
    this.#strip.addEventListener("scroll", () => {
      const { scrollLeft, clientWidth, scrollWidth } = this.#strip;
      this.#follow = scrollLeft + clientWidth > scrollWidth - 80;
    });
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#tiles = [];
    this.#shot = null;
    this.#images.clear();
    this.#strip.replaceChildren();
    session.on("chunk", (chunk) => this.#add(session, chunk));
    session.on("message", (message) => {
      if (message.type === "image_applied") this.#images.add(message.chunk);
    });
  }

  /**
   * @param {Session} session
   * @param {Chunk} chunk
   */
  #add(session, chunk) {
    this.#cut(chunk.index); // after a rewind the indices start again from there
    const fps = session.info?.fps ?? 16;
    if (!this.#tiles.length || this.#tiles[this.#tiles.length - 1].prompt !== chunk.prompt) this.#open(chunk.prompt);
    const canvas = make("canvas", { width: String(SIDE), height: String(SIDE), "aria-hidden": "true" });
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    const steps = `${chunk.steps} ${chunk.steps === 1 ? "step" : "steps"}`;
    const label = `Chunk ${chunk.index}, at ${clock(chunk.frame / fps)}, ${steps}: go back to here`;
    const number = make("span", { class: "n", "aria-hidden": "true" }, String(chunk.steps));
    const button = make("button", { class: "tile", type: "button", tabindex: "-1", "aria-label": label, title: label }, canvas, bar, number);
    const ceiling = Math.max(8, session.info?.dial?.ceiling ?? 32);
    bar.style.setProperty("--fill", `${(100 * Math.log2(1 + chunk.steps)) / Math.log2(1 + ceiling)}%`);
    if (chunk.took_ms > chunk.deadline_ms && chunk.deadline_ms > 0) button.dataset.late = "";
    if (this.#images.has(chunk.index)) button.dataset.image = "";
    button.disabled = !session.canSteer;
    button.addEventListener("click", () => this.#session?.rewind(chunk.index));
    this.#shot?.lastElementChild?.append(button);
    const tile = { index: chunk.index, button, canvas, prompt: chunk.prompt };
    this.#tiles.push(tile);
    this.#trim();
    this.#rove();
    if (this.#follow) this.#strip.scrollLeft = this.#strip.scrollWidth;
    const whenShown = Math.max(0, chunk.lead_ms - (500 * chunk.frames) / fps);
    setTimeout(() => this.#paint(tile), Math.min(whenShown, 60_000));
  }

  /** @param {string} prompt */
  #open(prompt) {
    const tiles = make("div", { class: "tiles" });
    this.#shot = make("div", { class: "shot" }, make("p", { class: "shot-label", title: prompt }, make("span", {}, prompt)), tiles);
    this.#shot.style.setProperty("--hue", `hsl(${HUES[this.#shots++ % HUES.length]} 48% 48%)`);
    this.#strip.append(this.#shot);
  }

  /** @param {Tile} tile */
  #paint(tile) {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!tile.button.isConnected || document.hidden) return;
    if (!width || this.#session?.status.state !== "live") {
      setTimeout(() => this.#paint(tile), 300); // paused, say: it has not been shown yet
      return;
    }
    const side = Math.min(width, height);
    const brush = tile.canvas.getContext("2d");
    brush?.drawImage(this.video, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE, SIDE);
    for (const other of this.#tiles) other.button.removeAttribute("aria-current");
    tile.button.setAttribute("aria-current", "true");
  }

  /** @param {number} from */
  #cut(from) {
    while (this.#tiles.length && this.#tiles[this.#tiles.length - 1].index >= from) this.#tiles.pop()?.button.remove();
    this.#dropEmpty();
  }

  #trim() {
    for (const old of this.#tiles.splice(0, this.#tiles.length - MOST)) old.button.remove();
    this.#dropEmpty();
  }

  #dropEmpty() {
    for (const shot of [...this.#strip.children]) if (!shot.querySelector(".tile")) shot.remove();
    this.#shot = /** @type {HTMLElement | null} */ (this.#strip.lastElementChild);
  }

  /** One tile is in the tab order: the focused one, or the newest. */
  #rove() {
    const focused = this.#tiles.find(({ button }) => button === document.activeElement);
    for (const { button } of this.#tiles) button.tabIndex = -1;
    const one = focused ?? this.#tiles.at(-1);
    if (one) one.button.tabIndex = 0;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const at = this.#tiles.findIndex(({ button }) => button === document.activeElement);
    if (at < 0) return;
    const last = this.#tiles.length - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#tiles[Math.min(last, Math.max(0, to))].button.focus();
    this.#rove();
  }
}
