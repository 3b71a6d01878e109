// The live picture: plays the stream, detects frames and freezes, draws the glow, takes snapshots, holds the last frame.

import { byId, calm, duration } from "../lib/dom.js";

/** @import { Session } from "../net/session.js" */
/** @import { SessionInfo } from "../types.js" */

const GLOW_MS = 300;
const FREEZE_MS = 6000; // chunks are made and no frame arrives for so long: the connection is broken
const BLANK_MS = 12_000; // the same before the first frame
const FPS_WINDOW_MS = 2000;

export class Stage {
  video = byId("video", HTMLVideoElement);
  #glow = byId("glow", HTMLCanvasElement);
  #still = byId("still", HTMLCanvasElement);
  #firstFrame = byId("first-frame", HTMLElement);
  #brush = this.#glow.getContext("2d");
  /** @type {Session | null} */
  #session = null;
  /** Arrival times of recent frames, ms. @type {number[]} */
  #times = [];
  #lastFrame = 0;
  #lastChunk = 0;
  #lastGlow = 0;
  #fresh = false; // the frames are of this session, not of the previous one
  #since = 0; // performance.now() of the request for the picture; 0 after the first frame

  constructor() {
    const watch = () => {
      this.video.requestVideoFrameCallback(watch);
      this.#onFrame(performance.now());
    };
    this.video.requestVideoFrameCallback(watch);
    setInterval(() => this.#checkFreeze(), 1000);
    document.addEventListener("visibilitychange", () => (this.#lastFrame = performance.now()));
  }

  /**
   * @param {Session} session
   * @param {number} since  performance.now() of the request
   */
  attach(session, since) {
    this.#session = session;
    this.#fresh = false;
    this.#since = since;
    this.#lastFrame = performance.now();
    session.on("stream", (stream) => {
      this.#fresh = true;
      this.video.srcObject = stream;
      this.video.play().catch(() => {}); // muted: refused only while the page is being closed
    });
    session.on("info", (info) => this.#setShape(info));
    session.on("chunk", () => (this.#lastChunk = performance.now()));
    session.on("status", ({ state }) => ["ended", "lost", "refused"].includes(state) && this.hold());
  }

  /** Copy the present frame to a canvas: a stream that ends leaves the video black. */
  hold() {
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth || !this.#fresh) return;
    this.#still.width = videoWidth;
    this.#still.height = videoHeight;
    this.#still.getContext("2d")?.drawImage(this.video, 0, 0);
  }

  /** @param {SessionInfo} info */
  #setShape({ width, height }) {
    this.video.style.setProperty("--ratio", String(width / height));
    this.video.parentElement?.style.setProperty("--shape", String(width / height));
  }

  /** @param {number} now */
  #onFrame(now) {
    if (!this.#fresh) return; // frames of the previous session
    this.#lastFrame = now;
    this.#times.push(now);
    while (this.#times[0] < now - FPS_WINDOW_MS) this.#times.shift();
    if (this.#since) this.#announceFirst(now);
    this.#session?.frameShown();
    if (now - this.#lastGlow > GLOW_MS) this.#drawGlow(now);
  }

  /** @param {number} now */
  #announceFirst(now) {
    const took = now - this.#since;
    this.#since = 0;
    document.body.dataset.lit = "";
    document.body.dataset.firstFrameMs = String(Math.round(took));
    this.#firstFrame.textContent = `first frame after ${duration(took)}`;
    this.#firstFrame.hidden = false;
    setTimeout(() => (this.#firstFrame.hidden = true), 5700);
  }

  /**
   * Draw the glow around the picture: blurred at a small size, which is cheap.
   * @param {number} now
   */
  #drawGlow(now) {
    this.#lastGlow = now;
    if (!this.#brush || !this.video.videoWidth) return;
    const { width, height } = this.#glow;
    this.#brush.globalAlpha = calm.matches ? 0.04 : 0.25;
    this.#brush.filter = "blur(5px) saturate(1.4)";
    this.#brush.drawImage(this.video, -6, -6, width + 12, height + 12);
  }

  /** Frames per second shown here, over the last two seconds. */
  get fps() {
    const now = performance.now();
    const recent = this.#times.filter((time) => time > now - FPS_WINDOW_MS);
    if (recent.length < 2) return 0;
    return ((recent.length - 1) * 1000) / (recent[recent.length - 1] - recent[0]);
  }

  #checkFreeze() {
    const now = performance.now();
    const state = this.#session?.status.state ?? "paused";
    if (document.hidden || !this.#session || !["live", "warming", "reconnecting"].includes(state)) return;
    const chunksFlow = now - this.#lastChunk < FREEZE_MS / 2;
    if (chunksFlow && now - this.#lastFrame > (state === "live" ? FREEZE_MS : BLANK_MS)) {
      this.#lastFrame = now;
      this.#session.frozen();
    }
  }

  /** @returns {Promise<Blob | null>} the present frame as PNG; null before the first frame */
  snapshot() {
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth) return Promise.resolve(null);
    const canvas = document.createElement("canvas");
    canvas.width = videoWidth;
    canvas.height = videoHeight;
    canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }
}
