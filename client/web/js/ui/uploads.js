// Checks of a file before it is sent: a picture (made smaller if needed), a playable clip, a JSON document.

import { Problem } from "../net/api.js";

const MOST_SIDE = 1600; // larger pictures are scaled down: models work far below this
const MOST_PIXELS = 100_000_000; // above this a browser may run out of memory

/**
 * The picture, scaled down if it is large. Throws a Problem if the browser cannot read it.
 * @param {Blob} file
 * @param {string} name
 * @returns {Promise<Blob>}
 */
export async function fit(file, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Problem(`${name} cannot be read as a picture; the file may be damaged. Give a PNG, JPEG or WebP.`, { code: "media" });
  }
  const { width, height } = bitmap;
  const scale = MOST_SIDE / Math.max(width, height);
  if (scale >= 1 || width * height > MOST_PIXELS) {
    bitmap.close();
    if (scale >= 1) return file;
    throw new Problem(`${name} has ${width} × ${height} pixels. Give one of at most 100 megapixels.`, { code: "media" });
  }
  const canvas = new OffscreenCanvas(Math.round(width * scale) || 1, Math.round(height * scale) || 1);
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/png" });
}

/**
 * Throws a Problem unless the browser can read this as a video.
 * @param {Blob} clip
 * @returns {Promise<void>}
 */
export async function playable(clip) {
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
    throw new Problem("This clip cannot be read as a video. Give a short MP4 or WebM.", { code: "media" });
  } finally {
    video.removeAttribute("src");
    URL.revokeObjectURL(url);
  }
}

/**
 * @param {Blob} file
 * @param {string} name
 */
export const isJson = (file, name) => file.type.includes("json") || name.includes(".json");
