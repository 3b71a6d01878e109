// One take, seen from the page: created or joined, told what the user wants, and told by the server how it goes.

import { Problem, createSession, describeSession, endSession, sendImage } from "./api.js";
import { Emitter } from "../lib/emitter.js";
import { Line } from "./control_link.js";
import { Media } from "./media_link.js";
import { ending, fatal, isOver, standing, stranded } from "./status_model.js";
import { Wishes } from "./pending.js";

/** @import { Chunk, Dial, Message, PromptEvent, SessionInfo, Shot, Start, Status, Wish } from "../types.js" */

/**
 * @typedef {object} SessionEvents
 * @property {Status} status
 * @property {SessionInfo} info
 * @property {MediaStream} stream
 * @property {PromptEvent} prompt
 * @property {Chunk} chunk
 * @property {Shot} shot         a new shot began from a picture
 * @property {Message} message
 * @property {string} notice     something to tell the user, not fatal
 * @property {number} roundtrip
 */

/** @extends {Emitter<SessionEvents>} */
export class Session extends Emitter {
  /** Why it was refused or lost. @type {Problem | null} */
  problem = null;
  /** Someone's take that this page came to later, over a link or after a reload. */
  joined = false;
  /** @type {SessionInfo | null} */
  info = null;
  /** @type {Status} */
  status = { state: "connecting", detail: "" };
  wishes = new Wishes((event) => this.emit("prompt", event));
  /** @type {Line | null} */
  #line = null;
  #media = new Media();
  #left = false;
  /** @type {Status | null} */
  #final = null;
  #facts = { known: false, controlDown: false, frameSeen: false, everSeen: false, server: "starting", reason: "" };
  /** The picture this page sent last, to show where its shot begins. @type {Blob | null} */
  #picture = null;

  constructor() {
    super();
    this.#media.on("stream", (stream) => this.emit("stream", stream));
    this.#media.on("up", () => this.#know({}));
    this.#media.on("down", () => this.#know({ frameSeen: false }));
    this.#media.on("problem", (problem) => this.#finish(problem));
  }

  // --- its life ---

  /** @param {Start} start */
  async start(start) {
    const { image } = start;
    await this.#begin(() => createSession(start), true);
    if (image && this.info) this.emit("shot", { chunk: 0, picture: image });
  }

  /**
   * Watch or go on steering a session that exists.
   * @param {string} id
   * @param {string} token
   * @param {string} [view_token]  known from when this page made it
   */
  async join(id, token, view_token) {
    this.joined = true;
    await this.#begin(async () => ({ ...(await describeSession(id, token)), view_token }), false);
  }

  /**
   * @param {() => Promise<SessionInfo>} ask
   * @param {boolean} starting
   */
  async #begin(ask, starting) {
    try {
      const info = await ask();
      if (!this.#left) this.#attach(info);
      else if (starting) endSession(info);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#finish(error, starting);
    }
  }

