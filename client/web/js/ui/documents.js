// Files that hold a take: a score to play again, and a preset of picture, prompt and dial.

import { Problem } from "../net/api.js";
import { openScore, readScore } from "../net/score.js";
import { byId, download, fileName } from "../lib/dom.js";
import { mixTitle } from "./mix.js";

/** @import { Dial, PromptRequest, ReplayStep, Start } from "../types.js" */

const PRESET_VERSION = 1;

/** @typedef {{prompt: PromptRequest, dial: Dial, start: Partial<Start>, picture: Blob | null}} Preset */

/**
 * @typedef {object} Actions
 * @property {(start: Partial<Start>, request: PromptRequest, steps?: ReplayStep[]) => void} start
 * @property {(dial: Dial | null, start: Partial<Start>, request: PromptRequest) => void} show  fill the controls
 * @property {() => Preset} preset  the present one
 * @property {() => string} model  the name of the server's model
 * @property {(text: string) => void} say
 */

export class Documents {
  #dialog = byId("score-dialog", HTMLDialogElement);
  #summary = byId("score-summary", HTMLElement);
  #command = byId("score-command", HTMLElement);

  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    byId("score-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
  }

  /**
   * Open a JSON file that the user gave. Throws Problem if it is neither a score nor a preset.
   * @param {Blob} file
   * @param {string} name
   */
  async open(file, name) {
    const json = await file.text().then(JSON.parse).catch(() => null);
    if (json && typeof json === "object" && "farcast_preset" in json) await this.#openPreset(json, name);
    else this.#offer(await openScore(file, name), name);
  }

  /**
   * @param {any} score
   * @param {string} name
   */
  #offer(score, name) {
    const past = readScore(score);
    if (!past) return;
    const seconds = score.chunks ? (past.chunks.at(-1)?.frame ?? 0) / score.fps : 0;
    const first = past.steps.find(({ prompt }) => prompt)?.prompt;
    const model = this.actions.model();
    const other = model && score.model !== model ? ` It was made with ${score.model}; this server has ${model}, which makes other pictures.` : "";
    this.#summary.textContent = `${score.chunks} chunks, ${seconds.toFixed(1)} s, seed ${score.seed}: ${mixTitle(first?.text ?? "")}.${other}`;
    this.#command.textContent = `farcast render ${name.replace(/[“”]/g, "")} --steps 32 -o take.mp4`;
    byId("score-play", HTMLButtonElement).onclick = () => {
      this.#dialog.close();
      this.#play(score, past);
    };
    this.#dialog.showModal();
  }

  /**
   * A new session with seed, guidance and start of the score; what came later is sent at its chunks.
   * @param {any} score
   * @param {import("../types.js").Past} past
   */
  #play(score, past) {
    const at = (/** @type {"prompt" | "dial" | "image"} */ what) => past.steps.find((step) => step.chunk === 0 && step[what])?.[what];
    const request = /** @type {PromptRequest} */ (at("prompt"));
    const dial = /** @type {Dial | null} */ (at("dial") ?? null);
    const image = /** @type {Blob | undefined} */ (at("image"));
    const start = { seed: score.seed, guidance: score.guidance };
    this.actions.show(dial, start, request);
    this.actions.start({ ...start, ...(image && { image }) }, request, past.steps.filter(({ chunk }) => chunk > 0));
  }

  /** Picture, prompt and dial as one file. */
  async savePreset() {
    const { prompt, dial, start, picture } = this.actions.preset();
    const image = picture && (await toDataUrl(picture));
    const text = JSON.stringify({ farcast_preset: PRESET_VERSION, prompt, dial, ...start, ...(image && { picture: image }) }, null, 2);
    const name = fileName("json", "-preset");
    download(new Blob([text], { type: "application/json" }), name);
    this.actions.say(`Saved ${name}. Drop it on the page to start from it.`);
  }

  /**
   * @param {any} preset
   * @param {string} name
   */
  async #openPreset(preset, name) {
    if (!(preset.farcast_preset <= PRESET_VERSION)) throw new Problem(`${name} is a preset of version ${preset.farcast_preset}; this Farcast reads up to ${PRESET_VERSION}. Update it.`, { code: "media" });
    if (typeof preset.prompt?.text !== "string") throw new Problem(`${name} is a preset without a prompt. Was it edited by hand?`, { code: "media" });
    const image = typeof preset.picture === "string" && preset.picture.startsWith("data:image/") ? fromDataUrl(preset.picture) : null;
    const start = { ...(preset.seed !== undefined && { seed: preset.seed }), ...(preset.guidance !== undefined && { guidance: preset.guidance }) };
    this.actions.show(preset.dial ?? null, start, preset.prompt);
    this.actions.start(image ? { image } : {}, preset.prompt);
  }
}

/**
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
function toDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Problem("The picture cannot be read any more. Give it again.", { code: "media" }));
    reader.readAsDataURL(blob);
  });
}

/** @param {string} url  data:image/png;base64,... */
function fromDataUrl(url) {
  const [head, data] = url.split(",", 2);
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}
