// A dialog with earlier prompts of this browser, to choose from.

import { byId, make } from "../lib/dom.js";
import { storage } from "../lib/storage.js";

export class History {
  #dialog = byId("history-dialog", HTMLDialogElement);
  #list = byId("history-list", HTMLUListElement);
  #forget = byId("history-forget", HTMLButtonElement);

  /** @param {(text: string) => void} chosen */
  constructor(chosen) {
    this.chosen = chosen;
    byId("history", HTMLButtonElement).addEventListener("click", () => this.#open());
    byId("history-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    this.#forget.addEventListener("click", () => {
      storage.clearHistory();
      this.#fill();
    });
  }

  #open() {
    this.#fill();
    this.#dialog.showModal();
  }

  #fill() {
    const past = storage.history().reverse();
    this.#forget.hidden = !past.length;
    this.#list.replaceChildren(...(past.length ? past.map((text) => this.#line(text)) : [make("li", { class: "help" }, "Nothing yet. What you send is kept here, on this device.")]));
  }

  /** @param {string} text */
  #line(text) {
    const button = make("button", { type: "button", class: "quiet" }, text);
    button.addEventListener("click", () => {
      this.#dialog.close();
      this.chosen(text);
    });
    return make("li", {}, button);
  }
}
