// Two prompts and one slider between them. Moving the slider sends the new mix, at most every 250 ms.

import { byId } from "../lib/dom.js";
import { storage } from "../lib/storage.js";
import { describe } from "./mix.js";

/** @import { PromptRequest } from "../types.js" */

const SEND_EVERY_MS = 250; // a prompt takes effect at a chunk boundary: more often has no effect

export class Mixer {
  #toggle = byId("mix-toggle", HTMLButtonElement);
  #area = byId("mixer", HTMLElement);
  #first = byId("prompt", HTMLTextAreaElement);
  #second = byId("prompt-b", HTMLTextAreaElement);
  #slider = byId("mix", HTMLInputElement);
  #shares = [byId("share-a", HTMLElement), byId("share-b", HTMLElement)];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {{send: () => void, moved: (request: PromptRequest) => void}} actions */
  constructor({ send, moved }) {
    this.moved = moved;
    this.#second.value = storage.second();
    this.#toggle.addEventListener("click", () => this.#open(this.#area.hidden));
    this.#second.addEventListener("input", () => storage.setSecond(this.#second.value));
    this.#second.addEventListener("keydown", (event) => {
      if (event.isComposing || event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      send();
    });
    this.#slider.addEventListener("input", () => {
      this.#show();
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        const request = this.request;
        if (request) this.moved(request);
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

  /** Set both prompts and the slider from a mix of two; close the mixer for anything else. @param {PromptRequest} request */
  show({ mix }) {
    const two = mix?.length === 2;
    this.#area.hidden = !two;
    this.#toggle.setAttribute("aria-pressed", String(two));
    if (!mix || !two) return;
    [this.#first.value, this.#second.value] = [mix[0][0], mix[1][0]];
    this.#slider.value = String(Math.round((100 * mix[1][1]) / (mix[0][1] + mix[1][1])));
    this.#show();
  }

  /** Cancel the delayed send: the mix is sent otherwise. */
  cancel() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** The weight of the second prompt, 0..1. */
  get share() {
    return Number(this.#slider.value) / 100;
  }

  /** The mix; null if there are not two prompts. @returns {PromptRequest | null} */
  get request() {
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
