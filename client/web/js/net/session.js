// One session as the page sees it: created or joined, its commands, its events, its status.

import { Problem, createSession, describeSession, endSession, sendImage } from "./api.js";
import { Emitter } from "../lib/emitter.js";
import { ControlLink } from "./control_link.js";
import { MediaLink } from "./media_link.js";
import { endStatus, fatalProblem, isOver, problemStatus, statusOf } from "./status_model.js";
import { PendingCommands } from "./pending.js";

/** @import { Chunk, Dial, Message, PromptEvent, SessionInfo, Shot, Start, Status, PromptRequest } from "../types.js" */

/**
 * @typedef {object} SessionEvents
 * @property {Status} status
 * @property {SessionInfo} info
 * @property {MediaStream} stream
 * @property {PromptEvent} prompt
 * @property {Chunk} chunk
 * @property {Shot} shot         a new shot began from a picture
 * @property {Message} message
 * @property {string} notice     a message for the user, not fatal
 * @property {number} roundtrip
 */

/** @extends {Emitter<SessionEvents>} */
export class Session extends Emitter {
  /** Why the session was refused or lost. @type {Problem | null} */
  problem = null;
  /** The session existed before this page: opened by a link or after a reload. */
  joined = false;
  /** @type {SessionInfo | null} */
  info = null;
  /** @type {Status} */
  status = { state: "connecting", detail: "" };
  pending = new PendingCommands((event) => this.emit("prompt", event));
  /** @type {ControlLink | null} */
  #link = null;
  #media = new MediaLink();
  #left = false;
  /** @type {Status | null} */
  #final = null;
  #facts = { known: false, controlDown: false, frameSeen: false, everSeen: false, server: "starting", reason: "" };
  /** The last uploaded picture, shown where its shot begins. @type {Blob | null} */
  #picture = null;

  constructor() {
    super();
    this.#media.on("stream", (stream) => this.emit("stream", stream));
    this.#media.on("up", () => this.#update({}));
    this.#media.on("down", () => this.#update({ frameSeen: false }));
    this.#media.on("problem", (problem) => this.#finish(problem));
  }

  // --- start and end ---

  /** @param {Start} start */
  async start(start) {
    const { image } = start;
    await this.#begin(() => createSession(start), true);
    if (image && this.info) this.emit("shot", { chunk: 0, picture: image });
  }

  /**
   * Watch or steer an existing session.
   * @param {string} id
   * @param {string} token
   * @param {string} [view_token]  known if this page created the session
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
    const link = new ControlLink(info);
    this.#link = link;
    link.on("message", (message) => this.#onMessage(message));
    link.on("roundtrip", (ms) => this.emit("roundtrip", ms));
    link.on("down", () => this.#update({ controlDown: true }));
    link.on("over", (state) => this.#close(endStatus(state, "")));
    link.on("problem", (problem) => this.#finish(problem));
    link.on("up", () => {
      this.pending.resend(link.control);
      this.#update({ controlDown: false });
    });
    link.open();
    this.emit("info", info);
    this.#update({ known: true, server: info.state });
    this.#media.connect(info.urls.whep ?? `v1/sessions/${encodeURIComponent(info.id)}/whep`, info.token);
  }

  /**
   * The page could not ask for a session.
   * @param {Problem} problem
   */
  refuse(problem) {
    this.#finish(problem, true);
  }