  /** @param {SessionInfo} info */
  #attach(info) {
    this.info = info;
    const line = new Line(info);
    this.#line = line;
    line.on("message", (message) => this.#receive(message));
    line.on("roundtrip", (ms) => this.emit("roundtrip", ms));
    line.on("down", () => this.#know({ controlDown: true }));
    line.on("over", (state) => this.#close(ending(state, "")));
    line.on("problem", (problem) => this.#finish(problem));
    line.on("up", () => {
      this.wishes.repeat(line.control);
      this.#know({ controlDown: false });
    });
    line.open();
    this.emit("info", info);
    this.#know({ known: true, server: info.state });
    this.#media.connect(info.urls.whep ?? `v1/sessions/${encodeURIComponent(info.id)}/whep`, info.token);
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

  /**
   * Leave for good.
   * @param {{end: boolean}} how  end: the server should drop the session as well
   */
  leave({ end }) {
    this.#left = true;
    this.#line?.close();
    this.#media.stop();
    if (end && this.info && this.canSteer) endSession(this.info);
  }

  // --- what the user wants ---

  get canSteer() {
    return this.info !== null && this.info.role !== "watch" && !this.#final;
  }

  /**
   * Ask for this to be seen from now on. Kept until the server has answered, across a lost connection too.
   * @param {Wish} wish
   */
  prompt(wish) {
    this.wishes.prompt(this.#line?.control ?? null, wish);
  }

  /** @param {Partial<Dial>} dial */
  setDial(dial) {
    this.wishes.dial(this.#line?.control ?? null, dial);
  }

  /**
   * Wishes that make no sense later: said now, or refused with a word.
   * @param {"pause" | "resume" | "rewind"} what
   * @param {Record<string, unknown>} [fields]
   */
  #now(what, fields) {
    const sent = this.#line?.send(what, fields) ?? false;
    if (!sent) this.emit("notice", "Not while the connection is lost. Try again in a moment.");
    return sent;
  }

  pause() {
    this.#now("pause");
  }

  resume() {
    this.#now("resume");
  }

  /** @param {number} chunk */
  rewind(chunk) {
    return this.#now("rewind", { chunk });
  }

  stop() {
    if (!this.#line?.send("stop") && this.info) endSession(this.info);
  }

  /** @param {Blob} image */
  async image(image) {
    if (!this.info) throw new Problem("There is no take running to give a picture to.");
    this.#picture = image;
    return sendImage(this.info, image);
  }

  // --- the picture ---

  /** @returns {Promise<RTCStatsReport>} */
  stats() {
    return this.#media.stats();
  }

  /** The video element has shown a frame of the current peer. */
  frameShown() {
    if (this.#facts.frameSeen) return;
    Object.assign(this.#facts, { frameSeen: true, everSeen: true });
    this.#media.seen();
  }

  /** The picture stands still although chunks arrive: ask for a new peer. */
  frozen() {
    if (!this.#final && this.info) this.#media.renew();
  }

  // --- what the server says ---

  /** @param {Message} message */
  #receive(message) {
    if (message.type === "session") this.#hear(message);
    else if (message.type === "chunk") this.emit("chunk", /** @type {any} */ (message));
    else if (message.type === "prompt_applied") {
      const { chunk, frame, latency_ms: latencyMs } = message;
      this.wishes.answer(message, { status: "live", chunk, frame, latencyMs });
    } else if (message.type === "prompt_rejected") {
      const status = message.code === "superseded" ? "replaced" : "refused";
      this.wishes.answer(message, { status, message: message.message });
    } else if (message.type === "image_applied") {
      this.emit("shot", { chunk: message.chunk, picture: this.#picture });
      this.#picture = null;
    } else if (message.type === "error") this.#trouble(message);
    this.emit("message", message);
  }

  /** @param {Message} message  of type error */
  #trouble(message) {
    if (this.wishes.waitsFor(message.re)) this.wishes.answer(message, { status: "refused", message: message.message });
    else if (message.fatal) this.#finish(new Problem(message.message, fatal(message.code)));
    else this.emit("notice", message.message);
  }

  /** @param {Message} message  of type session */
  #hear({ state, reason, prompt, seed, dial, viewers }) {
    if (this.info) this.emit("info", Object.assign(this.info, { state, prompt, seed, dial, viewers }));
    if (isOver(state)) this.#close(ending(state, reason ?? ""));
    else this.#know({ server: state, reason: reason ?? "" });
  }

  /**
   * @param {Problem} problem
   * @param {boolean} [starting]  the server would not even begin
   */
  #finish(problem, starting = false) {
    if (this.#left || this.#final) return;
    this.problem = problem;
    this.#close(stranded(problem, starting));
  }

  /** @param {Status} status  the last one */
  #close(status) {
    this.#final ??= status;
    this.#set(this.#final); // said while the last picture is still there
    this.#media.stop();
    this.#line?.close();
  }

  /** @param {Partial<import("./status_model.js").Facts>} news */
  #know(news) {
    Object.assign(this.#facts, news);
    if (!this.#final && !this.#left) this.#set(standing(this.#facts));
  }

  /** @param {Status} status */
  #set(status) {
    if (status.state === this.status.state && status.detail === this.status.detail) return;
    this.status = status;
    this.emit("status", status);
  }
}
