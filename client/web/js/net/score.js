// Reads a score (docs/score.md): the chunks of a take with their steps, and its prompts and dial moves by chunk.

import { Problem } from "./api.js";

/** @import { Past, PastChunk, PromptRequest, ReplayStep } from "../types.js" */

const VERSION = 1;

/**
 * What a score says, or null if it has no entries.
 * @param {any} score
 * @param {number} [chunkFrames]  frames of every chunk but the first, which has one
 * @returns {Past | null}
 */
export function readScore(score, chunkFrames = 12) {
  if (score?.score !== VERSION || !Array.isArray(score.entries)) return null;
  /** @type {PastChunk[]} */
  const chunks = [];
  /** @type {ReplayStep[]} */
  const steps = [];
  /** @type {{prompt?: PromptRequest, dial?: any, sigmas?: number}} */
  const now = {};
  let next = 0;
  for (let index = 0; index < score.chunks; index++) {
    let image = null;
    for (; score.entries[next]?.chunk === index; next++) {
      const entry = score.entries[next];
      if (entry.prompt) now.prompt = { text: entry.prompt, ...(entry.mix && { mix: entry.mix }), ...(entry.transition && { transition: entry.transition }) };
      if (entry.dial) now.dial = entry.dial;
      if (entry.sigmas) now.sigmas = entry.sigmas.length - 1;
      if (entry.image) image = fromBase64(entry.image);
      if (entry.prompt) steps.push({ chunk: index, prompt: now.prompt });
      if (entry.dial) steps.push({ chunk: index, dial: entry.dial });
      if (entry.image && image) steps.push({ chunk: index, image });
    }
    const frame = index ? 1 + (index - 1) * chunkFrames : 0;
    chunks.push({ index, frame, frames: index ? chunkFrames : 1, steps: now.sigmas ?? 0, prompt: now.prompt?.text ?? "", dial: now.dial ?? null, image });
  }
  return { chunks, steps };
}

/** @param {string} png  PNG in base64 */
const fromBase64 = (png) => new Blob([Uint8Array.from(atob(png), (char) => char.charCodeAt(0))], { type: "image/png" });

/**
 * A score file that this page can play. Throws Problem for anything else.
 * @param {Blob} file
 * @param {string} name  how messages call the file
 * @returns {Promise<any>}
 */
export async function openScore(file, name) {
  const refuse = (/** @type {string} */ why) => new Problem(why, { code: "media" });
  /** @type {any} */
  const score = await file.text().then(JSON.parse).catch(() => null);
  if (!score || typeof score !== "object" || !("score" in score)) throw refuse(`${name} is JSON, but no score. The page takes pictures, short clips, scores and presets.`);
  if (score.score > VERSION) throw refuse(`${name} is a score of version ${score.score}; this Farcast reads up to ${VERSION}. Update it.`);
  if (!readScore(score)?.steps.some(({ prompt }) => prompt)) throw refuse(`${name} is a score without a prompt. Was it edited by hand?`);
  return score;
}
