// Two prompts at once, and one slider between them: a crossfader. Moving it asks for the new mix while it moves.

import { byId } from "../lib/dom.js";
import { memory } from "../lib/storage.js";
import { describe } from "./mix.js";

/** @import { Wish } from "../types.js" */

const SEND_EVERY_MS = 250; // a prompt takes effect at a chunk: more often than this helps nobody

export class Mixer {
  #toggle = byId("mix-toggle", HTMLButtonElement);
  #area = byId("mixer", HTMLElement);
  #first = byId("prompt", HTMLTextAreaElement);
  #second = byId("prompt-b", HTMLTextAreaElement);
  #slider = byId("mix", HTMLInputElement);
  #shares = [byId("share-a", HTMLElement), byId("share-b", HTMLElement)];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {{send: () => void, moved: (wish: Wish) => void}} actions */
  constructor({ send, moved }) {
    this.moved = moved;
    this.#second.value = memory.second();
    this.#toggle.addEventListener("click", () => this.#open(this.#area.hidden));
    this.#second.addEventListener("input", () => memory.keepSecond(this.#second.value));
    this.#second.addEventListener("keydown", (event) => {
      if (event.isComposing || event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      send();
    });
    this.#slider.addEventListener("input", () => {
      this.#show();
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        const wish = this.wish;
        if (wish) this.moved(wish);
      }, SEND_EVERY_MS);
    });
    this.#show();
  }

  /** @param {boolean} open */
  #open(open) {
    this.#area.hidden = !open;
    this.#toggle.setAttribute("aria-pressed", String(open));
    if (open) this.#second.focus();
    else if (this.#first.value.trim()) this.moved({ text: this.#first.value.trim() });
  }

  /** What the slider was about to ask for is asked for otherwise. */
  settle() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** How much of the second prompt, 0..1. */
  get share() {
    return Number(this.#slider.value) / 100;
  }

  /** What both prompts and the slider ask for; null where there are not two. @returns {Wish | null} */
  get wish() {
    const [first, second] = [this.#first.value.trim(), this.#second.value.trim()];
    if (this.#area.hidden || !first || !second) return null;
    if (this.share === 0 || this.share === 1) return { text: this.share ? second : first };
    /** @type {[string, number][]} */
    const mix = [[first, 1 - this.share], [second, this.share]];
    return { text: describe(mix), mix };
  }

  #show() {
    const b = Math.round(100 * this.share);
    this.#slider.style.setProperty("--at", `${b}%`);
    this.#slider.setAttribute("aria-valuetext", `${100 - b} percent the first prompt, ${b} percent the second`);
    this.#shares.forEach((cell, i) => (cell.textContent = `${i ? b : 100 - b} %`));
  }
}
