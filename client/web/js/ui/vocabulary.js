// The words that the model knows: choose them to build a prompt, and read which words of a prompt mean nothing to it.
// Models of free text name no words, and all of this stays hidden.

import { byId, make } from "../lib/dom.js";

/** @import { Session } from "../net/session.js" */
/** @import { ModelCard } from "../types.js" */

/**
 * The sentence with a word for each kind.
 * @param {string} caption  such as "a {size} {colour} {shape}"
 * @param {Record<string, string>} words  by kind
 */
export const sentence = (caption, words) => caption.replace(/{(\w+)}/g, (_, kind) => words[kind] ?? "");

/** @param {string[] | null | undefined} unknown */
export const remark = (unknown) =>
  unknown?.length ? `This model does not know ${unknown.map((word) => `“${word}”`).join(", ")}.` : "";

export class VocabularyView {
  #unknown = byId("unknown", HTMLElement);
  #words = byId("words", HTMLDetailsElement);
  #kinds = byId("word-kinds", HTMLElement);

  /** @param {(text: string) => void} fill  called with the sentence that was built */
  constructor(fill) {
    this.fill = fill;
  }

  /** @param {ModelCard} card */
  offer({ vocabulary }) {
    this.#words.hidden = !vocabulary;
    if (!vocabulary) return;
    const selects = Object.entries(vocabulary.words).map(([kind, words]) => {
      const select = make("select", { id: `word-${kind}` }, ...words.map((word) => make("option", {}, word)));
      select.addEventListener("change", () => {
        const chosen = Object.fromEntries(selects.map(({ kind, select }) => [kind, select.value]));
        this.fill(sentence(vocabulary.caption, chosen));
      });
      return { kind, select };
    });
    this.#kinds.replaceChildren(
      ...selects.map(({ kind, select }) => make("div", { class: "field" }, make("label", { for: select.id }, kind), select)),
    );
  }

  /** @param {Session} session */
  attach(session) {
    this.#say(null);
    session.on("message", (message) => {
      if (message.type === "prompt_pending") this.#say(message.unknown);
    });
  }

  /** @param {string[] | null | undefined} unknown */
  #say(unknown) {
    this.#unknown.textContent = remark(unknown);
    this.#unknown.hidden = !unknown?.length;
  }
}
