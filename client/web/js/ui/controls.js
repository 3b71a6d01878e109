// The buttons under the picture (pause, stop, snapshot, record) and, at the top, the number of viewers and the share button.

import { byId, download, fileName } from "../lib/dom.js";
import { Recorder } from "./recorder.js";

/** @import { Session } from "../net/session.js" */
/** @import { Stage } from "./stage.js" */
/** @import { SessionInfo, State } from "../types.js" */

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/;

const button = (/** @type {string} */ id) => byId(id, HTMLButtonElement);

/** A frame has been shown on this page. */
const stageLit = () => "lit" in document.body.dataset;

export class Controls {
  #pause = button("pause");
  #stop = button("stop");
  #snapshot = button("snapshot");
  #record = button("record");
  #share = button("share");
  #shareView = button("share-view");
  #fullscreen = button("fullscreen");
  #viewers = byId("viewers", HTMLElement);
  /** @type {Session | null} */
  #session = null;

  /**
   * @param {Stage} stage
   * @param {(text: string) => void} say  shows a short message
   */
  constructor(stage, say) {
    this.say = say;
    this.recorder = new Recorder((on) => {
      this.#record.setAttribute("aria-pressed", String(on));
      byId("record-text", HTMLElement).textContent = on ? "Save" : "Record";
    });
    this.#pause.addEventListener("click", () => {
      if (this.#session?.status.state === "paused") this.#session.resume();
      else this.#session?.pause();
    });
    this.#stop.addEventListener("click", () => this.#session?.stop());
    this.#snapshot.addEventListener("click", async () => {
      const picture = await stage.snapshot();
      if (picture) download(picture, fileName("png"));
    });
    this.#record.addEventListener("click", () => {
      const stream = stage.video.srcObject;
      if (this.recorder.on) this.recorder.stop();
      else if (stream instanceof MediaStream) this.recorder.start(stream, fileName());
    });
    this.#share.addEventListener("click", () => this.#shareLink(false));
    this.#shareView.addEventListener("click", () => this.#shareLink(true));
    this.#fullscreen.disabled = !document.fullscreenEnabled;
    this.#fullscreen.addEventListener("click", () => toggleFullscreen(byId("stage", HTMLElement)));
    addEventListener("keydown", (event) => this.#key(event));
  }

  /** @param {Session} session */
  attach(session) {
    this.recorder.stop();
    this.#session = session;
    this.#state(session.status.state);
    session.on("status", ({ state }) => this.#state(state));
    session.on("info", (info) => this.#info(info));
  }

  /** @param {State} state */
  #state(state) {
    const going = state === "live" || state === "paused" || state === "warming";
    const steering = this.#session?.canSteer ?? false;
    this.#pause.disabled = !going || !steering;
    this.#stop.disabled = !going || !steering;
    this.#pause.setAttribute("aria-pressed", String(state === "paused"));
    byId("pause-text", HTMLElement).textContent = state === "paused" ? "Resume" : "Pause";
    this.#snapshot.disabled = !stageLit();
    this.#record.disabled = !going && !this.recorder.on;
    if (state === "ended" || state === "lost") this.recorder.stop();
  }

  /** @param {SessionInfo} info */
  #info(info) {
    this.#share.setAttribute("aria-label", info.view_token ? "Share a view-only link" : "Share a link");
    this.#share.hidden = info.role === "watch";
    this.#shareView.hidden = info.role === "watch" || !info.view_token;
    const viewers = info.viewers ?? 0;
    this.#viewers.hidden = viewers < 2;
    this.#viewers.textContent = `${viewers} watching`;
  }

  /** Space pauses and resumes, unless a control or a dialog has the focus. @param {KeyboardEvent} event */
  #key(event) {
    const target = event.target instanceof Element ? event.target : null;
    if (event.key !== " " || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target?.closest("input, textarea, select, button, summary, a, dialog, [contenteditable]") || this.#pause.disabled) return;
    event.preventDefault();
    this.#pause.click();
  }

  /** @param {boolean} picture  a link to the picture alone */
  async #shareLink(picture) {
    const info = this.#session?.info;
    if (!info) return;
    const link = new URL(location.pathname, location.href);
    link.hash = new URLSearchParams({ watch: info.id, token: info.view_token ?? info.token, ...(picture && { view: "1" }) }).toString();
    const rights = info.view_token ? "watches, and cannot steer" : "watches, and can steer as well";
    const local = LOOPBACK.test(location.hostname) ? " It has a loopback address: it works on this machine only. For others, start the server with --host 0.0.0.0 (and a key, or --open) and open the page by this machine’s network address." : "";
    try {
      await navigator.clipboard.writeText(link.href);
      this.say(`The link${picture ? " to the picture alone" : ""} is copied. Who opens it ${rights}.${local}`);
    } catch {
      this.say(`Who opens this link ${rights}: ${link.href}${local}`); // no clipboard outside HTTPS and localhost
    }
  }
}

/** @param {HTMLElement} element */
function toggleFullscreen(element) {
  if (document.fullscreenElement) document.exitFullscreen();
  else element.requestFullscreen().catch(() => {}); // refused: for example inside a frame that does not allow it
}
