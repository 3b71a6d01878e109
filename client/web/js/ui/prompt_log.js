// The prompts of this session and the state of each. A mix whose weights change stays one line.

import { byId, clock, duration, make } from "../lib/dom.js";
import { mixTitle, parseMix } from "./mix.js";

/** @import { Session } from "../net/session.js" */
/** @import { Chunk, Past, PromptEvent } from "../types.js" */

const KEPT = 4; // lines; older ones are in the history

/**
 * @typedef {object} Entry
 * @property {string[]} ids  message ids of this line, the newest last
 * @property {string} text
 * @property {HTMLLIElement} line
 * @property {HTMLElement} words
 * @property {HTMLElement} mark
 * @property {PromptEvent["status"] | "over"} status
 * @property {string} from
 */

export class PromptLog {
  #list = byId("prompt-log", HTMLOListElement);
  #announce = byId("announce", HTMLElement);
  /** @type {Session | null} */
  #session = null;
  /** @type {Entry[]} */
  #entries = [];
  #foreign = ""; // another client's prompt that will be on screen soon
  /** The prompt on screen. */
  current = "";

  /**
   * @param {(text: string) => void} again  called with the text of a chosen line
   * @param {(text: string) => void} changed  called when another prompt is on screen
   */
  constructor(again, changed) {
    this.again = again;
    this.changed = changed;
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#entries = [];
    this.#list.replaceChildren();
    const seen = session.on("info", (info) => {
      seen(); // only the first has the prompt that the session began with
      this.current = info.prompt;
      if (info.prompt) this.#onPrompt(session, { id: "", text: info.prompt, status: "live", frame: session.joined ? undefined : 0 });
    });
    session.on("prompt", (event) => this.#onPrompt(session, event));
    session.on("past", (past) => this.#restore(session, past));
    session.on("chunk", (chunk) => this.#onChunk(session, chunk));
  }

  /**
   * The prompts from before this page joined, unless it has sent one since.
   * @param {Session} session
   * @param {Past} past
   */
  #restore(session, past) {
    if (this.#entries.some(({ ids }) => ids[0] !== "")) return;
    this.#entries = [];
    this.#list.replaceChildren();
    for (const { chunk, prompt } of past.steps) {
      if (prompt) this.#onPrompt(session, { id: `score ${chunk}`, text: prompt.text, status: "live", frame: past.chunks[chunk]?.frame });
    }
    this.say("");
  }

  /** @param {string} text */
  say(text) {
    this.#announce.textContent = text;
  }

  /**
   * A prompt in a chunk that this page did not send: another client steers too. It is on screen when the lead has been played.
   * @param {Session} session
   * @param {Chunk} chunk
   */
  #onChunk(session, { index, prompt: text, frame, frames, lead_ms }) {
    const known = text === this.current || this.#entries.some((entry) => entry.status === "pending" && mixTitle(entry.text) === mixTitle(text));
    if (known || !text || this.#foreign === text) return;
    this.#foreign = text;
    const wait = Math.max(0, lead_ms - (1000 * frames) / (session.info?.fps ?? 16));
    setTimeout(() => {
      if (this.#foreign === text) this.#foreign = "";
      if (session === this.#session && text !== this.current) this.#onPrompt(session, { id: `chunk ${index}`, text, status: "live", frame });
    }, wait);
  }

  /**
   * @param {Session} session
   * @param {PromptEvent} event
   */
  #onPrompt(session, event) {
    const entry = this.#entries.find(({ ids }) => ids.includes(event.id)) ?? this.#moved(event) ?? this.#add(session, event);
    if (event.id !== entry.ids.at(-1) && event.status !== "live") return; // an answer to older weights of the mix
    entry.status = event.status;
    entry.line.dataset.status = event.status;
    entry.text = event.text;
    entry.words.replaceChildren(...lines(event.text));
    if (event.status === "pending") entry.mark.textContent = session.status.state === "paused" ? "pending: resume to see it" : "pending…";
    if (event.status === "replaced") entry.mark.textContent = "replaced";
    if (event.status === "refused") this.#refused(entry, event.message || "The server did not accept it.");
    if (event.status === "live") this.#live(entry, event, session.info?.fps ?? 16);
  }

  /**
   * The same prompts with other weights reuse the first line.
   * @param {PromptEvent} event
   * @returns {Entry | null}
   */
  #moved(event) {
    const [top] = this.#entries;
    if (!top || event.status !== "pending" || !parseMix(event.text).mix || mixTitle(top.text) !== mixTitle(event.text)) return null;
    top.ids = [...top.ids.slice(-8), event.id];
    return top;
  }

  /**
   * @param {Entry} entry
   * @param {string} why
   */
  #refused(entry, why) {
    entry.mark.textContent = "refused";
    entry.line.append(make("span", { class: "why" }, why));
    this.say(`Prompt refused: ${why}`);
  }

  /**
   * @param {Entry} entry
   * @param {PromptEvent} event
   * @param {number} fps
   */
  #live(entry, event, fps) {
    const at = event.frame === undefined ? "before" : clock(event.frame / fps); // before this page joined
    for (const other of this.#entries) {
      if (other === entry || other.status !== "live") continue;
      other.status = "over";
      other.line.dataset.status = "over";
      other.mark.textContent = `${other.from} – ${at}`;
    }
    entry.from ||= at;
    const after = event.latencyMs === undefined ? "" : ` · ${duration(event.latencyMs)}`;
    entry.mark.textContent = event.frame === undefined ? "live" : `live · ${at}${after}`;
    entry.mark.title = event.frame === undefined ? "" : `On screen since ${at} of the take` + (after && `, ${duration(event.latencyMs ?? 0)} after it was sent`);
    this.current = event.text;
    this.changed(event.text);
    this.say(event.id ? `Now showing: ${event.text}` : "");
  }

  /**
   * @param {Session} session
   * @param {PromptEvent} event
   * @returns {Entry}
   */
  #add(session, event) {
    const mark = make("span", { class: "mark" });
    const words = make(session.info?.role === "watch" ? "span" : "button", { class: "text", title: event.text });
    if (words instanceof HTMLButtonElement) {
      words.type = "button";
      words.title = "Bring it back into the box";
      words.addEventListener("click", () => this.again(entry.text));
    }
    const line = make("li", {}, words, mark);
    /** @type {Entry} */
    const entry = { ids: [event.id], text: event.text, line, words, mark, status: event.status, from: "" };
    const opening = event.id === ""; // its event may come after the first prompt
    this.#entries[opening ? "push" : "unshift"](entry);
    this.#list[opening ? "append" : "prepend"](line);
    for (const old of this.#entries.splice(KEPT)) old.line.remove();
    return entry;
  }
}

/**
 * One line for a prompt, one for each prompt of a mix.
 * @param {string} text
 */
function lines(text) {
  const { mix } = parseMix(text);
  if (!mix) return [make("span", {}, text)];
  return mix.map(([words, weight]) => make("span", {}, make("b", {}, `${Math.round(100 * weight)} % `), words));
}