  /**
   * The server answers but cannot start a session yet.
   * @param {string} detail
   */
  warming(detail) {
    if (!this.info && !this.#final) this.#set({ state: "warming", detail });
  }

  /**
   * Leave for good.
   * @param {{end: boolean}} how  end: also end the session on the server
   */
  leave({ end }) {
    this.#left = true;
    this.#link?.close();
    this.#media.stop();
    if (end && this.info && this.canSteer) endSession(this.info);
  }

  // --- commands ---

  get canSteer() {
    return this.info !== null && this.info.role !== "watch" && !this.#final;
  }

  /**
   * Show this prompt from the next chunk on. Kept until the server has answered, also across a lost connection.
   * @param {PromptRequest} request
   */
  prompt(request) {
    this.pending.prompt(this.#link?.control ?? null, request);
  }

  /** @param {Partial<Dial>} dial */
  setDial(dial) {
    this.pending.dial(this.#link?.control ?? null, dial);
  }

  /**
   * Commands that are not kept: sent now, or refused with a notice.
   * @param {"pause" | "resume" | "rewind"} what
   * @param {Record<string, unknown>} [fields]
   */
  #sendNow(what, fields) {
    const sent = this.#link?.send(what, fields) ?? false;
    if (!sent) this.emit("notice", "Not while the connection is lost. Try again in a moment.");
    return sent;
  }

  pause() {
    this.#sendNow("pause");
  }

  resume() {
    this.#sendNow("resume");
  }

  /** @param {number} chunk */
  rewind(chunk) {
    return this.#sendNow("rewind", { chunk });
  }

  stop() {
    if (!this.#link?.send("stop") && this.info) endSession(this.info);
  }

  /** @param {Blob} image */
  async image(image) {
    if (!this.info) throw new Problem("There is no take running to give a picture to.");
    this.#picture = image;
    return sendImage(this.info, image);
  }

  // --- video ---

  /** @returns {Promise<RTCStatsReport>} */
  stats() {
    return this.#media.stats();
  }

  /** The video element has shown a frame of the current peer. */
  frameShown() {
    if (this.#facts.frameSeen) return;
    Object.assign(this.#facts, { frameSeen: true, everSeen: true });
    this.#media.frameShown();
  }

  /** No new frame although chunks are made: connect a new peer. */
  frozen() {
    if (!this.#final && this.info) this.#media.reconnect();
  }

  // --- messages of the server ---

  /** @param {Message} message */
  #onMessage(message) {
    if (message.type === "session") this.#onSession(message);
    else if (message.type === "chunk") this.emit("chunk", /** @type {any} */ (message));
    else if (message.type === "prompt_applied") {
      const { chunk, frame, latency_ms: latencyMs } = message;
      this.pending.settle(message, { status: "live", chunk, frame, latencyMs });
    } else if (message.type === "prompt_rejected") {
      const status = message.code === "superseded" ? "replaced" : "refused";
      this.pending.settle(message, { status, message: message.message });
    } else if (message.type === "image_applied") {
      this.emit("shot", { chunk: message.chunk, picture: this.#picture });
      this.#picture = null;
    } else if (message.type === "error") this.#onError(message);
    this.emit("message", message);
  }

  /** @param {Message} message  of type error */
  #onError(message) {
    if (this.pending.has(message.re)) this.pending.settle(message, { status: "refused", message: message.message });
    else if (message.fatal) this.#finish(new Problem(message.message, fatalProblem(message.code)));
    else this.emit("notice", message.message);
  }

  /** @param {Message} message  of type session */
  #onSession({ state, reason, prompt, seed, dial, viewers }) {
    if (this.info) this.emit("info", Object.assign(this.info, { state, prompt, seed, dial, viewers }));
    if (isOver(state)) this.#close(endStatus(state, reason ?? ""));
    else this.#update({ server: state, reason: reason ?? "" });
  }

  /**
   * @param {Problem} problem
   * @param {boolean} [starting]  the session could not be started
   */
  #finish(problem, starting = false) {
    if (this.#left || this.#final) return;
    this.problem = problem;
    this.#close(problemStatus(problem, starting));
  }

  /** @param {Status} status  the final one */
  #close(status) {
    this.#final ??= status;
    this.#set(this.#final); // emitted while the last frame is still in the video element
    this.#media.stop();
    this.#link?.close();
  }

  /** @param {Partial<import("./status_model.js").Facts>} news */
  #update(news) {
    Object.assign(this.#facts, news);
    if (!this.#final && !this.#left) this.#set(statusOf(this.#facts));
  }

  /** @param {Status} status */
  #set(status) {
    if (status.state === this.status.state && status.detail === this.status.detail) return;
    this.status = status;
    this.emit("status", status);
  }
}
