// Downloads of a take: the recording, the score, and renders with more steps.

import { getBlob } from "../net/api.js";
import { byId, download, fileName } from "../lib/dom.js";
import { Renders } from "./renders.js";

/** @import { Session } from "../net/session.js" */
/** @import { SessionInfo } from "../types.js" */

const BUDGETS = [2, 4, 8, 16, 32, 50];

export class Downloads {
  #film = byId("recording", HTMLButtonElement);
  #score = byId("score", HTMLButtonElement);
  #steps = byId("render-steps", HTMLSelectElement);
  #render = byId("render", HTMLButtonElement);
  #again = byId("again", HTMLElement);
  #renders = new Renders();
  /** @type {Session | null} */
  #session = null;

  /** @param {(text: string) => void} say */
  constructor(say) {
    this.say = say;
    this.limit(50);
    this.#film.addEventListener("click", () => this.#save("recording", "mp4", this.#film));
    this.#score.addEventListener("click", async () => {
      const name = await this.#save("score", "json", this.#score);
      if (name) this.say(`Saved ${name}. On the command line: farcast render ${name} --steps 32 -o take.mp4`);
    });
    this.#render.addEventListener("click", () => this.#rerender());
  }

  /** @param {number} most  the model's largest number of steps */
  limit(most) {
    const options = BUDGETS.filter((steps) => steps <= most).map((steps) => new Option(`${steps} steps`, String(steps), false, steps === Math.min(32, most)));
    this.#steps.replaceChildren(new Option("the steps it had live", ""), ...options);
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#update(null);
    session.on("info", (info) => this.#update(info));
  }

  /** @param {SessionInfo | null} info */
  #update(info) {
    this.#film.hidden = info !== null && !info.urls.recording;
    this.#film.disabled = !info;
    this.#score.hidden = info?.role === "watch"; // only for clients that may steer
    this.#score.disabled = !info?.urls.score;
    this.#again.hidden = info !== null && !info.urls.renders;
    this.#render.disabled = this.#steps.disabled = !info;
    if (info) this.#renders.fps = info.fps;
  }

  /**
   * @param {"recording" | "score"} what
   * @param {string} ending
   * @param {HTMLButtonElement} button
   * @returns {Promise<string>} the file name; empty if it failed
   */
  async #save(what, ending, button) {
    const info = this.#session?.info;
    const url = info?.urls[what];
    if (!info || !url) return "";
    const name = fileName(ending);
    button.disabled = true;
    try {
      download(await getBlob(url, info.token), name);
      return name;
    } catch (error) {
      this.#report(error);
      return "";
    } finally {
      button.disabled = false;
    }
  }

  async #rerender() {
    const info = this.#session?.info;
    if (!info) return;
    const steps = this.#steps.value ? Number(this.#steps.value) : null;
    this.#render.disabled = true;
    try {
      await this.#renders.start(info, steps, fileName("mp4", steps ? `-${steps}-steps` : "-live"));
    } catch (error) {
      this.#report(error);
    } finally {
      this.#render.disabled = false;
    }
  }

  /** @param {unknown} error */
  #report(error) {
    this.say(error instanceof Error ? error.message : String(error));
  }
}
