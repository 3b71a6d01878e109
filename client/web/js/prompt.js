// The prompt box: Enter sends, arrow up goes back, every prompt is followed from pending to live.

import { byId, clock, duration, make } from "./dom.js";
import { memory } from "./memory.js";

/** @import { Session } from "./session.js" */
/** @import { Chunk, PromptEvent } from "./types.js" */

const KEPT = 6; // lines in the log
const SHOWN = 4; // examples; the others come up by surprise

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {string} text
 * @property {HTMLLIElement} line
 * @property {HTMLElement} mark
 * @property {PromptEvent["status"] | "over"} status
 * @property {string} from
 */

export class PromptBox {
  #box = byId("prompt", HTMLTextAreaElement);
  #form = byId("prompt-form", HTMLFormElement);
  #log = byId("prompt-log", HTMLOListElement);
  #examples = byId("examples", HTMLUListElement);
  #announce = byId("announce", HTMLElement);
  #transition = byId("transition", HTMLSelectElement);
  /** @type {Session | null} */
  #session = null;
  /** @type {Entry[]} */
  #entries = [];
  #back = 0; // how far back in the history the box stands
  #draft = "";
  #foreign = ""; // someone else's prompt that is about to be on screen
  /** The words on screen now, for a new take that goes on from here. */
  current = "";

  /** @param {(text: string) => void} restart  called to send a prompt when no take is running */
  constructor(restart) {
    this.restart = restart;
    this.#box.value = memory.draft();
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(this.#box.value);
    });
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("input", () => {
      this.#back = 0;
      this.#box.setCustomValidity("");
      memory.keepDraft(this.#box.value);
    });
  }

  focus() {
    this.#box.focus({ preventScroll: true });
  }

  /** @param {string[]} examples */
  offer(examples) {
    const chip = (/** @type {string} */ label, /** @type {() => string} */ words) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => {
        this.#box.value = words();
        memory.keepDraft(this.#box.value);
        this.send(this.#box.value);
      });
      return make("li", {}, button);
    };
    const chips = examples.slice(0, SHOWN).map((text) => chip(text, () => text));
    const others = examples.slice(SHOWN);
    if (others.length) chips.push(chip("Surprise me", () => others[Math.floor(Math.random() * others.length)]));
    this.#examples.replaceChildren(...chips);
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#entries = [];
    this.#log.replaceChildren();
    const seen = session.on("info", (info) => {
      seen(); // only the first names the prompt the take began with
      this.current = info.prompt;
      if (info.prompt) this.#follow(session, { id: "", text: info.prompt, status: "live", frame: session.joined ? undefined : 0 });
    });
    session.on("prompt", (event) => this.#follow(session, event));
    session.on("chunk", (chunk) => this.#notice(session, chunk));
    session.on("info", (info) => (this.#box.disabled = info.role === "watch"));
  }

  /** @param {string} raw */
  send(raw) {
    const text = raw.trim();
    if (!text) {
      this.#announce.textContent = "Write what the video should show first.";
      return this.focus();
    }
    memory.remember(text);
    this.#back = 0;
    if (document.activeElement === this.#box) this.#box.select(); // typing replaces it, arrows edit it
    if (!this.#session?.canSteer && this.#session?.info?.role !== "watch") return this.restart(text);
    this.#session?.prompt(text, { transition: Number(this.#transition.value) });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#form.requestSubmit();
    } else if (event.key === "ArrowUp" && this.#onFirstLine()) this.#recall(event, 1);
    else if (event.key === "ArrowDown" && this.#back > 0) this.#recall(event, -1);
  }

  #onFirstLine() {
    const { value, selectionStart, selectionEnd } = this.#box;
    const all = selectionStart === 0 && selectionEnd === value.length;
    return all || !value.slice(0, selectionStart).includes("\n");
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} by
   */
  #recall(event, by) {
    const history = memory.history().reverse();
    if (this.#back === 0) this.#draft = this.#box.value;
    if (this.#back === 0 && history[0] === this.#box.value.trim()) this.#back = 1; // the box still holds the newest
    const to = Math.min(history.length, Math.max(0, this.#back + by));
    event.preventDefault();
    this.#back = to;
    this.#box.value = to === 0 ? this.#draft : history[to - 1];
    memory.keepDraft(this.#box.value);
  }

  /**
   * A prompt in the chunks that was not said here: someone else steers too. It is on screen when what lies before it has played.
   * @param {Session} session
   * @param {Chunk} chunk
   */
  #notice(session, { index, prompt: text, frame, frames, lead_ms }) {
    const known = text === this.current || this.#entries.some((entry) => entry.text === text && entry.status === "pending");
    if (known || !text || this.#foreign === text) return;
    this.#foreign = text;
    const wait = Math.max(0, lead_ms - (1000 * frames) / (session.info?.fps ?? 16));
    setTimeout(() => {
      this.#foreign = "";
      if (session === this.#session) this.#follow(session, { id: `chunk ${index}`, text, status: "live", frame });
    }, wait);
  }

  /**
   * @param {Session} session
   * @param {PromptEvent} event
   */
  #follow(session, event) {
    const entry = this.#entries.find(({ id }) => id === event.id) ?? this.#add(event);
    const fps = session.info?.fps ?? 16;
    entry.status = event.status;
    entry.line.dataset.status = event.status;
    if (event.status === "pending") entry.mark.textContent = "pending…";
    if (event.status === "replaced") entry.mark.textContent = "replaced";
    if (event.status === "refused") {
      entry.mark.textContent = "refused";
      const why = event.message || "The server did not accept it.";
      entry.line.append(make("span", { class: "why" }, why));
      this.#announce.textContent = `Prompt refused: ${why}`;
    }
    if (event.status === "live") this.#live(entry, event, fps);
  }

  /**
   * @param {Entry} entry
   * @param {PromptEvent} event
   * @param {number} fps
   */
  #live(entry, event, fps) {
    const at = event.frame === undefined ? "before" : clock(event.frame / fps); // before this page came to it
    for (const other of this.#entries) {
      if (other === entry || other.status !== "live") continue;
      other.status = "over";
      other.line.dataset.status = "over";
      other.mark.textContent = `${other.from} – ${at}`;
    }
    entry.from = at;
    const after = event.latencyMs === undefined ? "" : ` · ${duration(event.latencyMs)}`;
    entry.mark.textContent = event.frame === undefined ? "live" : `live · ${at}${after}`;
    entry.mark.title = event.frame === undefined ? "" : `On screen since ${at} of the take` + (after && `, ${duration(event.latencyMs ?? 0)} after it was sent`);
    this.current = event.text;
    this.#announce.textContent = event.id ? `Now showing: ${event.text}` : "";
  }

  /**
   * @param {PromptEvent} event
   * @returns {Entry}
   */
  #add(event) {
    const mark = make("span", { class: "mark" });
    const line = make("li", {}, make("span", { class: "text", title: event.text }, event.text), mark);
    /** @type {Entry} */
    const entry = { id: event.id, text: event.text, line, mark, status: event.status, from: "" };
    this.#entries.unshift(entry);
    this.#log.prepend(line);
    for (const old of this.#entries.splice(KEPT)) old.line.remove();
    return entry;
  }
}
