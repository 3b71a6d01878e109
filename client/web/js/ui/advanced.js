// The advanced fields: bounds on the steps, a fixed budget, seed and guidance. A value that cannot be used is named and not sent.

import { byId } from "../lib/dom.js";

/** @import { Dial, Start } from "../types.js" */

const field = (/** @type {string} */ id) => byId(id, HTMLInputElement);

export class Advanced {
  #floor = field("floor");
  #ceiling = field("ceiling");
  #fixed = field("fixed");
  #seed = field("seed");
  #guidance = field("guidance");
  #error = byId("advanced-error", HTMLElement);

  /** @param {() => void} moved  a bound was changed to a value that can be used */
  constructor(moved) {
    for (const one of this.#all) one.addEventListener("input", () => this.check());
    for (const one of [this.#floor, this.#ceiling, this.#fixed]) one.addEventListener("change", () => this.check() || moved());
  }

  get #all() {
    return [this.#floor, this.#ceiling, this.#fixed, this.#seed, this.#guidance];
  }

  /**
   * @param {number} most  the model's largest number of steps
   * @param {number | null} [ceiling]  beyond which more steps are no better; offered unless a ceiling was chosen
   */
  limit(most, ceiling) {
    for (const one of [this.#floor, this.#ceiling, this.#fixed]) one.max = String(most);
    if (ceiling && this.#ceiling.value === this.#ceiling.defaultValue) this.#ceiling.value = String(ceiling);
    this.check();
  }

  /** What is wrong with the fields, shown beside them; empty if nothing is. */
  check() {
    const wrong = this.#all.map((one) => [one, problemOf(one)]).find(([, text]) => text);
    const crossed = !wrong && Number(this.#floor.value || 1) > Number(this.#ceiling.value || this.#ceiling.max);
    const text = wrong ? String(wrong[1]) : crossed ? `Fewest steps (${this.#floor.value}) is above most steps (${this.#ceiling.value}).` : "";
    for (const one of this.#all) one.toggleAttribute("aria-invalid", false);
    if (wrong) /** @type {HTMLInputElement} */ (wrong[0]).setAttribute("aria-invalid", "true");
    if (crossed) for (const one of [this.#floor, this.#ceiling]) one.setAttribute("aria-invalid", "true");
    this.#error.textContent = text && `${text} Not applied.`;
    this.#error.hidden = !text;
    return text;
  }

  /** Open the fields and go to the one that is wrong. */
  reveal() {
    byId("advanced", HTMLDetailsElement).open = true;
    this.#all.find((one) => one.getAttribute("aria-invalid") === "true")?.focus();
  }

  /** The bounds on the steps; call it only if `check` finds nothing. @returns {Omit<Dial, "latency_ms">} */
  get bounds() {
    const number = (/** @type {HTMLInputElement} */ { value, max }, /** @type {number} */ otherwise) => Number(value) || Math.min(otherwise, Number(max));
    return { floor: number(this.#floor, 1), ceiling: number(this.#ceiling, 32), steps: this.#fixed.value ? Number(this.#fixed.value) : null };
  }

  /** @param {Dial} dial */
  show({ floor, ceiling, steps }) {
    this.#floor.value = String(floor);
    this.#ceiling.value = String(ceiling);
    this.#fixed.value = steps === null || steps === undefined ? "" : String(steps);
    this.check();
  }

  /** Seed and guidance, if set. @returns {Partial<Start>} */
  get start() {
    const [seed, guidance] = [this.#seed.value, this.#guidance.value];
    return { ...(seed && { seed: Number(seed) }), ...(guidance && { guidance: Number(guidance) }) };
  }

  /** @param {Partial<Start>} start  of a preset or a score */
  showStart({ seed, guidance }) {
    this.#seed.value = seed === undefined ? "" : String(seed);
    this.#guidance.value = guidance === undefined || guidance === 1 ? "" : String(guidance);
    this.check();
  }
}

/** @param {HTMLInputElement} input */
function problemOf({ validity, labels, min, max, step }) {
  if (validity.valid) return "";
  const name = labels?.[0]?.textContent ?? "";
  const kind = step && step !== "1" ? `a multiple of ${step}` : "a whole number";
  return `${name} must be ${kind} from ${min} to ${max}.`;
}
