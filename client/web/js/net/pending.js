// Prompts and dial moves that the server has not answered yet: kept, and sent again after a reconnect.

import { Control } from "./control.js";

/** @import { Dial, Message, PromptEvent, PromptRequest } from "../types.js" */

export class PendingCommands {
  /** Prompts without an answer, by message id. At most one is sent while the socket is down. @type {Map<string, PromptRequest>} */
  #waiting = new Map();
  /** @type {Partial<Dial> | null} */
  #dial = null;

  /** @param {(event: PromptEvent) => void} onEvent */
  constructor(onEvent) {
    this.onEvent = onEvent;
  }

  /** The newest prompt without an answer. @returns {PromptRequest | null} */
  get newest() {
    return [...this.#waiting.values()].at(-1) ?? null;
  }

  /**
   * @param {Control | null} control
   * @param {PromptRequest} request
   */
  prompt(control, request) {
    const id = Control.nextId();
    if (!control?.ready) this.#replaceAll(); // while connected the server itself reports the older one as superseded
    this.#waiting.set(id, request);
    this.onEvent({ id, text: request.text, status: "pending" });
    control?.send("prompt", toMessage(request), id);
  }

  #replaceAll() {
    for (const [id, { text }] of this.#waiting) this.onEvent({ id, text, status: "replaced" });
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
   * After a reconnect: send again what has no answer.
   * @param {Control} control
   */
  resend(control) {
    if (this.#dial) this.dial(control, this.#dial);
    for (const [id, request] of this.#waiting) control.send("prompt", toMessage(request), id);
  }

  /** @param {string | undefined} id */
  has(id) {
    return id !== undefined && this.#waiting.has(id);
  }

  /**
   * @param {Message} message
   * @param {Omit<PromptEvent, "id" | "text">} outcome
   */
  settle(message, outcome) {
    const id = message.re ?? "";
    const request = this.#waiting.get(id);
    const text = message.text || request?.text || "";
    this.#waiting.delete(id);
    this.onEvent({ id, text, ...outcome });
  }
}

/**
 * The fields of the `prompt` message.
 * @param {PromptRequest} request
 * @returns {Record<string, unknown>}
 */
function toMessage({ text, mix, transition }) {
  return { ...(mix ? { mix } : { text }), ...(transition ? { transition } : {}) };
}
