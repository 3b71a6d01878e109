// One take, seen from the page: created or joined, kept alive through losses, told what the user wants.

import { Problem, createSession, describeSession, endSession, sendImage } from "./api.js";
import { Backoff } from "./backoff.js";
import { Control } from "./control.js";
import { sleep } from "./dom.js";
import { Emitter } from "./emitter.js";
import { Media } from "./media.js";

/** @import { Chunk, Dial, Message, PromptEvent, SessionInfo, Start, State, Status } from "./types.js" */

const ENDED = new Set(["stopped", "ended", "closed", "failed", "expired"]);

/**
 * @typedef {object} SessionEvents
 * @property {Status} status
 * @property {SessionInfo} info
 * @property {MediaStream} stream
 * @property {PromptEvent} prompt
 * @property {Chunk} chunk
 * @property {Message} message
 * @property {string} notice     something to tell the user, not fatal
 * @property {number} roundtrip
 */

/** @extends {Emitter<SessionEvents>} */
export class Session extends Emitter {
  /** Seconds until the server expects room, where it refused for want of it. */
  retryAfter = 0;
  /** @type {SessionInfo | null} */
  info = null;
  /** @type {Status} */
  status = { state: "connecting", detail: "" };
  /** @type {Control | null} */
  #control = null;
  #media = new Media();
  #backoff = new Backoff();
  #left = false;
  #frameSeen = false;
  #everSeen = false;
  #controlDown = false;
  /** @type {Status | null} */
  #final = null;
  #serverState = "starting";
  #reason = "";
  /** Prompts without an answer yet; a prompt replaces the one before it, so this stays short. @type {Map<string, Record<string, any>>} */
  #pending = new Map();
  /** @type {Partial<Dial> | null} */
  #unsentDial = null;

