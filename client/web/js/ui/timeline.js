// The timeline: a strip of chunks with picture and steps, prompts above. Choosing a chunk rewinds to it.

import { Branches, stepsOf } from "./branches.js";
import { byId, make } from "../lib/dom.js";
import { GoBack } from "./go_back.js";
import { mixTitle } from "./mix.js";
import { Tile } from "./tile.js";

/** @import { Session } from "../net/session.js" */
/** @import { Chunk, Past, Shot } from "../types.js" */

const MOST = 240; // tiles kept: three minutes at 16 fps
const HUES = [172, 32, 262, 210, 340, 90];

export class Timeline {
  #scroller = byId("timeline", HTMLElement);
  #strip = byId("strip", HTMLElement);
  #branches = new Branches();
  #goBack = new GoBack();
  /** @type {Tile[]} */
  #tiles = [];
  #shots = 0;
  /** Pictures that shots begin with, by chunk, until their chunk is here. @type {Map<number, Blob | null>} */
  #pictures = new Map();
  /** @type {Session | null} */
  #session = null;
  #follow = true; // scroll to the newest tile, until the user scrolls away
  #recovering = false; // chunks made again after an engine crash are no branch

  /** @param {HTMLVideoElement} video  where the tiles' pictures come from */
  constructor(video) {
    this.video = video;
    this.#strip.addEventListener("keydown", (event) => this.#key(event));
    this.#scroller.addEventListener("scroll", () => {
      const { scrollLeft, clientWidth, scrollWidth } = this.#scroller;
      this.#follow = scrollLeft + clientWidth > scrollWidth - 80;
    });
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    this.#follow = true;
    this.#tiles = [];
    this.#shots = 0;
    this.#pictures.clear();
    this.#strip.replaceChildren();
    this.#branches.attach(session);
    session.on("chunk", (chunk) => this.#add(session, chunk));
    session.on("past", (past) => this.#restore(session, past));
    session.on("shot", (shot) => this.#begin(shot));
    session.on("info", ({ state }) => (this.#recovering ||= state === "recovering"));
  }

  /**
   * @param {Session} session
   * @param {Chunk} chunk
   */
  #add(session, chunk) {
    this.#cut(chunk.index); // after a rewind the indices start again from there
    this.#recovering = false;
    const tile = new Tile(chunk, session.info);
    tile.button.disabled = !session.canSteer;
    tile.button.addEventListener("click", () => this.#choose(session, tile));
    this.#append(tile);
    this.#trim();
    this.#rove();
    if (this.#follow) this.#scroller.scrollLeft = this.#scroller.scrollWidth;
    const whenShown = Math.max(0, chunk.lead_ms - (500 * chunk.frames) / (session.info?.fps ?? 16));
    setTimeout(() => this.#paint(tile), Math.min(whenShown, 60_000));
  }

  /** @param {Tile} tile */
  #append(tile) {
    const before = this.#tiles.at(-1);
    const picture = this.#pictures.get(tile.index);
    if (!before || mixTitle(before.prompt) !== mixTitle(tile.prompt) || picture !== undefined) this.#open(tile.prompt);
    this.#tiles.push(tile);
    this.#strip.lastElementChild?.lastElementChild?.append(tile.button);
    if (picture !== undefined) this.#illustrate(tile, picture);
  }

  /**
   * The chunks from before this page joined, in front of those that came since.
   * @param {Session} session
   * @param {Past} past
   */
  #restore(session, past) {
    const since = this.#tiles;
    const first = since[0]?.index ?? Infinity;
    const room = MOST - since.length;
    const old = past.chunks.filter(({ index }) => index < first).slice(-room).map((chunk) => {
      if (chunk.image) this.#pictures.set(chunk.index, chunk.image);
      const tile = new Tile({ ...chunk, took_ms: 0, deadline_ms: 0, lead_ms: 0, fps: 0, realtime_factor: 0 }, session.info);
      tile.dial = chunk.dial;
      tile.button.disabled = !session.canSteer;
      tile.button.addEventListener("click", () => this.#choose(session, tile));
      return tile;
    });
    this.#tiles = [];
    this.#shots = 0;
    this.#strip.replaceChildren();
    for (const tile of [...old, ...since]) this.#append(tile);
    this.#rove();
    this.#scroller.scrollLeft = this.#scroller.scrollWidth;
  }

  /**
   * Go back to this chunk. Where prompt or dial were others then, ask which should hold.
   * @param {Session} session
   * @param {Tile} tile
   */
  async #choose(session, tile) {
    const steps = stepsOf([tile]);
    const now = session.pending.newest?.text ?? session.info?.prompt ?? "";
    const dial = session.info?.dial;
    const same = (!tile.prompt || tile.prompt === now) && (!tile.dial || JSON.stringify(tile.dial) === JSON.stringify(dial));
    const answer = same ? "now" : await this.#goBack.ask(tile, now);
    if (answer && session.rewind(tile.index, answer === "then" ? steps : [])) this.#follow = true;
  }

  /**
   * A new shot in the strip: its prompt, and room for tiles.
   * @param {string} prompt
   */
  #open(prompt) {
    const label = make("p", { class: "shot-label", title: mixTitle(prompt) }, make("span", {}, mixTitle(prompt)));
    const shot = make("div", { class: "shot" }, label, make("div", { class: "tiles" }));
    shot.style.setProperty("--hue", `hsl(${HUES[this.#shots++ % HUES.length]} 48% 48%)`);
    this.#strip.append(shot);
    return shot;
  }

  /**
   * A shot began from a picture. Its chunk may be here already, and then lie in the middle of a shot: that is split.
   * @param {Shot} shot
   */
  #begin({ chunk, picture }) {
    const tile = this.#tiles.find(({ index }) => index === chunk);
    if (!tile) {
      this.#pictures.set(chunk, picture);
      return;
    }
    if (tile.button.previousElementSibling) {
      const after = this.#tiles.filter(({ index }) => index >= chunk);
      const same = after.filter(({ button }) => button.parentElement === tile.button.parentElement);
      const next = tile.button.closest(".shot")?.nextSibling ?? null;
      const shot = this.#open(tile.prompt);
      this.#strip.insertBefore(shot, next);
      shot.lastElementChild?.append(...same.map(({ button }) => button));
    }
    this.#illustrate(tile, picture);
  }

  /**
   * @param {Tile} tile
   * @param {Blob | null} picture
   */
  #illustrate(tile, picture) {
    tile.button.dataset.image = "";
    tile.describe("from a picture");
    const label = tile.button.closest(".shot")?.querySelector(".shot-label span");
    if (!picture || !label || label.querySelector("img")) return;
    const image = make("img", { alt: "From this picture:", width: "22", height: "22" });
    image.src = URL.createObjectURL(picture);
    image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
    label.prepend(image);
  }

  /** @param {Tile} tile */
  #paint(tile) {
    if (!tile.button.isConnected || document.hidden) return;
    if (!this.video.videoWidth || this.#session?.status.state !== "live") {
      setTimeout(() => this.#paint(tile), 300); // paused, say: it has not been shown yet
      return;
    }
    tile.paint(this.video);
    for (const other of this.#tiles) other.button.removeAttribute("aria-current");
    tile.button.setAttribute("aria-current", "true");
  }

  /** @param {number} from  the take goes on from this chunk: what lay after it is a branch that was left */
  #cut(from) {
    const left = this.#tiles.filter(({ index }) => index >= from);
    if (!left.length) return;
    this.#tiles = this.#tiles.filter(({ index }) => index < from);
    for (const { button } of left) button.remove();
    this.#dropEmpty();
    if (!this.#recovering) this.#branches.leave(from, left, this.#tiles.at(-1));
  }

  #trim() {
    const old = this.#tiles.splice(0, this.#tiles.length - MOST);
    if (!old.length) return;
    for (const { button } of old) button.remove();
    this.#dropEmpty();
    this.#branches.forget(this.#tiles[0].index);
  }

  #dropEmpty() {
    for (const shot of [...this.#strip.children]) if (!shot.querySelector(".tile")) shot.remove();
    for (const chunk of this.#pictures.keys()) if (chunk < (this.#tiles[0]?.index ?? 0)) this.#pictures.delete(chunk);
  }

  /** One tile is in the tab order: the focused one, or the newest. */
  #rove() {
    const focused = this.#tiles.find(({ button }) => button === document.activeElement);
    for (const { button } of this.#tiles) button.tabIndex = -1;
    const one = focused ?? this.#tiles.at(-1);
    if (one) one.button.tabIndex = 0;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const at = this.#tiles.findIndex(({ button }) => button === document.activeElement);
    if (at < 0) return;
    const last = this.#tiles.length - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#tiles[Math.min(last, Math.max(0, to))].button.focus();
    this.#rove();
  }
}
