// One WHEP viewer (draft-ietf-wish-whep): offer, POST, answer, trickled candidates. Gathering starts before the session exists,
// which saves about half of the time to the first frame.

import { address, call, tokenHeader } from "./api.js";
import { Emitter } from "../lib/emitter.js";
import { iceServers } from "./ice.js";

const GATHER_MS = 120; // candidates found by then are in the offer, later ones are trickled
const DISCONNECTED_MS = 2500; // "disconnected" often ends by itself

/** @extends {Emitter<{stream: MediaStream, failed: null}>} */
export class Peer extends Emitter {
  #pc = new RTCPeerConnection({ iceServers: iceServers(), bundlePolicy: "max-bundle" });
  /** Made before the server had named its ICE servers. */
  #withoutServers = iceServers().length === 0;
  /** @type {string | null} */
  #resource = null;
  #etag = "*";
  #token = "";
  #closed = false;
  /** @type {RTCIceCandidate[]} */
  #late = [];
  #offered = false;
  /** @type {Promise<void>} */
  #ready;

  constructor() {
    super();
    this.#pc.addTransceiver("video", { direction: "recvonly" });
    this.#pc.ontrack = ({ track, streams, receiver }) => {
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0; // lowest latency: show the newest frame
      this.emit("stream", streams[0] ?? new MediaStream([track]));
    };
    this.#pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate && this.#offered) this.#trickle(candidate);
    };
    this.#pc.onconnectionstatechange = () => this.#connection();
    this.#ready = this.#gather();
  }

  get outdated() {
    return this.#withoutServers && iceServers().length > 0;
  }

  async #gather() {
    await this.#pc.setLocalDescription(await this.#pc.createOffer());
    if (this.#pc.iceGatheringState === "complete") return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, GATHER_MS);
      this.#pc.addEventListener("icegatheringstatechange", () => {
        if (this.#pc.iceGatheringState !== "complete") return;
        clearTimeout(timer);
        resolve(null);
      });
    });
  }

  /**
   * @param {string} url    the session's WHEP endpoint
   * @param {string} token
   */
  async connect(url, token) {
    this.#token = token;
    await this.#ready;
    const sdp = this.#pc.localDescription?.sdp ?? "";
    this.#offered = true;
    const headers = { "Content-Type": "application/sdp", ...tokenHeader(token) };
    const response = await call(url, { method: "POST", headers, body: sdp });
    const location = response.headers.get("Location");
    if (location) this.#resource = address(location);
    this.#etag = response.headers.get("ETag") ?? "*";
    const answer = await response.text();
    if (this.#closed) return this.#leave();
    await this.#pc.setRemoteDescription({ type: "answer", sdp: answer });
    // A server that closes sends a DTLS alert; Chromium reports it only on this transport.
    const dtls = this.#pc.getReceivers()[0]?.transport;
    dtls?.addEventListener("statechange", () => {
      if (!this.#closed && (dtls.state === "closed" || dtls.state === "failed")) this.emit("failed", null);
    });
    for (const candidate of this.#late.splice(0)) this.#trickle(candidate);
  }

  /** @param {RTCIceCandidate} candidate */
  #trickle(candidate) {
    if (!this.#resource) {
      if (this.#late.length < 32) this.#late.push(candidate);
      return;
    }
    const local = this.#pc.localDescription?.sdp ?? "";
    const ufrag = /a=ice-ufrag:(\S+)/.exec(local)?.[1] ?? "";
    const pwd = /a=ice-pwd:(\S+)/.exec(local)?.[1] ?? "";
    const fragment =
      `a=ice-ufrag:${ufrag}\r\na=ice-pwd:${pwd}\r\n` +
      `m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:${candidate.sdpMid ?? "0"}\r\na=${candidate.candidate}\r\n`;
    const headers = {
      "Content-Type": "application/trickle-ice-sdpfrag",
      ...tokenHeader(this.#token),
      "If-Match": this.#etag,
    };
    // A candidate that is lost matters only if no other pair works; then the connection fails and a new peer is made.
    call(this.#resource, { method: "PATCH", headers, body: fragment }).catch(() => {});
  }

  #connection() {
    if (this.#closed) return;
    const state = this.#pc.connectionState;
    if (state === "failed" || state === "closed") this.emit("failed", null);
    if (state === "disconnected") {
      setTimeout(() => {
        if (!this.#closed && this.#pc.connectionState === "disconnected") this.emit("failed", null);
      }, DISCONNECTED_MS);
    }
  }

  get connected() {
    return this.#pc.connectionState === "connected";
  }

  /** Host and UDP port of the server's candidates, for a diagnosis. */
  get remoteAddresses() {
    const sdp = this.#pc.remoteDescription?.sdp ?? "";
    return [...sdp.matchAll(/^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) /gim)].map(([, host, port]) => `${host}:${port}`);
  }

  /** @returns {Promise<RTCStatsReport>} */
  stats() {
    return this.#pc.getStats();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#pc.close();
    this.#leave();
  }

  #leave() {
    if (!this.#resource) return;
    const headers = tokenHeader(this.#token);
    call(this.#resource, { method: "DELETE", headers, keepalive: true }).catch(() => {});
    this.#resource = null;
  }
}

