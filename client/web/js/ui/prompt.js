// The prompt box: Enter sends, arrow up recalls earlier prompts; example prompts; the mix of two prompts.

import { byId, make } from "../lib/dom.js";
import { History } from "./history.js";
import { storage } from "../lib/storage.js";
import { parseMix } from "./mix.js";
import { Mixer } from "./mixer.js";
import { PromptLog } from "./prompt_log.js";

/** @import { Session } from "../net/session.js" */
/** @import { PromptRequest } from "../types.js" */

const SHOWN = 6; // examples shown; "Surprise me" picks one of the others

export class PromptBox {
  #box = byId("prompt", HTMLTextAreaElement);
  #form = byId("prompt-form", HTMLFormElement);
  #examples = byId("examples", HTMLUListElement);
  #transition = byId("transition", HTMLSelectElement);
  #log = new PromptLog((text) => this.#fill(text), (text) => this.#highlight(text));
  #mixer = new Mixer({ send: () => this.#form.requestSubmit(), moved: (request) => this.#request(request) });
  /** @type {Session | null} */
  #session = null;
  #back = 0; // position in the history, 0 = the draft
  #draft = "";

  /** @param {(request: PromptRequest) => void} restart  called to send a prompt when no session is running */
  constructor(restart) {
    this.restart = restart;
    this.#box.value = storage.draft();
    new History((text) => this.#fill(text));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("input", () => {
      this.#back = 0;
      storage.setDraft(this.#box.value);
    });
  }

  focus() {
    this.#box.focus({ preventScroll: true });
  }

  /** What a new session starts with: the newest prompt, answered by the server or not. */
  get request() {
    const unanswered = this.#session?.pending.newest;
    return unanswered ?? parseMix(this.#log.current);
  }

  /** Fill the box from a preset or a score. @param {PromptRequest} request */
  show(request) {
    this.#fill(request.text, false);
    this.#mixer.show(request);
    this.#transition.value = String(request.transition ?? 0);
  }

  /** @param {string} text  put into the box, to be edited or sent */
  write(text) {
    this.#fill(text, false);
  }

  /** @param {string[]} examples */
  offer(examples) {
    const chip = (/** @type {string} */ label, /** @type {() => string} */ words) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => {
        this.#fill(words(), false);
        this.send();
      });
      return make("li", {}, button);
    };
    const others = examples.slice(SHOWN);
    const chips = examples.slice(0, SHOWN).map((text) => chip(text, () => text));
    if (others.length) chips.push(chip("Surprise me", () => others[Math.floor(Math.random() * others.length)]));
    this.#examples.replaceChildren(...chips);
    this.#highlight(this.#log.current);
  }

  /** @param {string} text  the prompt on screen; its example is highlighted */
  #highlight(text) {
    for (const pad of this.#examples.querySelectorAll("button")) {
      if (pad.textContent === text) pad.setAttribute("aria-current", "true");
      else pad.removeAttribute("aria-current");
    }
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#log.attach(session);
    session.on("info", (info) => (this.#box.disabled = info.role === "watch"));
  }

  send() {
    const text = this.#box.value.trim();
    if (!text) {
      this.#log.say("Write what the video should show first.");
      return this.focus();
    }
    storage.addToHistory(text);
    this.#mixer.cancel();
    this.#back = 0;
    if (document.activeElement === this.#box) this.#box.select(); // typing replaces it
    const transition = Number(this.#transition.value);
    this.#request({ ...(this.#mixer.request ?? { text }), ...(transition && { transition }) });
  }

  /** @param {PromptRequest} request */
  #request(request) {
    const session = this.#session;
    if (session?.canSteer) return session.prompt(request);
    if (session?.info?.role === "watch") return;
    if (session?.status.state === "connecting" || session?.status.state === "warming") return session.prompt(request); // sent when the session is open
    this.restart(request);
  }

  /**
   * @param {string} text
   * @param {boolean} [focus]
   */
  #fill(text, focus = true) {
    this.#back = 0;
    this.#box.value = parseMix(text).mix?.[0][0] ?? text;
    storage.setDraft(this.#box.value);
    if (focus) this.focus();
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
    const history = storage.history().reverse();
    if (this.#back === 0) this.#draft = this.#box.value;
    if (this.#back === 0 && history[0] === this.#box.value.trim()) this.#back = 1; // the box still shows the newest
    const to = Math.min(history.length, Math.max(0, this.#back + by));
    event.preventDefault();
    this.#back = to;
    this.#box.value = to === 0 ? this.#draft : history[to - 1];
    storage.setDraft(this.#box.value);
  }
}
