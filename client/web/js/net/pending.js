// What the user asked for and the server has not answered yet: kept, and said again after a lost connection.

import { Control } from "./control.js";

/** @import { Dial, Message, PromptEvent, Wish } from "../types.js" */

export class Wishes {
  /** Prompts without an answer; a prompt replaces the one before it, so this stays short. @type {Map<string, Wish>} */
  #waiting = new Map();
  /** @type {Partial<Dial> | null} */
  #dial = null;

  /** @param {(event: PromptEvent) => void} tell */
  constructor(tell) {
    this.tell = tell;
  }

  /** The newest prompt nobody has answered. @returns {Wish | null} */
  get newest() {
    return [...this.#waiting.values()].at(-1) ?? null;
  }

  /**
   * @param {Control | null} control
   * @param {Wish} wish
   */
  prompt(control, wish) {
    const id = Control.nextId();
    if (!control?.ready) this.#replaceAll(); // a server that hears both says itself that the older is superseded
    this.#waiting.set(id, wish);
    this.tell({ id, text: wish.text, status: "pending" });
    control?.send("prompt", spoken(wish), id);
  }

  #replaceAll() {
    for (const [id, { text }] of this.#waiting) this.tell({ id, text, status: "replaced" });
    this.#waiting.clear();
  }

  /**
   * @param {Control | null} control
   * @param {Partial<Dial>} dial
   */
  dial(control, dial) {
    this.#dial = control?.send("dial", dial) ? null : dial;
  }

  /**
   * The connection is back: say again what has no answer.
   * @param {Control} control
   */
  repeat(control) {
    if (this.#dial) this.dial(control, this.#dial);
    for (const [id, wish] of this.#waiting) control.send("prompt", spoken(wish), id);
  }

  /** @param {string | undefined} id */
  waitsFor(id) {
    return id !== undefined && this.#waiting.has(id);
  }

  /**
   * @param {Message} message
   * @param {Omit<PromptEvent, "id" | "text">} outcome
   */
  answer(message, outcome) {
    const id = message.re ?? "";
    const wish = this.#waiting.get(id);
    const text = message.text || wish?.text || "";
    this.#waiting.delete(id);
    this.tell({ id, text, ...outcome });
  }
}

/**
 * A wish as it goes over the wire.
 * @param {Wish} wish
 * @returns {Record<string, unknown>}
 */
function spoken({ text, mix, transition }) {
  return { ...(mix ? { mix } : { text }), ...(transition ? { transition } : {}) };
}
