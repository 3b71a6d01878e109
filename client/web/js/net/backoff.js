// Exponential backoff with jitter, so that the pages of many users do not reconnect at the same moment after a restart.

export class Backoff {
  #tries = 0;

  /**
   * @param {number} first  milliseconds before the second try
   * @param {number} most   upper bound in milliseconds
   * @param {() => number} random
   */
  constructor(first = 250, most = 8000, random = Math.random) {
    this.first = first;
    this.most = most;
    this.random = random;
  }

  /** Milliseconds to wait before the next try. */
  next() {
    const full = Math.min(this.most, this.first * 2 ** this.#tries++);
    return full * (0.5 + 0.5 * this.random());
  }

  reset() {
    this.#tries = 0;
  }

  get tries() {
    return this.#tries;
  }
}
