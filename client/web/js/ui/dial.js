// The dial from "now" to "good", and what it costs and gives as measured on the running session.

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
  #floor = byId("floor", HTMLInputElement);
  #ceiling = byId("ceiling", HTMLInputElement);
  #fixed = byId("fixed", HTMLInputElement);
  /** @type {Session | null} */
  #session = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #touched = 0;
  #measured = 0; // the last prompt-to-pixel time under the present dial, ms

  constructor() {
    this.#slider.addEventListener("input", () => this.#moved());
    for (const field of [this.#floor, this.#ceiling, this.#fixed]) {
      field.addEventListener("change", () => this.#moved());
    }
    this.#show();
  }

  /** @returns {Dial} the values of the controls */
  get dial() {
    const number = (/** @type {HTMLInputElement} */ { value }, /** @type {number} */ otherwise) =>
      Math.min(50, Math.max(1, Math.round(Number(value)) || otherwise));
    const floor = number(this.#floor, 1);
    return {
      latency_ms: toLatency(Number(this.#slider.value)),
      floor,
      ceiling: Math.max(floor, number(this.#ceiling, 32)),
      steps: this.#fixed.value ? number(this.#fixed, 4) : null,
    };
  }

  /** @param {number} most  the most steps the model takes */
  limit(most) {
    for (const field of [this.#floor, this.#ceiling, this.#fixed]) field.max = String(most);
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
      this.#session?.setDial(this.dial);
    }, SEND_EVERY_MS);
  }

  /**
   * Show the server's dial, unless the user has moved a control within the last 1.5 s.
   * @param {Dial} dial
   */
  #showDial(dial) {
    if (performance.now() - this.#touched < 1500) return;
    this.#slider.value = String(toPosition(dial.latency_ms));
    this.#floor.value = String(dial.floor);
    this.#ceiling.value = String(dial.ceiling);
    this.#fixed.value = dial.steps === null || dial.steps === undefined ? "" : String(dial.steps);
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
