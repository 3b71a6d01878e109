// The question before a rewind to a chunk that had another prompt or dial: as it was then, or with the present ones.

import { byId, duration } from "../lib/dom.js";
import { mixTitle } from "./mix.js";

/** @import { Tile } from "./tile.js" */

export class GoBack {
  #dialog = byId("back-dialog", HTMLDialogElement);
  #heading = byId("back-heading", HTMLElement);
  #then = byId("back-then-what", HTMLElement);
  #now = byId("back-now-what", HTMLElement);

  constructor() {
    for (const name of ["then", "now", "close"]) {
      byId(`back-${name}`, HTMLButtonElement).addEventListener("click", () => this.#dialog.close(name));
    }
  }

  /**
   * @param {Tile} tile
   * @param {string} prompt  the present one
   * @returns {Promise<"then" | "now" | null>} null: stay
   */
  ask(tile, prompt) {
    const dial = tile.dial ? `, ${tile.dial.steps ? `${tile.dial.steps} steps` : `answer within ${duration(tile.dial.latency_ms)}`}` : "";
    this.#heading.textContent = `Go back to chunk ${tile.index}`;
    this.#then.textContent = mixTitle(tile.prompt) + dial;
    this.#now.textContent = mixTitle(prompt);
    this.#dialog.returnValue = "";
    this.#dialog.showModal();
    return new Promise((resolve) => {
      const closed = () => resolve(this.#dialog.returnValue === "then" || this.#dialog.returnValue === "now" ? this.#dialog.returnValue : null);
      this.#dialog.addEventListener("close", closed, { once: true });
    });
  }
}
