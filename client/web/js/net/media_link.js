// Keeps one picture coming: a peer, its first frame, and a new peer when the old one is lost.

import { Problem } from "./api.js";
import { Backoff } from "./backoff.js";
import { sleep } from "../lib/dom.js";
import { Emitter } from "../lib/emitter.js";
import { Peer } from "./whep.js";

/** @extends {Emitter<{stream: MediaStream, up: null, down: null, problem: Problem}>} */
export class Media extends Emitter {
  #peer = new Peer(); // gathers at once, before there is a session
  #backoff = new Backoff();
  #stopped = false;

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
    } catch (error) {
      if (this.#stopped || peer !== this.#peer) return;
      const problem = error instanceof Problem ? error : new Problem(String(error));
      if (problem.gone || problem.status === 400) this.emit("problem", problem);
      else await this.#lost(peer);
    }
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

  /** A frame has been shown: the picture is up. */
  seen() {
    this.#backoff.reset();
    this.emit("up", null);
  }

  /** Drop the current peer and make a new one, as after a freeze. */
  renew() {
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
