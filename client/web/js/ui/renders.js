// Renders on the server: started, polled, shown, saved. They outlive the session and a reload.

import { Problem, cancelRender, getBlob, getRender, startRender } from "../net/api.js";
import { byId, download, duration, make } from "../lib/dom.js";
import { sleep } from "../lib/sleep.js";
import { storage } from "../lib/storage.js";

/** @import { RenderRecord } from "../lib/storage.js" */
/** @import { Render, SessionInfo } from "../types.js" */

const POLL_MS = 700;
const MOST = 8; // the server keeps as many

class Job {
  #say = make("span", { class: "mark" });
  #bar = make("progress", { max: "1" });
  #action = make("button", { type: "button" }, "Cancel");
  #began = 0;
  gone = false;

  /**
   * @param {RenderRecord} record
   * @param {number} fps
   * @param {(job: Job) => void} dropped
   */
  constructor(record, fps, dropped) {
    this.record = record;
    this.fps = fps;
    this.dropped = dropped;
    const title = record.steps === null ? "as it was live" : `${record.steps} ${record.steps === 1 ? "step" : "steps"}`;
    this.#bar.setAttribute("aria-label", `Rendering, ${title}`);
    this.element = make("li", {}, make("b", {}, title), this.#say, this.#action, this.#bar);
    this.#action.addEventListener("click", () => this.#cancel());
    this.#follow();
  }

  async #follow() {
    while (!this.gone) {
      try {
        const render = await getRender(this.record.url, this.record.token);
        this.#show(render);
        if (render.state !== "queued" && render.state !== "running") return;
      } catch (error) {
        if (error instanceof Problem && error.gone) return this.#end("no longer on the server", "failed");
        this.#say.textContent = "the server does not answer; trying again";
      }
      await sleep(POLL_MS);
    }
  }

  /** @param {Render} render */
  #show({ state, progress, frames, url, error, exact }) {
    if (this.gone) return;
    this.element.dataset.state = state;
    this.#bar.value = progress;
    if (state === "queued") this.#say.textContent = "waiting its turn";
    if (state === "running") this.#say.textContent = this.#remaining(progress);
    if (state === "failed") this.#end(error || "it failed", "failed");
    if (state === "cancelled") this.#end("cancelled", "failed");
    if (state === "done") {
      const length = frames ? `ready, ${(frames / this.fps).toFixed(1)} s` : "ready";
      this.#end(exact ? `${length}, every pixel the same` : length, "done");
      this.#action.textContent = "Watch";
      this.#action.onclick = () => this.#watch(url ?? `${this.record.url}/video.mp4`);
    }
  }

  /** @param {number} progress */
  #remaining(progress) {
    const now = performance.now();
    this.#began ||= now;
    const percent = `${Math.round(100 * progress)} %`;
    const passed = now - this.#began;
    return progress > 0.05 && passed > 1500 ? `${percent}, ${duration((passed * (1 - progress)) / progress)} to go` : percent;
  }

  /**
   * @param {string} text
   * @param {"done" | "failed"} state
   */
  #end(text, state) {
    this.element.dataset.state = state;
    this.#say.textContent = text;
    this.#bar.hidden = true;
    this.#action.textContent = "Remove";
  }

  async #cancel() {
    if (this.element.dataset.state === "done") return; // then the button has another action
    this.gone = true;
    this.element.remove();
    this.dropped(this);
    await cancelRender(this.record.url, this.record.token).catch(() => {});
  }

  /** @param {string} url */
  async #watch(url) {
    this.#action.disabled = true;
    try {
      this.#open(await getBlob(url, this.record.token));
    } catch (error) {
      this.#say.textContent = error instanceof Error ? error.message : String(error);
    } finally {
      this.#action.disabled = false;
    }
  }

  /** @param {Blob} file */
  #open(file) {
    const dialog = byId("render-dialog", HTMLDialogElement);
    const video = byId("render-video", HTMLVideoElement);
    const url = URL.createObjectURL(file);
    video.src = url;
    byId("render-title", HTMLElement).textContent = `This take, ${this.element.firstElementChild?.textContent}`;
    byId("render-save", HTMLButtonElement).onclick = () => download(file, this.record.name);
    byId("render-close", HTMLButtonElement).onclick = () => dialog.close();
    dialog.onclose = () => {
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(url);
    };
    dialog.showModal();
    video.play().catch(() => {}); // the controls are there
  }
}

export class Renders {
  #list = byId("renders", HTMLOListElement);
  /** @type {Job[]} */
  #jobs = [];
  fps = 16;

  constructor() {
    for (const record of storage.renders()) this.#add(record);
  }

  /**
   * @param {SessionInfo} info
   * @param {number | null} steps
   * @param {string} name  the file name
   */
  async start(info, steps, name) {
    this.fps = info.fps;
    this.#add({ url: await startRender(info, steps), token: info.token, steps, name });
    this.#save();
  }

  /** @param {RenderRecord} record */
  #add(record) {
    const job = new Job(record, this.fps, (gone) => {
      this.#jobs = this.#jobs.filter((other) => other !== gone);
      this.#save();
    });
    this.#jobs.unshift(job);
    this.#list.prepend(job.element);
    for (const old of this.#jobs.splice(MOST)) {
      old.gone = true;
      old.element.remove();
    }
  }

  #save() {
    storage.setRenders(this.#jobs.map(({ record }) => record).reverse());
  }
}
