// One session as the page sees it: created or joined, its commands, its events, its status.

import { Problem, createSession, describeSession, endSession, getModel, getScore, sendImage } from "./api.js";
import { Emitter } from "../lib/emitter.js";
import { ControlLink } from "./control_link.js";
import { MediaLink } from "./media_link.js";
import { Replay } from "./replay.js";
import { readScore } from "./score.js";
import { endStatus, fatalProblem, isOver, problemStatus, statusOf } from "./status_model.js";
import { PendingCommands } from "./pending.js";

/** @import { Dial, Message, PromptRequest, ReplayStep, SessionEvents, SessionInfo, Start, Status } from "../types.js" */

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
  /** @type {import("./status_model.js").Facts} */
  #facts = { known: false, controlDown: false, controlBlocked: false, mediaBlocked: null, frameSeen: false, everSeen: false, server: "starting", reason: "" };
  /** Made by `create`, not connected yet. @type {SessionInfo | null} */
  #created = null;
  /** The picture that the session starts from. @type {Blob | null} */
  #first = null;
  /** @type {Replay | null} */
  #replay = null;
  /** The last uploaded picture, shown where its shot begins. @type {Blob | null} */
  #picture = null;

  constructor() {
    super();
    this.#media.on("stream", (stream) => this.emit("stream", stream));
    this.#media.on("up", () => this.#update({}));
    this.#media.on("down", () => this.#update({ frameSeen: false }));
    this.#media.on("blocked", (addresses) => this.#update({ mediaBlocked: addresses }));
    this.#media.on("problem", (problem) => this.#finish(problem));
  }

  // --- start and end ---

  /**
   * Create the session on the server. Nothing is shown before `open`. Throws Problem.
   * @param {Start} start
   */
  async create(start) {
    this.#created = await createSession(start);
    this.#first = start.image ?? null;
  }

  /** Connect to the session that `create` made. */
  open() {
    if (!this.#created) throw new Error("create() comes first");
    this.#attach(this.#created);
    if (this.#first) this.emit("shot", { chunk: 0, picture: this.#first });
  }

  /** Create and connect; a refusal becomes the status. @param {Start} start */
  async start(start) {
    try {
      await this.create(start);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return this.#finish(error, true);
    }
    if (this.#left) endSession(/** @type {SessionInfo} */ (this.#created));
    else this.open();
  }

  /**
   * Watch or steer an existing session.
   * @param {string} id
   * @param {string} token
   * @param {string} [view_token]  known if this page created the session
   */
  async join(id, token, view_token) {
    this.joined = true;
    try {
      const info = await describeSession(id, token);
      if (this.#left) return;
      this.#attach({ ...info, view_token });
      if (this.canSteer && info.urls.score) await this.#readPast();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#finish(error);
    }
  }

  /** What happened before this page came, from the score. Without it the page starts empty. */
  async #readPast() {
    const [score, model] = await Promise.all([getScore(/** @type {SessionInfo} */ (this.info)), getModel()]).catch(() => []);
    const past = readScore(score, model?.chunk_frames);
    if (past && !this.#left) this.emit("past", past);
  }

  /** @param {SessionInfo} info */
  #attach(info) {
    this.info = info;
    const link = new ControlLink(info);
    this.#link = link;
    link.on("message", (message) => this.#onMessage(message));
    link.on("roundtrip", (ms) => this.emit("roundtrip", ms));
    link.on("down", () => this.#update({ controlDown: true }));
    link.on("blocked", () => this.#update({ controlBlocked: true }));
    link.on("over", (state) => this.#close(endStatus(state, "")));
    link.on("problem", (problem) => this.#finish(problem));
    link.on("up", () => {
      this.pending.resend(link.control);
      this.#update({ controlDown: false, controlBlocked: false });
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

  /** Created and not over. */
  get running() {
    return this.info !== null && !this.#final && !this.#left;
  }

  get canSteer() {
    return this.info !== null && this.info.role !== "watch" && !this.#final;
  }

  /**
   * Show this prompt from the next chunk on. Kept until the server has answered, also across a lost connection.
   * @param {PromptRequest} request
   */
  prompt(request) {
    this.#stopReplay();
    this.#sendPrompt(request);
  }

  /** @param {PromptRequest} request */
  #sendPrompt(request) {
    this.pending.prompt(this.#link?.control ?? null, request);
  }

  /** @param {Partial<Dial>} dial */
  setDial(dial) {
    this.#stopReplay();
    this.#sendDial(dial);
  }

  /** @param {Partial<Dial>} dial */
  #sendDial(dial) {
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

  /**
   * Go back to this chunk. With `steps` the prompts and dial moves of that time are sent again, each at its chunk; without,
   * the session goes on under the present prompt and dial.
   * @param {number} chunk
   * @param {ReplayStep[]} [steps]
   */
  rewind(chunk, steps = []) {
    this.#stopReplay();
    if (!this.#sendNow("rewind", { chunk })) return false;
    if (steps.length) this.replay(steps, chunk);
    return true;
  }

  /**
   * Send these prompts and dial moves at their chunks, until the user sends something else.
   * @param {ReplayStep[]} steps
   * @param {number} from  the next chunk
   */
  replay(steps, from) {
    this.#stopReplay();
    this.#replay = new Replay(steps, { prompt: (request) => this.#sendPrompt(request), dial: (dial) => this.#sendDial(dial), image: (image) => this.image(image).catch(() => this.emit("notice", "A picture of the score could not be sent.")) });
    this.#replay.reached(from);
  }

  #stopReplay() {
    this.#replay = null;
  }

  stop() {
    if (!this.#link?.send("stop") && this.info) endSession(this.info);
  }

  /**
   * A new shot from this picture.
   * @param {Blob} image
   * @param {number} [strength]  0..1, for models that take it
   */
  async image(image, strength) {
    if (!this.info) throw new Problem("There is no take running to give a picture to.");
    this.#picture = image;
    return sendImage(this.info, image, strength);
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
    else if (message.type === "chunk") {
      this.#replay?.reached(message.index + 1);
      this.emit("chunk", /** @type {any} */ (message));
    } else if (message.type === "dial_applied" && this.info) this.info.dial = message.dial;
    else if (message.type === "prompt_applied") {
      const { chunk, frame, latency_ms: latencyMs } = message;
      if (this.info) this.info.prompt = message.text;
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
