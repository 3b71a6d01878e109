// The dial from "now" to "good", and what it costs and gives as measured on the running session.

import { Advanced } from "./advanced.js";
import { byId, duration } from "../lib/dom.js";

/** @import { Session } from "../net/session.js" */
/** @import { Chunk, Dial } from "../types.js" */

export const LEAST_MS = 200;
export const MOST_MS = 30_000;
const SEND_EVERY_MS = 120;

/**
 * Slider position 0..100 to a latency target in ms; the scale is logarithmic and the result is rounded.
 * @param {number} position
 */
export function toLatency(position) {
  const exact = LEAST_MS * (MOST_MS / LEAST_MS) ** (position / 100);
  const grain = exact < 1000 ? 50 : exact < 5000 ? 100 : 500;
  return Math.min(MOST_MS, Math.max(LEAST_MS, Math.round(exact / grain) * grain));
}

/** @param {number} latency */
export function toPosition(latency) {
  return Math.round((100 * Math.log(latency / LEAST_MS)) / Math.log(MOST_MS / LEAST_MS));
}

export class DialView {
  #slider = byId("dial", HTMLInputElement);
  #value = byId("dial-value", HTMLOutputElement);
  #steps = byId("buy-steps", HTMLElement);
  #took = byId("buy-took", HTMLElement);
  #latency = byId("buy-latency", HTMLElement);
  advanced = new Advanced(() => this.#moved());
  /** @type {Session | null} */
  #session = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #touched = 0;
  #measured = 0; // the last prompt-to-pixel time under the present dial, ms

  constructor() {
    this.#slider.addEventListener("input", () => this.#moved());
    this.#show();
  }

  /** @returns {Dial} the values of the controls */
  get dial() {
    return { latency_ms: toLatency(Number(this.#slider.value)), ...this.advanced.bounds };
  }

  /**
   * @param {number} most  the most steps the model takes
   * @param {number | null} [ceiling]  beyond which more steps are no better
   */
  limit(most, ceiling) {
    this.advanced.limit(most, ceiling);
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#measured = 0;
    session.on("info", (info) => {
      if (info.dial) this.#showDial(info.dial);
      this.#slider.disabled = info.role === "watch";
    });
    session.on("message", (message) => {
      if (message.type === "dial_applied") this.#showDial(message.dial);
    });
    session.on("notice", () => session.info && this.show(session.info.dial)); // a refused value does not stay on show
    session.on("prompt", (event) => {
      if (event.status !== "live" || event.latencyMs === undefined) return;
      this.#measured = event.latencyMs;
      this.#showLatency();
    });
    session.on("chunk", (chunk) => this.#bought(chunk));
  }

  #moved() {
    this.#touched = performance.now();
    this.#measured = 0; // was measured at another dial setting
    this.#show();
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const { latency_ms } = this.dial;
      this.#session?.setDial(this.advanced.check() ? { latency_ms } : this.dial);
    }, SEND_EVERY_MS);
  }

  /**
   * Show the server's dial, unless the user has moved a control within the last 1.5 s.
   * @param {Dial} dial
   */
  #showDial(dial) {
    if (performance.now() - this.#touched >= 1500) this.show(dial);
  }

  /** @param {Dial} dial */
  show(dial) {
    this.#touched = 0;
    this.#slider.value = String(toPosition(dial.latency_ms));
    this.advanced.show(dial);
    this.#show();
  }

  #show() {
    const { latency_ms, steps } = this.dial;
    const aim = steps ? `always ${steps} ${steps === 1 ? "step" : "steps"}` : `answer within ${duration(latency_ms)}`;
    this.#value.textContent = aim;
    this.#slider.setAttribute("aria-valuetext", aim);
    this.#slider.style.setProperty("--at", `${this.#slider.value}%`);
    this.#showLatency();
  }

  #showLatency() {
    const { latency_ms, steps } = this.dial;
    if (this.#measured) this.#latency.replaceChildren(duration(this.#measured), " ", small("measured"));
    else if (steps) this.#latency.replaceChildren("– ", small("send a prompt")); // a fixed budget aims at no latency
    else this.#latency.replaceChildren(duration(latency_ms), " ", small("aim"));
  }

  /** @param {Chunk} chunk */
  #bought(chunk) {
    this.#steps.textContent = String(chunk.steps);
    this.#took.textContent = duration(chunk.took_ms);
  }
}

/** @param {string} text */
function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}
