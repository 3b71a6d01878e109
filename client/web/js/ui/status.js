// Shows the status: the badge, the overlay over the picture when it cannot go on, the line of figures, the toast.

import { byId, clock, duration } from "../lib/dom.js";

/** @import { Session } from "../net/session.js" */
/** @import { Chunk, State, Status } from "../types.js" */

/** @type {Record<State, string>} */
const WORDS = {
  connecting: "Connecting",
  warming: "Warming up",
  live: "Live",
  paused: "Paused",
  reconnecting: "Reconnecting",
  refused: "Refused",
  lost: "Take lost",
  ended: "Ended",
};

/** @type {Partial<Record<State, {title: string, action: string}>>} */
const VEILS = {
  refused: { title: "The server said no", action: "Try again" },
  lost: { title: "This take is gone", action: "Start a new take with this prompt" },
  ended: { title: "The take has ended", action: "Start a new take" },
};

export class StatusView {
  #badge = byId("badge-text", HTMLElement);
  #veil = byId("veil", HTMLElement);
  #title = byId("veil-title", HTMLElement);
  #detail = byId("veil-detail", HTMLElement);
  #action = byId("veil-action", HTMLButtonElement);
  #toast = byId("toast", HTMLElement);
  #steps = byId("stat-steps", HTMLElement);
  #time = byId("stat-time", HTMLElement);
  #lead = byId("stat-lead", HTMLElement);
  #fps = byId("stat-fps", HTMLElement);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #toastTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;

  /** @param {() => void} again  start a new session; the overlay's button */
  constructor(again) {
    this.#action.addEventListener("click", again);
  }

  /** @param {Session} session */
  attach(session) {
    this.#show(session.status, session);
    session.on("status", (status) => this.#show(status, session));
    session.on("notice", (text) => this.toast(text));
    session.on("chunk", (chunk) => this.#figures(chunk, session.info?.fps ?? 16));
    for (const cell of [this.#time, this.#steps, this.#lead, this.#fps]) cell.textContent = "–";
  }

  /**
   * @param {Status} status
   * @param {Session} session
   */
  #show({ state, detail }, session) {
    clearTimeout(this.#retry);
    document.body.dataset.state = state;
    this.#badge.textContent = WORDS[state];
    const veil = VEILS[state];
    this.#veil.hidden = !veil && !detail;
    if (this.#veil.hidden) return;
    this.#title.textContent = veil?.title ?? WORDS[state];
    this.#detail.textContent = detail;
    this.#action.hidden = !veil;
    this.#action.textContent = veil?.action ?? "";
    if (state === "refused" && session.problem?.retryAfter) this.#countDown(session.problem.retryAfter);
  }

  /**
   * The server named a time: retry after it, with a countdown on the button.
   * @param {number} seconds
   */
  #countDown(seconds) {
    this.#action.textContent = `Trying again in ${seconds} s`;
    this.#retry = setTimeout(() => (seconds > 1 ? this.#countDown(seconds - 1) : this.#action.click()), 1000);
  }

  /**
   * @param {Chunk} chunk
   * @param {number} fps
   */
  #figures(chunk, fps) {
    this.#time.textContent = clock((chunk.frame + chunk.frames) / fps - Math.max(0, chunk.lead_ms) / 1000);
    this.#steps.textContent = String(chunk.steps);
    this.#lead.textContent = duration(Math.max(0, chunk.lead_ms));
  }

  /** @param {number} fps */
  fps(fps) {
    this.#fps.textContent = fps ? fps.toFixed(1) : "–";
  }

  /** @param {string} text */
  toast(text) {
    this.#toast.textContent = text;
    this.#toast.hidden = false;
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => (this.#toast.hidden = true), 6000);
  }
}
