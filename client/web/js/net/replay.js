// Sends prompts, dial moves and pictures again, each at the chunk where it first took effect. Used to return to a branch and to play a score.

/** @import { Dial, PromptRequest, ReplayStep } from "../types.js" */

export class Replay {
  /** @type {ReplayStep[]} in order of their chunks */
  #steps;

  /**
   * @param {ReplayStep[]} steps
   * @param {{prompt: (request: PromptRequest) => void, dial: (dial: Partial<Dial>) => void, image: (image: Blob) => void}} send
   */
  constructor(steps, send) {
    this.#steps = [...steps].sort((a, b) => a.chunk - b.chunk);
    this.send = send;
  }

  /**
   * Send what belongs to this chunk. Of several prompts (or dials) that are due only the last one is sent.
   * @param {number} chunk  the next chunk to be made
   */
  reached(chunk) {
    const count = this.#steps.findIndex((step) => step.chunk > chunk);
    const due = this.#steps.splice(0, count < 0 ? this.#steps.length : count);
    const dial = due.filter((step) => step.dial).at(-1)?.dial;
    const prompt = due.filter((step) => step.prompt).at(-1)?.prompt;
    if (dial) this.send.dial(dial);
    if (prompt) this.send.prompt(prompt);
    const image = due.filter((step) => step.image).at(-1)?.image;
    if (image) this.send.image(image);
  }
}
