// Pictures and clips: dropped, pasted, chosen or from the camera. Checked here before they are sent.

import { Problem } from "../net/api.js";
import { byId } from "../lib/dom.js";
import { fit, isJson, playable } from "./uploads.js";

/** @import { Session } from "../net/session.js" */

const SAID_MS = 10_000;
const MOST_BYTES = 20 * 2 ** 20;

export class ImageDrop {
  #file = byId("file", HTMLInputElement);
  #error = byId("image-error", HTMLElement);
  #why = byId("image-why", HTMLElement);
  #again = byId("image-again", HTMLButtonElement);
  #given = byId("given", HTMLElement);
  #thumb = byId("given-thumb", HTMLImageElement);
  #text = byId("given-text", HTMLElement);
  /** @type {Session | null} */
  #session = null;
  #waiting = ""; // message id of the picture that the server has not applied yet
  #sending = false; // image_applied may arrive before the answer to the upload
  /** The file whose upload failed because the connection was lost. @type {Blob | null} */
  #unsent = null;

  /** The last picture that was sent. @type {Blob | null} */
  picture = null;
  #strength = byId("strength", HTMLInputElement);

  /** @param {{startFrom: (what: {image?: Blob, clip?: Blob}) => void, openFile: (file: Blob, name: string) => Promise<void>}} actions  start a new session from this; open a JSON file */
  constructor({ startFrom, openFile }) {
    this.startFrom = startFrom;
    this.openFile = openFile;
    this.#file.addEventListener("change", () => {
      const [file] = this.#file.files ?? [];
      this.#file.value = "";
      if (file) this.take(file);
    });
    this.#again.addEventListener("click", () => this.#unsent && this.take(this.#unsent));
    this.#listenDrop();
    addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])][0];
      if (!file) return;
      event.preventDefault();
      this.take(file);
    });
  }

  #listenDrop() {
    let depth = 0;
    const files = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
    const mark = (/** @type {number} */ value) => {
      depth = Math.max(0, value);
      document.body.toggleAttribute("data-dragging", depth > 0 && document.body.dataset.role !== "watch");
    };
    addEventListener("dragenter", (event) => files(event) && mark(depth + 1));
    addEventListener("dragleave", (event) => files(event) && mark(depth - 1));
    addEventListener("dragover", (event) => files(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      mark(0);
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      event.preventDefault();
      this.take(file);
    });
  }

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    session.on("message", (message) => {
      const mine = message.re === this.#waiting || this.#sending;
      if (message.type === "image_applied" && mine) {
        this.#waiting = "";
        this.#text.textContent = "The shot goes on from this picture.";
        setTimeout(() => (this.#given.hidden = this.#given.hidden || !this.#waiting), SAID_MS); // the timeline shows it from then on
      }
      if (message.type === "error" && message.re && message.re === this.#waiting) this.#refuse(message.message);
    });
  }

  /** Shown only if the model takes it. @param {boolean} offered */
  offerStrength(offered) {
    byId("strength-field", HTMLElement).hidden = !offered;
  }

  /** 0..1, or undefined if the model takes none. */
  get strength() {
    return byId("strength-field", HTMLElement).hidden ? undefined : Number(this.#strength.value) / 100;
  }

  /** @param {Blob} file */
  async take(file) {
    if (this.#session?.info?.role === "watch") return; // a viewer cannot change the session
    this.#error.hidden = true;
    this.#unsent = null;
    const name = file instanceof File && file.name ? `“${file.name}”` : "This";
    try {
      if (isJson(file, name)) return await this.openFile(file, name);
      if (file.size > MOST_BYTES) throw new Problem(`${name} is larger than 20 MB. Give a smaller one.`, { code: "media" });
      if (file.type.startsWith("video/")) return await this.#clip(file);
      if (!file.type.startsWith("image/")) throw new Problem(`${name} is not a picture. Give a PNG, JPEG or WebP, a short clip, a score or a preset.`, { code: "media" });
      await this.#send(await fit(file, name));
    } catch (error) {
      this.#refuse(error instanceof Error ? error.message : String(error));
      const broken = error instanceof Problem && error.status === 0 && error.code === "network";
      if (broken && this.#preview(file, "Not sent. It is kept here.")) this.#unsent = file;
      this.#again.hidden = !this.#unsent;
    }
  }

  /** @param {Blob} picture */
  async #send(picture) {
    this.#preview(picture, "Sent; the shot changes at the next chunk.");
    this.picture = picture;
    if (!this.#session?.canSteer) return this.startFrom({ image: picture });
    this.#sending = true;
    try {
      const { re } = (await this.#session.image(picture, this.strength)) ?? {};
      if (!this.#text.textContent?.startsWith("The shot goes on")) this.#waiting = re ?? "";
    } finally {
      this.#sending = false;
    }
  }

  /** @param {Blob} clip */
  async #clip(clip) {
    await playable(clip); // the running session is ended only for a clip that can be read
    this.#given.hidden = true;
    this.startFrom({ clip });
  }

  /**
   * @param {Blob} picture
   * @param {string} text
   */
  #preview(picture, text) {
    URL.revokeObjectURL(this.#thumb.src);
    this.#thumb.src = URL.createObjectURL(picture);
    this.#text.textContent = text;
    this.#given.hidden = false;
    return true;
  }

  /** @param {string} text */
  #refuse(text) {
    this.#waiting = "";
    this.#given.hidden = true;
    this.#why.textContent = text;
    this.#again.hidden = true;
    this.#error.hidden = false;
  }
}
