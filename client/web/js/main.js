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
import { VocabularyView } from "./ui/vocabulary.js";

/** @import { ModelCard, PromptRequest, ReplayStep, Start } from "./types.js" */

const FALLBACK = "a big red circle bouncing on a navy background";

let session = new Session(); // gathers ICE candidates while the rest of the page is set up
/** @type {ModelCard | null} */
let model = null;
/** What the present session was asked to start from. @type {Partial<Start>} */
let requested = {};

const stage = new Stage();
const status = new StatusView(() => startSession(retryStart()));
const prompts = new PromptBox((request) => startSession({}, request));
const words = new VocabularyView((text) => prompts.write(text));
const dial = new DialView();
const timeline = new Timeline(stage.video);
const charts = new Charts();
const controls = new Controls(stage, (text) => status.toast(text));
const downloads = new Downloads((text) => status.toast(text));
const images = new ImageDrop({
  startFrom: (what) => startSession(what),
  openFile: async (file, name) => (await documents()).open(file, name),
});
new Camera((picture) => images.take(picture));

/** @param {number} since  performance.now() of the request */
function attach(since) {
  stage.attach(session, since);
  for (const part of [status, prompts, words, dial, timeline, charts, controls, downloads, images]) part.attach(session);
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

/** @type {Promise<import("./ui/documents.js").Documents> | null} */
let loading = null;

/**
 * Scores and presets; their code is loaded when the first one is opened or saved.
 * @returns {Promise<import("./ui/documents.js").Documents>}
 */
function documents() {
  loading ??= import("./ui/documents.js").then(({ Documents }) => new Documents({
    start: startSession,
    show: (setting, start, request) => {
      if (setting) dial.show(setting);
      dial.advanced.showStart(start);
      prompts.show(request);
    },
    preset: () => ({ prompt: prompts.request, dial: dial.dial, start: dial.advanced.start, picture: images.picture }),
    model: () => session.info?.model ?? "",
    say: (text) => status.toast(text),
  }));
  return loading;
}

let starting = false;

/**
 * Start a new session in place of the present one. A session that runs is left only when its successor has begun.
 * @param {Partial<Start>} start  what is left out stays as it is
 * @param {PromptRequest} [request]  left out = the last one
 * @param {ReplayStep[]} [steps]  prompts and dial moves for later chunks
 */
async function startSession(start, request = prompts.request, steps = []) {
  if (starting) return;
  if (dial.advanced.check()) return dial.advanced.reveal();
  starting = true;
  const since = performance.now();
  requested = start;
  const next = new Session();
  try {
    model ??= await getModel().then(setModel, () => null);
    const prompt = request.mix?.[0][0] ?? (request.text || model?.examples[0] || FALLBACK);
    const body = { prompt, dial: dial.dial, ...dial.advanced.start, ...start };
    if (!session.running) {
      replace(next, since);
      if (request.mix) next.prompt(request); // a session starts with one prompt; the mix is sent when the socket is open
      await next.start(body);
    } else {
      await createBeside(next, body);
      replace(next, since);
      if (request.mix) next.prompt(request);
      next.open();
    }
    if (steps.length) next.replay(steps, 0);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    next.leave({ end: true });
    if (session.running) status.toast(`${error.message} The running take goes on.`);
    else session.refuse(error);
  } finally {
    starting = false;
  }
}

/**
 * Create the next session while the present one runs. A full server has checked the values before it said so: then the present
 * session is ended to make room.
 * @param {Session} next
 * @param {Start} body
 */
async function createBeside(next, body) {
  try {
    await next.create(body);
  } catch (error) {
    const own = session.info;
    if (!(error instanceof Problem) || error.code !== "full" || !own || !session.canSteer || watching()) throw error;
    stage.hold();
    await endSession(own);
    await next.create(body);
  }
}

/**
 * @param {Session} next
 * @param {number} since  performance.now() of the request
 */
function replace(next, since) {
  stage.hold();
  session.leave({ end: !watching() });
  if (watching()) history.replaceState(null, "", location.pathname);
  delete document.body.dataset.view;
  session = next;
  attach(since);
}

/** @param {ModelCard} card */
function setModel(card) {
  model = card;
  byId("model", HTMLElement).textContent = `${card.name}, ${card.width} × ${card.height} at ${card.fps} fps`;
  prompts.offer(card.examples);
  words.offer(card);
  if (card.max_steps) {
    dial.limit(card.max_steps, card.steps);
    downloads.limit(card.max_steps);
  }
  if (card.guidance_range) {
    const field = byId("guidance", HTMLInputElement);
    [field.min, field.max] = card.guidance_range.map(String);
  }
  images.offerStrength(card.picture_strength ?? false);
  return card;
}

async function open() {
  attach(0.1); // measured from the load of the page
  const link = new URLSearchParams(location.hash.slice(1));
  const watch = link.get("watch");
  if (watch) {
    if (link.has("view")) document.body.dataset.view = ""; // the picture alone
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
byId("preset", HTMLButtonElement).addEventListener("click", async () => (await documents()).savePreset());
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