  constructor() {
    super();
    this.#media.on("stream", (stream) => this.emit("stream", stream));
    this.#media.on("up", () => this.#refresh());
    this.#media.on("down", () => {
      this.#frameSeen = false;
      this.#refresh();
    });
    this.#media.on("problem", (problem) => this.#finish(problem));
  }

  /** Someone's take that this page came to later, over a link or after a reload. */
  joined = false;

  /** @param {Start} start */
  async start(start) {
    this.#refresh();
    try {
      const info = await createSession(start);
      if (this.#left) return endSession(info);
      this.#attach(info);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#finish(error, true);
    }
  }

  /**
   * Watch or go on steering a session that exists.
   * @param {string} id
   * @param {string} token
   */
  async join(id, token) {
    this.joined = true;
    this.#refresh();
    try {
      const info = await describeSession(id, token);
      if (!this.#left) this.#attach(info);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#finish(error);
    }
  }

  /**
   * The page could not even ask for a take.
   * @param {Problem} problem
   */
  refuse(problem) {
    this.#finish(problem, true);
  }

  /**
   * The server is there but needs a while before it can take a session.
   * @param {string} detail
   */
  warming(detail) {
    if (!this.info && !this.#final) this.#set({ state: "warming", detail });
  }

  /** @param {SessionInfo} info */
  #attach(info) {
    this.info = info;
    this.#serverState = info.state;
    const base = `v1/sessions/${encodeURIComponent(info.id)}`;
    const control = new URL(info.urls.control ?? `${base}/control`, document.baseURI);
    control.searchParams.set("token", info.token);
    this.#control = new Control(control.href);
    this.#control.on("message", (message) => this.#receive(message));
    this.#control.on("open", () => this.#opened());
    this.#control.on("close", () => this.#reopen());
    this.#control.on("roundtrip", (ms) => this.emit("roundtrip", ms));
    this.#control.open();
    this.emit("info", info);
    this.#refresh();
    this.#media.connect(info.urls.whep ?? `${base}/whep`, info.token);
  }

  #opened() {
    this.#backoff.reset();
    this.#controlDown = false;
    if (this.#unsentDial) this.setDial(this.#unsentDial);
    for (const [id, fields] of this.#pending) this.#control?.send("prompt", fields, id);
    this.#refresh();
  }

  async #reopen() {
    if (this.#left || this.#final || !this.info) return;
    this.#controlDown = true;
    this.#refresh();
    await sleep(this.#backoff.next());
    if (this.#left || this.#final) return;
    try {
      const now = await describeSession(this.info.id, this.info.token);
      if (this.#left) return;
      if (ENDED.has(now.state)) return this.#end();
      this.#control?.open();
    } catch (error) {
      if (error instanceof Problem && error.gone) this.#finish(error);
      else await this.#reopen();
    }
  }

  // --- what the user wants ---

  /**
   * Ask for this to be seen from now on. Kept until the server has answered, across a lost connection too.
   * @param {string} text
   * @param {{transition?: number}} [how]  transition: blend over so many chunks, 0 = cut
   */
  prompt(text, { transition = 0 } = {}) {
    const id = Control.nextId();
    /** @type {Record<string, any>} */
    const fields = { text };
    if (transition > 0) fields.transition = transition;
    for (const [old, { text: was }] of this.#pending) {
      if (this.#control?.ready) continue; // the server will say that it is superseded
      this.#pending.delete(old);
      this.emit("prompt", { id: old, text: was, status: "replaced" });
    }
    this.#pending.set(id, fields);
    this.emit("prompt", { id, text, status: "pending" });
    this.#control?.send("prompt", fields, id);
  }

  /** @param {Partial<Dial>} dial */
  setDial(dial) {
    this.#unsentDial = this.#control?.send("dial", dial) ? null : dial;
  }

  pause() {
    this.#control?.send("pause");
  }

  resume() {
    this.#control?.send("resume");
  }

  stop() {
    if (!this.#control?.send("stop") && this.info) endSession(this.info);
  }

  /** @param {number} chunk */
  rewind(chunk) {
    return this.#control?.send("rewind", { chunk }) ?? false;
  }

  /** @param {Blob} image */
  async image(image) {
    if (!this.info) throw new Problem("There is no take running to give a picture to.");
    return sendImage(this.info, image);
  }

  get canSteer() {
    return this.info !== null && this.info.role !== "watch" && !this.#final;
  }

  /** @returns {Promise<RTCStatsReport>} */
  stats() {
    return this.#media.stats();
  }

  /** The video element has shown a frame of the current peer. */
  frameShown() {
    if (this.#frameSeen) return;
    this.#frameSeen = true;
    this.#everSeen = true;
    this.#media.seen();
  }

  /** The picture stands still although chunks arrive: ask for a new peer. */
  frozen() {
    if (!this.#final && this.info) this.#media.renew();
  }

  /**
   * Leave for good.
   * @param {{end: boolean}} how  end: the server should drop the session as well
   */
  leave({ end }) {
    this.#left = true;
    this.#control?.close();
    this.#media.stop();
    if (end && this.info && this.canSteer) endSession(this.info);
  }

  // --- what the server says ---

  /** @param {Message} message */
  #receive(message) {
    switch (message.type) {
      case "session":
        this.#hear(message);
        break;
      case "prompt_pending":
        break; // shown as pending since it was sent
      case "prompt_applied":
        this.#answered(message, {
          status: "live",
          chunk: message.chunk,
          frame: message.frame,
          latencyMs: message.latency_ms,
        });
        break;
      case "prompt_rejected": {
        const status = message.code === "superseded" ? "replaced" : "refused";
        this.#answered(message, { status, message: message.message });
        break;
      }
      case "chunk":
        this.emit("chunk", /** @type {any} */ (message));
        break;
      case "error":
        if (message.re && this.#pending.has(message.re)) {
          this.#answered(message, { status: "refused", message: message.message });
        } else if (message.fatal) this.#finish(new Problem(message.message, fatal(message.code)));
        else this.emit("notice", message.message);
        break;
    }
    this.emit("message", message);
  }

  /** @param {Message} message  of type session */
  #hear({ state, reason, prompt, seed, dial, viewers }) {
    this.#serverState = state;
    this.#reason = reason ?? "";
    if (this.info) this.emit("info", Object.assign(this.info, { state, prompt, seed, dial, viewers }));
    if (ENDED.has(state)) this.#end();
    else this.#refresh();
  }

  /**
   * @param {Message} message
   * @param {Omit<PromptEvent, "id" | "text">} outcome
   */
  #answered(message, outcome) {
    const id = message.re ?? "";
    const text = message.text ?? this.#pending.get(id)?.text ?? "";
    this.#pending.delete(id);
    this.emit("prompt", { id, text, ...outcome });
  }

  #end() {
    this.#media.stop();
    this.#control?.close();
    const failed = this.#serverState === "failed";
    this.#final ??= { state: failed ? "refused" : "ended", detail: failed ? this.#reason : "" };
    this.#set(this.#final);
  }

  /**
   * @param {Problem} problem
   * @param {boolean} [starting]  the server would not even begin
   */
  #finish(problem, starting = false) {
    if (this.#left || this.#final) return;
    /** @type {State} */
    const state = starting || !problem.gone ? "refused" : "lost";
    const detail = state === "lost" ? "This take is no longer on the server; it may have been restarted." : problem.message;
    this.#final = { state, detail };
    this.#media.stop();
    this.#control?.close();
    this.retryAfter = problem.retryAfter;
    this.#set(this.#final);
  }

  #refresh() {
    if (this.#final || this.#left) return;
    this.#set(this.#current());
  }

  /** @returns {Status} */
  #current() {
    if (!this.info) return { state: "connecting", detail: "" };
    if (this.#controlDown || (this.#everSeen && !this.#frameSeen && this.#serverState !== "paused")) {
      return { state: "reconnecting", detail: "The connection was lost. The take goes on; trying again." };
    }
    if (this.#serverState === "recovering") return { state: "reconnecting", detail: this.#reason };
    if (this.#serverState === "paused") return { state: "paused", detail: this.#reason };
    return this.#frameSeen ? { state: "live", detail: "" } : { state: "warming", detail: "" };
  }

  /** @param {Status} status */
  #set(status) {
    if (status.state === this.status.state && status.detail === this.status.detail) return;
    this.status = status;
    this.emit("status", status);
  }
}

/**
 * A fatal message says with its code what HTTP would say with a status.
 * @param {string} code
 */
const fatal = (code) => ({ code, status: { no_session: 404, unauthorised: 401 }[code] ?? 0 });
