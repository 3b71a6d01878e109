// A picture from the webcam: a dialog with a preview. Nothing is sent before the button is pressed.

import { byId } from "../lib/dom.js";

/** @type {Record<string, string>} */
const WHY = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it for this page and try again.",
  NotFoundError: "No camera was found on this device.",
  NotReadableError: "The camera is in use by another program.",
};

export class Camera {
  #dialog = byId("camera-dialog", HTMLDialogElement);
  #video = byId("camera-video", HTMLVideoElement);
  #error = byId("camera-error", HTMLElement);
  #take = byId("camera-take", HTMLButtonElement);

  /** @param {(picture: Blob) => void} taken */
  constructor(taken) {
    const open = byId("camera", HTMLButtonElement);
    open.addEventListener("click", () => this.#open());
    byId("camera-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#off());
    this.#take.addEventListener("click", async () => {
      const picture = await this.#grab();
      this.#dialog.close();
      if (picture) taken(picture);
    });
  }

  async #open() {
    this.#error.hidden = true;
    this.#take.disabled = true;
    this.#dialog.showModal();
    try {
      if (!navigator.mediaDevices) throw new DOMException("insecure", "InsecureError");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
      if (!this.#dialog.open) return stream.getTracks().forEach((track) => track.stop());
      this.#video.srcObject = stream;
      await this.#video.play();
      this.#take.disabled = false;
    } catch (error) {
      const name = error instanceof DOMException ? error.name : "";
      this.#error.textContent =
        WHY[name] ?? "Browsers lend the camera only to pages on HTTPS or on this machine (localhost).";
      this.#error.hidden = false;
    }
  }

  /** @returns {Promise<Blob | null>} */
  #grab() {
    const canvas = document.createElement("canvas");
    canvas.width = this.#video.videoWidth;
    canvas.height = this.#video.videoHeight;
    canvas.getContext("2d")?.drawImage(this.#video, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  #off() {
    const stream = this.#video.srcObject;
    if (stream instanceof MediaStream) stream.getTracks().forEach((track) => track.stop());
    this.#video.srcObject = null;
  }
}
