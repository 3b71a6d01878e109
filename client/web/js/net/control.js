// One control WebSocket: sends messages with ids, receives messages, and measures the round trip with a ping.

import { Emitter } from "../lib/emitter.js";

/** @import { Message } from "../types.js" */

const HEARTBEAT_MS = 2000;
const SILENCE_MS = 9000; // without a message for so long the socket is closed: TCP may notice a dead peer much later

/** @extends {Emitter<{message: Message, open: null, close: {code: number}, roundtrip: number}>} */
export class Control extends Emitter {
  /** @type {WebSocket | null} */
  #socket = null;
  #lastMessageAt = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heartbeat;
  static #count = 0;

  /**
   * @param {string} url  full address of the control socket, http or ws
   * @param {string} [token]  goes as a subprotocol: a browser's WebSocket sets no headers, and addresses end in logs
   */
  constructor(url, token) {
    super();
    this.protocols = token ? ["farcast.v1", `token.${token}`] : [];
    const address = new URL(url);
    address.protocol = address.protocol.replace("http", "ws");
    this.url = address.href;
  }

  open() {
    const socket = new WebSocket(this.url, this.protocols);
    this.#socket = socket;
    socket.onopen = () => {
      this.#lastMessageAt = performance.now();
      this.#heartbeat = setInterval(() => this.#ping(), HEARTBEAT_MS);
      this.emit("open", null);
    };
    socket.onmessage = (event) => this.#receive(event);
    socket.onclose = (event) => {
      clearInterval(this.#heartbeat);
      if (this.#socket !== socket) return; // closed by this page
      this.#socket = null;
      this.emit("close", { code: event.code });
    };
  }

  close() {
    const socket = this.#socket;
    this.#socket = null;
    clearInterval(this.#heartbeat);
    socket?.close();
  }

  get ready() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  static nextId() {
    return `p${(Control.#count += 1).toString(36)}-${Math.floor(Math.random() * 1e6).toString(36)}`;
  }

  /**
   * Send one message; false if the socket is not open.
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   * @param {string} [id]
   */
  send(type, fields = {}, id = Control.nextId()) {
    if (!this.ready) return false;
    this.#socket?.send(JSON.stringify({ type, id, ...fields }));
    return true;
  }

  #ping() {
    if (performance.now() - this.#lastMessageAt > SILENCE_MS) {
      const socket = this.#socket;
      this.close();
      if (socket) this.emit("close", { code: 1006 });
      return;
    }
    this.send("ping", { t: performance.now() });
  }

  /** @param {MessageEvent} event */
  #receive(event) {
    this.#lastMessageAt = performance.now();
    /** @type {Message} */
    let message;
    try {
      message = JSON.parse(event.data);
    } catch {
      return; // not JSON; for example a proxy's page
    }
    if (message.type === "pong") this.emit("roundtrip", performance.now() - message.t);
    else this.emit("message", message);
  }
}
