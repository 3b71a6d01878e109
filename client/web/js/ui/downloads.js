// What stays of a take: the film as it was shown, the score, and the take rendered again with more steps.

import { getBlob } from "../net/api.js";
import { byId, download, fileName } from "../lib/dom.js";
import { Renders } from "./renders.js";

/** @import { Session } from "../net/session.js" */
/** @import { SessionInfo } from "../types.js" */

const BUDGETS = [2, 4, 8, 16, 32, 50];

export class Keep {
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

  /** @param {number} most  the most steps the model takes */
  limit(most) {
    const options = BUDGETS.filter((steps) => steps <= most).map((steps) => new Option(`${steps} steps`, String(steps), false, steps === Math.min(32, most)));
    this.#steps.replaceChildren(new Option("the steps it had live", ""), ...options);
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#offer(null);
    session.on("info", (info) => this.#offer(info));
  }

  /** @param {SessionInfo | null} info */
  #offer(info) {
    this.#film.hidden = info !== null && !info.urls.recording;
    this.#film.disabled = !info;
    this.#score.hidden = info?.role === "watch"; // it is for those who may steer
    this.#score.disabled = !info?.urls.score;
    this.#again.hidden = info !== null && !info.urls.renders;
    this.#render.disabled = this.#steps.disabled = !info;
    if (info) this.#renders.fps = info.fps;
  }

  /**
   * @param {"recording" | "score"} what
   * @param {string} ending
   * @param {HTMLButtonElement} button
   * @returns {Promise<string>} the name it was saved under, empty where it was not
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
      this.#tell(error);
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
      this.#tell(error);
    } finally {
      this.#render.disabled = false;
    }
  }

  /** @param {unknown} error */
  #tell(error) {
    this.say(error instanceof Error ? error.message : String(error));
  }
}
