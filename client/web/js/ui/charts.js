// Six charts of chunk messages, shown frames, WebRTC statistics and the ping of the control socket.

import { Chart } from "./chart.js";
import { byId, duration } from "../lib/dom.js";

/** @import { Session } from "../net/session.js" */

const against = {
  deadline: (/** @type {number} */ took, /** @type {number} */ deadline) =>
    took > deadline ? `${duration(took - deadline)} late` : `${duration(deadline - took)} spare`,
};

const say = {
  steps: (/** @type {number} */ n) => String(Math.round(n)),
  fps: (/** @type {number} */ n) => n.toFixed(1),
  rate: (/** @type {number} */ kbit) => (kbit < 1000 ? `${Math.round(kbit)} kbit/s` : `${(kbit / 1000).toFixed(1)} Mbit/s`),
};

export class Charts {
  #panel = byId("instruments", HTMLDetailsElement);
  #steps = new Chart({ title: "Steps a chunk", meaning: "Each step refines the picture. More is finer, and takes longer.", say: say.steps, bars: true, least: 4 });
  #took = new Chart({ title: "Time a chunk", meaning: "Under the dashed deadline the picture never has to wait.", say: duration, against: against.deadline });
  #lead = new Chart({ title: "Lead", meaning: "Video made but not yet shown. At zero the picture stalls; a long lead answers late.", say: duration });
  #fps = new Chart({ title: "Frames a second", meaning: "What this page really shows; dashed, what the model is made for.", say: say.fps });
  #rate = new Chart({ title: "Bitrate", meaning: "What the picture takes from your network.", say: say.rate, least: 100 });
  #trip = new Chart({ title: "Round trip", meaning: "To the server and back on the control socket. Every prompt waits for half of it.", say: duration, least: 20 });
  /** @type {Session | null} */
  #session = null;
  #bytes = 0;
  #bytesAt = 0;

  constructor() {
    byId("charts", HTMLElement).append(...this.#all().map(({ element }) => element));
    this.#panel.open = matchMedia("(min-width: 901px)").matches;
    const redraw = () => this.draw(true);
    this.#panel.addEventListener("toggle", redraw);
    addEventListener("resize", redraw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  #all() {
    return [this.#steps, this.#took, this.#lead, this.#fps, this.#rate, this.#trip];
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#bytesAt = 0;
    for (const chart of this.#all()) chart.clear();
    session.on("chunk", (chunk) => {
      this.#steps.push(chunk.steps);
      this.#took.push(chunk.took_ms, chunk.deadline_ms > 0 ? chunk.deadline_ms : undefined);
      this.#lead.push(Math.max(0, chunk.lead_ms));
    });
    session.on("roundtrip", (ms) => this.#trip.push(ms));
  }

  /**
   * Once a second.
   * @param {number} fps  as shown on the page
   */
  async tick(fps) {
    if (this.#session?.status.state === "live") {
      this.#fps.push(fps, this.#session.info?.fps);
      await this.#measureRate(this.#session);
    }
    this.draw();
  }

  /** @param {Session} session */
  async #measureRate(session) {
    for (const report of (await session.stats()).values()) {
      if (report.type !== "inbound-rtp" || report.kind !== "video") continue;
      const seconds = (report.timestamp - this.#bytesAt) / 1000;
      const bytes = report.bytesReceived - this.#bytes;
      if (this.#bytesAt && seconds > 0 && bytes >= 0) this.#rate.push((bytes * 8) / 1000 / seconds);
      this.#bytes = report.bytesReceived;
      this.#bytesAt = report.timestamp;
    }
  }

  draw(force = false) {
    if (!this.#panel.open || document.hidden) return;
    for (const chart of this.#all()) chart.draw(force);
  }
}
