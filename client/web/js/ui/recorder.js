// Records the video of this page with MediaRecorder. Stops after ten minutes.

import { download } from "../lib/dom.js";

const MOST_MS = 10 * 60_000;
const KINDS = ["video/mp4", "video/webm;codecs=vp9", "video/webm"];

export class Recorder {
  /** @type {MediaRecorder | null} */
  #recorder = null;

  /** @param {(on: boolean) => void} changed */
  constructor(changed) {
    this.changed = changed;
  }

  get on() {
    return this.#recorder !== null;
  }

  /**
   * @param {MediaStream} stream
   * @param {string} name  file name without extension
   */
  start(stream, name) {
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    const recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: 4_000_000 });
    /** @type {Blob[]} */
    const parts = [];
    recorder.ondataavailable = ({ data }) => data.size && parts.push(data);
    recorder.onstop = () => {
      this.#recorder = null;
      this.changed(false);
      const ending = recorder.mimeType.includes("mp4") ? "mp4" : "webm";
      if (parts.length) download(new Blob(parts, { type: recorder.mimeType }), `${name}.${ending}`);
    };
    recorder.start(1000);
    this.#recorder = recorder;
    this.changed(true);
    setTimeout(() => this.#recorder === recorder && this.stop(), MOST_MS);
  }

  stop() {
    if (this.#recorder?.state !== "inactive") this.#recorder?.stop();
  }
}
