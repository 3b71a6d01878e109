// Branches: the chunks that a rewind dropped, as rows under the strip at the chunk they start from.

import { byId, make } from "../lib/dom.js";
import { mixTitle, parseMix } from "./mix.js";

/** @import { Session } from "../net/session.js" */
/** @import { ReplayStep } from "../types.js" */
/** @import { Tile } from "./tile.js" */

const MOST = 4;
const PICTURES = 12;

/** @typedef {{from: number, row: HTMLElement, anchor: HTMLElement | undefined}} Branch */

/**
 * The prompts and dial moves of these tiles, each at its chunk; the first tile has both.
 * @param {Tile[]} tiles
 * @returns {ReplayStep[]}
 */
export function stepsOf(tiles) {
  return tiles.flatMap(({ index, prompt, dial }, i) => {
    const before = tiles[i - 1];
    /** @type {ReplayStep} */
    const step = { chunk: index };
    if (prompt && prompt !== before?.prompt) step.prompt = parseMix(prompt);
    if (dial && JSON.stringify(dial) !== JSON.stringify(before?.dial)) step.dial = dial;
    return step.prompt || step.dial ? [step] : [];
  });
}

export class Branches {
  #area = byId("branches", HTMLElement);
  /** @type {Branch[]} */
  #branches = [];
  /** @type {Session | null} */
  #session = null;

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#branches = [];
    this.#area.replaceChildren();
  }

  /**
   * @param {number} from  the chunk the take goes on from
   * @param {Tile[]} tiles  what was left
   * @param {Tile} [before]  the newest that stays
   */
  leave(from, tiles, before) {
    this.#drop(({ from: fork }) => fork > from); // their fork went with what was left now
    const pictures = tiles.flatMap(({ picture }) => picture ?? []).slice(0, PICTURES);
    if (!pictures.length) return; // made, but nobody saw it
    const last = tiles.at(-1)?.prompt ?? "";
    const steps = stepsOf(tiles);
    const count = `${tiles.length} ${tiles.length === 1 ? "chunk" : "chunks"}`;
    const words = make("span", { class: "branch-words" }, make("span", {}, mixTitle(last)), make("small", {}, `${count}: return`));
    const button = make("button", { type: "button", class: "branch" }, ...pictures, words);
    const label = `Branch left at chunk ${from}, ${count}, ${mixTitle(last)}: return to it, with its prompts and dial`;
    button.setAttribute("aria-label", label);
    button.title = label;
    button.disabled = !this.#session?.canSteer;
    const branch = { from, row: button, anchor: before?.button };
    button.addEventListener("click", () => {
      if (this.#session?.rewind(from, steps)) this.#drop((other) => other === branch);
    });
    this.#branches.unshift(branch);
    this.#area.prepend(button);
    for (const old of this.#branches.splice(MOST)) old.row.remove();
    this.#place();
  }

  /** Each hangs from the tile before its fork. */
  #place() {
    for (const { row, anchor } of this.#branches) {
      const x = anchor?.isConnected ? anchor.offsetLeft + anchor.offsetWidth / 2 : 0;
      row.style.setProperty("--fork", `${x}px`);
    }
  }

  /** @param {number} first  the oldest chunk still in the strip: branches from before have lost their fork */
  forget(first) {
    this.#drop(({ from }) => from < first);
    this.#place();
  }

  /** @param {(branch: Branch) => boolean} which */
  #drop(which) {
    for (const { row } of this.#branches.filter(which)) row.remove();
    this.#branches = this.#branches.filter((branch) => !which(branch));
  }
}
