// Keeps the video of a session coming: one peer, and a new peer when the old one fails.

import { Problem } from "./api.js";
import { Backoff } from "./backoff.js";
import { sleep } from "../lib/sleep.js";
import { Emitter } from "../lib/emitter.js";
import { Peer } from "./whep.js";

const CONNECT_MS = 8000; // ICE and DTLS take far less where UDP passes

/** @extends {Emitter<{stream: MediaStream, up: null, down: null, blocked: string[], problem: Problem}>} */
export class MediaLink extends Emitter {
  #peer = new Peer(); // gathers ICE candidates before the session exists
  #backoff = new Backoff();
  #stopped = false;
  #everShown = false;

  /**
   * @param {string} url
   * @param {string} token
   */
  async connect(url, token) {
    this.url = url;
    this.token = token;
    if (this.#peer.outdated) {
      this.#peer.close();
      this.#peer = new Peer();
    }
    await this.#attempt(this.#peer);
  }

  /** @param {Peer} peer */
  async #attempt(peer) {
    peer.on("stream", (stream) => this.emit("stream", stream));
    peer.on("failed", () => this.#lost(peer));
    try {
      await peer.connect(this.url ?? "", this.token ?? "");
      setTimeout(() => this.#diagnose(peer), CONNECT_MS);
    } catch (error) {
      if (this.#stopped || peer !== this.#peer) return;
      const problem = error instanceof Problem ? error : new Problem(String(error));
      if (problem.gone || problem.status === 400) this.emit("problem", problem);
      else await this.#lost(peer);
    }
  }

  /**
   * The server has answered the offer, and still no path for media was found.
   * @param {Peer} peer
   */
  #diagnose(peer) {
    if (this.#stopped || this.#everShown || peer.connected) return;
    this.emit("blocked", peer.remoteAddresses);
  }

  /** @param {Peer} peer */
  async #lost(peer) {
    if (this.#stopped || peer !== this.#peer) return;
    peer.close();
    this.#peer = new Peer();
    this.emit("down", null);
    const next = this.#peer;
    await sleep(this.#backoff.next());
    if (!this.#stopped && next === this.#peer) await this.#attempt(next);
  }

  /** A frame of this peer has been shown. */
  frameShown() {
    this.#everShown = true;
    this.#backoff.reset();
    this.emit("up", null);
  }

  /** Close the current peer and connect a new one, as after a freeze. */
  reconnect() {
    return this.#lost(this.#peer);
  }

  stats() {
    return this.#peer.stats();
  }

  stop() {
    this.#stopped = true;
    this.#peer.close();
  }
}
