// Watches a session with the npm packages whip-whep (a WHEP player by the draft's author) and @roamhq/wrtc (libwebrtc).
// node watch.mjs URL TOKEN SECONDS [relay] [restart]: prints one JSON line for each thing that happens.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { RTCPeerConnection, nonstandard } = require("@roamhq/wrtc");

// The package is an ES module that does not say so, and Node goes by what it says.
const source = readFileSync(require.resolve("whip-whep/whep.js"));
const { WHEPClient } = await import(`data:text/javascript;base64,${source.toString("base64")}`);

const [url, token, seconds, ...options] = process.argv.slice(2);
const began = performance.now();
const say = (/** @type {object} */ what) =>
  console.log(JSON.stringify({ at: Math.round(performance.now() - began), ...what }));

process.on("unhandledRejection", (error) => say({ event: "rejection", message: String(error) }));

const pc = new RTCPeerConnection({
  bundlePolicy: "max-bundle",
  iceTransportPolicy: options.includes("relay") ? "relay" : "all",
});
const transceiver = pc.addTransceiver("video", { direction: "recvonly" });
if (options.includes("audio")) pc.addTransceiver("audio", { direction: "recvonly" });

let frames = 0;
const sink = new nonstandard.RTCVideoSink(transceiver.receiver.track);
sink.onframe = ({ frame }) => {
  const rgba = new Uint8ClampedArray(frame.width * frame.height * 4);
  nonstandard.i420ToRgba(frame, { width: frame.width, height: frame.height, data: rgba });
  const at = (8 * frame.width + 8) * 4;
  frames += 1;
  say({ event: "frame", frames, width: frame.width, height: frame.height, rgb: [...rgba.slice(at, at + 3)] });
};

const client = new WHEPClient();
try {
  await client.view(pc, url, token);
} catch (error) {
  say({ event: "refused", message: String(error) });
  process.exit(2);
}
pc.addEventListener("connectionstatechange", () => say({ event: "state", state: pc.connectionState }));
say({ event: "answered", servers: pc.getConfiguration().iceServers });

await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 500));
if (options.includes("restart")) {
  try {
    await client.restart();
    say({ event: "restarted" });
  } catch (error) {
    say({ event: "restart refused", message: String(error) });
  }
}
await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 500));
for (const report of (await pc.getStats()).values()) {
  if (report.type === "candidate-pair" && report.nominated) {
    const local = (await pc.getStats()).get(report.localCandidateId);
    say({ event: "path", local: local?.candidateType });
  }
}
sink.stop();
await client.stop().catch((error) => say({ event: "leaving failed", message: String(error) }));
say({ event: "left", frames });
process.exit(0);
