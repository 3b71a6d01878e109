// One chunk in the timeline: its picture, once it has been shown, and its steps.

import { clock, make } from "../lib/dom.js";

/** @import { Chunk, SessionInfo } from "../types.js" */

const SIDE = 92; // pixels; twice the size on the page

export class Tile {
  #canvas = make("canvas", { width: String(SIDE), height: String(SIDE), "aria-hidden": "true" });
  #label;

  /**
   * @param {Chunk} chunk
   * @param {SessionInfo | null} info
   */
  constructor(chunk, info) {
    this.index = chunk.index;
    this.prompt = chunk.prompt;
    this.dial = info?.dial ? { ...info.dial } : null;
    const steps = chunk.steps ? `${chunk.steps} ${chunk.steps === 1 ? "step" : "steps"}` : "given, not made";
    this.#label = `Chunk ${chunk.index}, at ${clock(chunk.frame / (info?.fps ?? 16))}, ${steps}`;
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    const number = make("span", { class: "n", "aria-hidden": "true" }, chunk.steps ? String(chunk.steps) : "–");
    this.button = make("button", { class: "tile", type: "button", tabindex: "-1" }, this.#canvas, bar, number);
    this.describe("");
    const ceiling = Math.max(8, info?.dial?.ceiling ?? 32);
    bar.style.setProperty("--fill", `${(100 * Math.log2(1 + chunk.steps)) / Math.log2(1 + ceiling)}%`);
    if (chunk.took_ms > chunk.deadline_ms && chunk.deadline_ms > 0) this.button.dataset.late = "";
  }

  /** @param {string} more */
  describe(more) {
    const label = `${this.#label}${more && `, ${more}`}: go back to here`;
    this.button.setAttribute("aria-label", label);
    this.button.title = label;
  }

  /** Draw the middle of the present frame. @param {HTMLVideoElement} video */
  paint(video) {
    const { videoWidth: width, videoHeight: height } = video;
    const side = Math.min(width, height);
    this.#canvas.getContext("2d")?.drawImage(video, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE, SIDE);
    this.button.dataset.shown = "";
  }

  /** The canvas with the picture; null if the chunk was never on screen. */
  get picture() {
    return "shown" in this.button.dataset ? this.#canvas : null;
  }
}
