// Keeps the control socket of a session open: reopens it after it is lost.

import { Problem, address, describeSession } from "./api.js";
import { Backoff } from "./backoff.js";
import { Control } from "./control.js";
import { sleep } from "../lib/sleep.js";
import { Emitter } from "../lib/emitter.js";
import { isOver } from "./status_model.js";

/** @import { Message, SessionInfo } from "../types.js" */

/** @extends {Emitter<{message: Message, up: null, down: null, blocked: null, over: string, problem: Problem, roundtrip: number}>} */
export class ControlLink extends Emitter {
  #backoff = new Backoff();
  #closed = false;
  #everOpen = false;
  /** Attempts that failed although HTTP worked, before the first that succeeded. */
  #refused = 0;

  /** @param {SessionInfo} info */
  constructor(info) {
    super();
    this.info = info;
    const path = info.urls.control ?? `v1/sessions/${encodeURIComponent(info.id)}/control`;
    this.control = new Control(address(path), info.token);
    this.control.on("message", (message) => this.emit("message", message));
    this.control.on("roundtrip", (ms) => this.emit("roundtrip", ms));
    this.control.on("close", () => this.#reopen());
    this.control.on("open", () => {
      this.#backoff.reset();
      this.#everOpen = true;
      this.emit("up", null);
    });
  }

  open() {
    this.control.open();
  }

  /**
   * Send one message; false if the socket is not open.
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   */
  send(type, fields) {
    return this.control.send(type, fields);
  }

  async #reopen() {
    if (this.#closed) return;
    this.emit("down", null);
    await sleep(this.#backoff.next());
    if (this.#closed) return;
    try {
      const { state } = await describeSession(this.info.id, this.info.token);
      if (this.#closed) return;
      if (isOver(state)) return this.emit("over", state);
      if (!this.#everOpen && (this.#refused += 1) >= 2) this.emit("blocked", null);
      this.control.open();
    } catch (error) {
      if (error instanceof Problem && error.gone) this.emit("problem", error);
      else await this.#reopen();
    }
  }

  close() {
    this.#closed = true;
    this.control.close();
  }
}
