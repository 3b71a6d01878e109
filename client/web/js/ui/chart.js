// One chart: title, present value, the values of the last minute, and one sentence of explanation.

import { make } from "../lib/dom.js";

const POINTS = 80;

export class Chart {
  /** @type {number[]} */
  #values = [];
  /** @type {number[]} */
  #limits = [];
  #canvas = make("canvas", { role: "img" });
  #now = make("output", {}, "–");
  #dirty = false;

  /**
   * @param {{title: string, meaning: string, say: (value: number) => string, against?: (value: number, limit: number) => string, bars?: boolean, least?: number}} about
   *   against: text that compares a value with its limit; least: the smallest range of the vertical scale
   */
  constructor(about) {
    this.about = about;
    this.#canvas.addEventListener("pointermove", ({ offsetX }) => this.#point(offsetX));
    this.#canvas.addEventListener("pointerleave", () => this.#read(this.#values.length - 1));
    this.element = make(
      "figure",
      { class: "chart" },
      make("figcaption", {}, make("span", {}, about.title), this.#now),
      this.#canvas,
      make("p", { class: "help" }, about.meaning),
    );
  }

  /**
   * @param {number} value
   * @param {number} [limit]  drawn as a dashed line
   */
  push(value, limit) {
    if (!Number.isFinite(value)) return;
    this.#values.push(value);
    this.#limits.push(limit ?? NaN);
    this.#values.splice(0, this.#values.length - POINTS);
    this.#limits.splice(0, this.#limits.length - POINTS);
    this.#read(this.#values.length - 1);
    this.#dirty = true;
  }

  /**
   * Show one value as text: the newest, or the one under the pointer.
   * @param {number} i
   */
  #read(i) {
    const value = this.#values[i];
    if (value === undefined) return;
    const limit = this.#limits[i];
    const beside = Number.isFinite(limit) ? this.about.against?.(value, limit) : "";
    this.#now.replaceChildren(...(beside ? [make("small", {}, beside), " "] : []), this.about.say(value));
  }

  /** @param {number} x  position of the pointer in pixels */
  #point(x) {
    const fromRight = ((this.#canvas.clientWidth - 5 - x) * (POINTS - 1)) / (this.#canvas.clientWidth - 6);
    this.#read(Math.max(0, Math.min(this.#values.length - 1, Math.round(this.#values.length - 1 - fromRight))));
  }

  clear() {
    this.#values = [];
    this.#limits = [];
    this.#now.textContent = "–";
    this.#dirty = true;
  }

  /** Draw if there are new values; called once a second while the panel is open. */
  draw(force = false) {
    if (!this.#dirty && !force) return;
    this.#dirty = false;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const brush = this.#canvas.getContext("2d");
    if (!brush || !width) return;
    const ratio = devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * ratio)) this.#canvas.width = Math.round(width * ratio);
    if (this.#canvas.height !== Math.round(height * ratio)) this.#canvas.height = Math.round(height * ratio);
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, width, height);
    const style = getComputedStyle(this.#canvas);
    const limits = this.#limits.filter(Number.isFinite);
    const top = 1.12 * Math.max(this.about.least ?? 1, ...this.#values, ...limits);
    const x = (/** @type {number} */ i) => 1 + ((width - 6) * (i + POINTS - this.#values.length)) / (POINTS - 1);
    const y = (/** @type {number} */ value) => height - 1 - ((height - 4) * Math.max(0, value)) / top;
    this.#baseline(brush, style, width, height);
    if (this.about.bars) this.#bars(brush, style, x, y, height);
    else this.#line(brush, style, x, y, height);
    this.#limit(brush, style, x, y);
    this.#scale(brush, style, top / 1.12, y);
    const last = this.#values.at(-1);
    const said = last === undefined ? "nothing yet" : `now ${this.about.say(last)}`;
    this.#canvas.setAttribute("aria-label", `${this.about.title}: ${said}`);
  }

  /**
   * The largest value as a label of the scale.
   * @param {CanvasRenderingContext2D} brush
   * @param {CSSStyleDeclaration} style
   * @param {number} most
   * @param {(value: number) => number} y
   */
  #scale(brush, style, most, y) {
    if (!this.#values.length) return;
    brush.fillStyle = style.getPropertyValue("--soft");
    brush.font = `10.5px ${style.fontFamily}`;
    brush.fillText(this.about.say(most), 0, Math.max(9, y(most) + 4));
  }

  /**
   * @param {CanvasRenderingContext2D} brush
   * @param {CSSStyleDeclaration} style
   * @param {number} width
   * @param {number} height
   */
  #baseline(brush, style, width, height) {
    brush.fillStyle = style.getPropertyValue("--line");
    brush.fillRect(0, height - 1, width, 1);
  }

  /**
   * @param {CanvasRenderingContext2D} brush
   * @param {CSSStyleDeclaration} style
   * @param {(i: number) => number} x
   * @param {(value: number) => number} y
   * @param {number} height
   */
  #bars(brush, style, x, y, height) {
    brush.fillStyle = style.getPropertyValue("--accent");
    const wide = Math.max(1.5, x(1) - x(0) - 1);
    this.#values.forEach((value, i) => brush.fillRect(x(i) - wide / 2, y(value), wide, height - 1 - y(value)));
  }

  /**
   * @param {CanvasRenderingContext2D} brush
   * @param {CSSStyleDeclaration} style
   * @param {(i: number) => number} x
   * @param {(value: number) => number} y
   * @param {number} height
   */
  #line(brush, style, x, y, height) {
    if (!this.#values.length) return;
    const accent = style.getPropertyValue("--accent");
    const path = new Path2D();
    this.#values.forEach((value, i) => path.lineTo(x(i), y(value)));
    const area = new Path2D(path);
    area.lineTo(x(this.#values.length - 1), height - 1);
    area.lineTo(x(0), height - 1);
    brush.globalAlpha = 0.14;
    brush.fillStyle = accent;
    brush.fill(area);
    brush.globalAlpha = 1;
    brush.strokeStyle = accent;
    brush.lineWidth = 1.6;
    brush.lineJoin = "round";
    brush.stroke(path);
    brush.beginPath();
    brush.arc(x(this.#values.length - 1), y(this.#values[this.#values.length - 1]), 2.6, 0, 7);
    brush.fillStyle = accent;
    brush.fill();
  }

  /**
   * @param {CanvasRenderingContext2D} brush
   * @param {CSSStyleDeclaration} style
   * @param {(i: number) => number} x
   * @param {(value: number) => number} y
   */
  #limit(brush, style, x, y) {
    brush.strokeStyle = style.getPropertyValue("--ember");
    brush.lineWidth = 1.4;
    brush.setLineDash([4, 3]);
    brush.beginPath();
    this.#limits.forEach((limit, i) => Number.isFinite(limit) && brush.lineTo(x(i), y(limit)));
    brush.stroke();
    brush.setLineDash([]);
  }
}
