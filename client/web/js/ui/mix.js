// A mix of prompts in words, as the server writes it ("0.70 a red star + 0.30 a blue heart"), and back. Pure.

/** @import { Wish } from "../types.js" */

const JOINT = / \+ (?=\d(?:\.\d+)? )/;
const PART = /^(\d(?:\.\d+)?) (.+)$/s;

/** @param {[string, number][]} mix */
export function describe(mix) {
  const sum = mix.reduce((total, [, weight]) => total + weight, 0) || 1;
  return mix.map(([text, weight]) => `${(weight / sum).toFixed(2)} ${text}`).join(" + ");
}

/**
 * The wish behind words that are or were on screen.
 * @param {string} text
 * @returns {Wish}
 */
export function wishOf(text) {
  const parts = text.split(JOINT).map((part) => PART.exec(part));
  if (parts.length < 2 || parts.some((part) => !part)) return { text };
  return { text, mix: parts.map((part) => [part?.[2] ?? "", Number(part?.[1])]) };
}

/**
 * What stays the same while the weights of a mix move: its prompts.
 * @param {string} text
 */
export const nameOf = (text) => wishOf(text).mix?.map(([words]) => words).join(" ⇄ ") ?? text;
