// A mix of prompts as text, as the server writes it ("0.70 a red star + 0.30 a blue heart"), and back.

/** @import { PromptRequest } from "../types.js" */

const JOINT = / \+ (?=\d(?:\.\d+)? )/;
const PART = /^(\d(?:\.\d+)?) (.+)$/s;

/** @param {[string, number][]} mix */
export function describe(mix) {
  const sum = mix.reduce((total, [, weight]) => total + weight, 0) || 1;
  return mix.map(([text, weight]) => `${(weight / sum).toFixed(2)} ${text}`).join(" + ");
}

/**
 * The prompt or mix that this text stands for.
 * @param {string} text
 * @returns {PromptRequest}
 */
export function parseMix(text) {
  const parts = text.split(JOINT).map((part) => PART.exec(part));
  if (parts.length < 2 || parts.some((part) => !part)) return { text };
  return { text, mix: parts.map((part) => [part?.[2] ?? "", Number(part?.[1])]) };
}

/**
 * The prompts of a mix without their weights; equal while only the weights change.
 * @param {string} text
 */
export const mixTitle = (text) => parseMix(text).mix?.map(([words]) => words).join(" ⇄ ") ?? text;
