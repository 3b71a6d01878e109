// The prompt box: Enter sends, arrow up goes back, examples to play with, two prompts mixed by a slider.

import { byId, make } from "../lib/dom.js";
import { History } from "./history.js";
import { memory } from "../lib/storage.js";
import { wishOf } from "./mix.js";
import { Mixer } from "./mixer.js";
import { PromptLog } from "./prompt_log.js";

/** @import { Session } from "../net/session.js" */
/** @import { Wish } from "../types.js" */

const SHOWN = 6; // examples; the others come up by surprise

export class PromptBox {
  #box = byId("prompt", HTMLTextAreaElement);
  #form = byId("prompt-form", HTMLFormElement);
  #examples = byId("examples", HTMLUListElement);
  #transition = byId("transition", HTMLSelectElement);
  #log = new PromptLog((text) => this.#fill(text), (text) => this.#light(text));
  #mixer = new Mixer({ send: () => this.#form.requestSubmit(), moved: (wish) => this.#say(wish) });
  /** @type {Session | null} */
  #session = null;
  #back = 0; // how far back in the history the box stands
  #draft = "";

  /** @param {(wish: Wish) => void} restart  called to send a prompt when no take is running */
  constructor(restart) {
    this.restart = restart;
    this.#box.value = memory.draft();
    new History((text) => this.#fill(text));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("input", () => {
      this.#back = 0;
      memory.keepDraft(this.#box.value);
    });
  }

  focus() {
    this.#box.focus({ preventScroll: true });
  }

  /** What a new take should go on with: the newest wish, heard by the server or not. */
  get wish() {
    const unheard = this.#session?.wishes.newest;
    return unheard ?? wishOf(this.#log.current);
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
    this.#light(this.#log.current);
  }

  /** @param {string} text  what is on screen: the example that says so is lit */
  #light(text) {
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
    memory.remember(text);
    this.#mixer.settle();
    this.#back = 0;
    if (document.activeElement === this.#box) this.#box.select(); // typing replaces it, arrows edit it
    const transition = Number(this.#transition.value);
    this.#say({ ...(this.#mixer.wish ?? { text }), ...(transition && { transition }) });
  }

  /** @param {Wish} wish */
  #say(wish) {
    const session = this.#session;
    if (session?.canSteer) return session.prompt(wish);
    if (session?.info?.role === "watch") return;
    if (session?.status.state === "connecting" || session?.status.state === "warming") return session.prompt(wish); // said when it is there
    this.restart(wish);
  }

  /**
   * @param {string} text
   * @param {boolean} [focus]
   */
  #fill(text, focus = true) {
    this.#back = 0;
    this.#box.value = wishOf(text).mix?.[0][0] ?? text;
    memory.keepDraft(this.#box.value);
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
    const history = memory.history().reverse();
    if (this.#back === 0) this.#draft = this.#box.value;
    if (this.#back === 0 && history[0] === this.#box.value.trim()) this.#back = 1; // the box still holds the newest
    const to = Math.min(history.length, Math.max(0, this.#back + by));
    event.preventDefault();
    this.#back = to;
    this.#box.value = to === 0 ? this.#draft : history[to - 1];
    memory.keepDraft(this.#box.value);
  }
}
