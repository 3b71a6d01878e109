// Connects the parts of the page and starts a session as soon as the page is open.

import { Problem, endSession, getModel } from "./net/api.js";
import { Camera } from "./ui/camera.js";
import { Charts } from "./ui/charts.js";
import { DialView } from "./ui/dial.js";
import { byId } from "./lib/dom.js";
import { ImageDrop } from "./ui/image.js";
import { Downloads } from "./ui/downloads.js";
import { storage } from "./lib/storage.js";
import { PromptBox } from "./ui/prompt.js";
import { Session } from "./net/session.js";
import { Stage } from "./ui/stage.js";
import { StatusView } from "./ui/status.js";
import { Timeline } from "./ui/timeline.js";
import { Controls } from "./ui/controls.js";

/** @import { ModelCard, Start, PromptRequest } from "./types.js" */

const FALLBACK = "a big red circle bouncing on a navy background";

let session = new Session(); // gathers ICE candidates while the rest of the page is set up
/** @type {ModelCard | null} */
let model = null;
/** What the present session was asked to start from. @type {Partial<Start>} */
let requested = {};

const stage = new Stage();
const status = new StatusView(() => startSession(retryStart()));
const prompts = new PromptBox((request) => startSession({}, request));
const dial = new DialView();
const timeline = new Timeline(stage.video);
const charts = new Charts();
const controls = new Controls(stage, (text) => status.toast(text));
const downloads = new Downloads((text) => status.toast(text));
const images = new ImageDrop({ startFrom: (what) => startSession(what) });
new Camera((picture) => images.take(picture));

/** @param {number} since  performance.now() of the request */
function attach(since) {
  stage.attach(session, since);
  for (const part of [status, prompts, dial, timeline, charts, controls, downloads, images]) part.attach(session);
  const mine = session;
  mine.on("info", ({ id, token, view_token, role }) => {
    requested = {};
    if (!watching()) storage.setSession({ id, token, view_token });
    document.body.dataset.role = role ?? "steer";
  });
  mine.on("status", ({ state }) => {
    if (state === "lost" || state === "ended") storage.setSession(null);
  });
}

/** The page was opened by a shared link: the session belongs to another user. */
const watching = () => new URLSearchParams(location.hash.slice(1)).has("watch");

/** What to start from on a retry: the same if the server was full or away, without the picture or clip that it refused. */
const retryStart = () => (session.problem && (session.problem.status === 0 || session.problem.status >= 500) ? requested : {});

/**
 * Start a new session and end the old one.
 * @param {Partial<Start>} start  what is left out stays as it is
 * @param {PromptRequest} [request]  left out = the last one
 */
async function startSession(start, request = prompts.request) {
  const since = performance.now();
  requested = start;
  stage.hold();
  session.leave({ end: !watching() });
  if (watching()) history.replaceState(null, "", location.pathname);
  session = new Session();
  attach(since);
  const mine = session;
  model ??= await getModel().then(setModel, () => null);
  const prompt = request.mix?.[0][0] ?? (request.text || model?.examples[0] || FALLBACK);
  if (request.mix) mine.prompt(request); // a session starts with one prompt; the mix is sent when the socket is open
  await mine.start({ prompt, dial: dial.dial, ...advanced(), ...start });
}

/** Seed and guidance from the advanced fields, where set. */
function advanced() {
  const seed = byId("seed", HTMLInputElement).value;
  const guidance = byId("guidance", HTMLInputElement).value;
  return { ...(seed && { seed: Number(seed) }), ...(guidance && { guidance: Number(guidance) }) };
}

/** @param {ModelCard} card */
function setModel(card) {
  model = card;
  byId("model", HTMLElement).textContent = `${card.name}, ${card.width} × ${card.height} at ${card.fps} fps`;
  prompts.offer(card.examples);
  if (card.max_steps) for (const part of [dial, downloads]) part.limit(card.max_steps);
  return card;
}

async function open() {
  attach(0.1); // measured from the load of the page
  const link = new URLSearchParams(location.hash.slice(1));
  const watch = link.get("watch");
  if (watch) {
    getModel().then(setModel, () => {});
    return session.join(watch, link.get("token") ?? "");
  }
  const slow = setTimeout(() => session.warming("The model is loading."), 1000);
  try {
    const [card] = await Promise.all([getModel().then(setModel), ...storage.takeAbandoned().map(endSession)]);
    if (await resume()) return;
    await session.start({ prompt: link.get("prompt") || card.examples[0] || FALLBACK });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    session.refuse(error);
  } finally {
    clearTimeout(slow);
  }
}

/** After a reload: join the session of this tab, if the server still has it. */
async function resume() {
  const known = storage.session();
  if (!known) return false;
  await session.join(known.id, known.token, known.view_token);
  if (session.status.state !== "lost") return true;
  session.leave({ end: false });
  session = new Session();
  attach(0.1);
  return false;
}

for (const id of ["new-take", "own-take", "advanced-take"]) byId(id, HTMLButtonElement).addEventListener("click", () => startSession({}));
if (matchMedia("(pointer: fine)").matches) prompts.focus();
addEventListener("pagehide", () => {
  const known = storage.session();
  if (known) storage.renewLease(known, false);
});
setInterval(() => {
  const known = storage.session();
  if (known && known.id === session.info?.id && session.canSteer) storage.renewLease(known);
  status.fps(session.status.state === "live" ? stage.fps : 0);
  charts.tick(stage.fps);
}, 1000);
open();
