// Pictures and clips, however they come: dropped, pasted, chosen, or from the camera. Looked at here before they are sent.

import { Problem } from "./api.js";
import { byId } from "./dom.js";

/** @import { Session } from "./session.js" */

const MOST_BYTES = 20 * 2 ** 20;
const MOST_SIDE = 1600; // larger pictures are made smaller here: the model works far below this

export class ImageDrop {
  #file = byId("file", HTMLInputElement);
  #error = byId("image-error", HTMLElement);
  #given = byId("given", HTMLElement);
  #thumb = byId("given-thumb", HTMLImageElement);
  #text = byId("given-text", HTMLElement);
  /** @type {Session | null} */
  #session = null;
  #waiting = ""; // id of the picture the server has not applied yet

  /** @param {{startFrom: (what: {image?: Blob, clip?: Blob}) => void}} actions  begin a new take from this */
  constructor({ startFrom }) {
    this.startFrom = startFrom;
    this.#file.addEventListener("change", () => {
      const [file] = this.#file.files ?? [];
      this.#file.value = "";
      if (file) this.take(file);
    });
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
      document.body.toggleAttribute("data-dragging", depth > 0);
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
      if (message.type === "image_applied" && (!this.#waiting || message.re === this.#waiting)) {
        this.#waiting = "";
        this.#text.textContent = "The shot goes on from this picture.";
      }
      if (message.type === "error" && message.re && message.re === this.#waiting) this.#refuse(message.message);
    });
  }

  /** @param {Blob} file */
  async take(file) {
    this.#error.hidden = true;
    const name = file instanceof File && file.name ? `“${file.name}”` : "This";
    try {
      if (file.size > MOST_BYTES) throw new Problem(`${name} is larger than 20 MB. Give a smaller one.`);
      if (file.type.startsWith("video/")) return await this.#clip(file);
      if (!file.type.startsWith("image/")) throw new Problem(`${name} is not a picture. Give a PNG, JPEG or WebP.`);
      const picture = await fit(file, name);
      this.#preview(picture, "Sent; the shot changes at the next chunk.");
      if (!this.#session?.canSteer) return this.startFrom({ image: picture });
      const { re } = (await this.#session.image(picture)) ?? {};
      this.#waiting = re ?? "";
    } catch (error) {
      this.#refuse(error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {Blob} clip */
  async #clip(clip) {
    await playable(clip); // the running take is only given up for a clip that can be read
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
  }

  /** @param {string} text */
  #refuse(text) {
    this.#waiting = "";
    this.#given.hidden = true;
    this.#error.textContent = text;
    this.#error.hidden = false;
  }
}

/**
 * The picture, no larger than worth sending; a Problem if the browser cannot read it.
 * @param {Blob} file
 * @param {string} name
 * @returns {Promise<Blob>}
 */
async function fit(file, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Problem(`${name} cannot be read as a picture; the file may be damaged. Give a PNG, JPEG or WebP.`);
  }
  const scale = MOST_SIDE / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) {
    bitmap.close();
    return file;
  }
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale) || 1, Math.round(bitmap.height * scale) || 1);
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/png" });
}

/**
 * A Problem unless the browser can read this as a video with a picture.
 * @param {Blob} clip
 * @returns {Promise<void>}
 */
async function playable(clip) {
  const video = document.createElement("video");
  const url = URL.createObjectURL(clip);
  try {
    await new Promise((resolve, reject) => {
      video.onloadeddata = () => (video.videoWidth ? resolve(null) : reject());
      video.onerror = reject;
      setTimeout(reject, 8000);
      video.muted = true;
      video.preload = "auto";
      video.src = url;
    });
  } catch {
    throw new Problem("This clip cannot be read as a video. Give a short MP4 or WebM.");
  } finally {
    video.removeAttribute("src");
    URL.revokeObjectURL(url);
  }
}
