// Puts the parts together, and starts a take as soon as the page is open.

import { Problem, endSession, getModel } from "./net/api.js";
import { Camera } from "./ui/camera.js";
import { Charts } from "./ui/charts.js";
import { DialView } from "./ui/dial.js";
import { byId } from "./lib/dom.js";
import { ImageDrop } from "./ui/image.js";
import { Keep } from "./ui/downloads.js";
import { memory } from "./lib/storage.js";
import { PromptBox } from "./ui/prompt.js";
import { Session } from "./net/session.js";
import { Stage } from "./ui/stage.js";
import { StatusView } from "./ui/status.js";
import { Timeline } from "./ui/timeline.js";
import { Transport } from "./ui/controls.js";
import { VocabularyView } from "./ui/vocabulary.js";

/** @import { ModelCard, Start, Wish } from "./types.js" */

const FALLBACK = "a big red circle bouncing on a navy background";

let session = new Session(); // gathers its network candidates while the rest of the page is set up
/** @type {ModelCard | null} */
let model = null;
/** What the take under way began with, a picture or a clip perhaps. @type {Partial<Start>} */
let wanted = {};

const stage = new Stage();
const status = new StatusView(() => take(unheard()));
const prompts = new PromptBox((wish) => take({}, wish));
const words = new VocabularyView((text) => prompts.write(text));
const dial = new DialView();
const timeline = new Timeline(stage.video);
const charts = new Charts();
const transport = new Transport(stage, (text) => status.toast(text));
const keep = new Keep((text) => status.toast(text));
const images = new ImageDrop({ startFrom: (what) => take(what) });
new Camera((picture) => images.take(picture));

/** @param {number} since  when the user asked for it */
function attach(since) {
  stage.attach(session, since);
  for (const part of [status, prompts, words, dial, timeline, charts, transport, keep, images]) part.attach(session);
  const mine = session;
  mine.on("info", ({ id, token, view_token, role }) => {
    wanted = {};
    if (!watching()) memory.keepTake({ id, token, view_token });
    document.body.dataset.role = role ?? "steer";
  });
  mine.on("status", ({ state }) => {
    if (state === "lost" || state === "ended") memory.keepTake(null);
  });
}

/** The page was opened by a shared link: the take belongs to someone else. */
const watching = () => new URLSearchParams(location.hash.slice(1)).has("watch");

/** What to try again with: all of it where the server was full or away, without the picture it would not have. */
const unheard = () => (session.problem && (session.problem.status === 0 || session.problem.status >= 500) ? wanted : {});

/**
 * Begin a new take; the old one is given back to the server.
 * @param {Partial<Start>} start  what is not said stays as it is
 * @param {Wish} [wish]  what to see; left out = go on with what was asked for last
 */
async function take(start, wish = prompts.wish) {
  const since = performance.now();
  wanted = start;
  stage.hold();
  session.leave({ end: !watching() });
  if (watching()) history.replaceState(null, "", location.pathname);
  session = new Session();
  attach(since);
  const mine = session;
  model ??= await getModel().then(greet, () => null);
  const prompt = wish.mix?.[0][0] ?? (wish.text || model?.examples[0] || FALLBACK);
  if (wish.mix) mine.prompt(wish); // a take begins with one prompt; the mix follows as soon as the socket is open
  await mine.start({ prompt, dial: dial.dial, ...chosen(), ...start });
}

/** Seed and guidance from the advanced fields, where set. */
function chosen() {
  const seed = byId("seed", HTMLInputElement).value;
  const guidance = byId("guidance", HTMLInputElement).value;
  return { ...(seed && { seed: Number(seed) }), ...(guidance && { guidance: Number(guidance) }) };
}

/** @param {ModelCard} card */
function greet(card) {
  model = card;
  byId("model", HTMLElement).textContent = `${card.name}, ${card.width} × ${card.height} at ${card.fps} fps`;
  prompts.offer(card.examples);
  words.offer(card);
  if (card.max_steps) {
    dial.limit(card.max_steps, card.steps);
    keep.limit(card.max_steps);
  }
  if (card.guidance_range) {
    const field = byId("guidance", HTMLInputElement);
    [field.min, field.max] = card.guidance_range.map(String);
  }
  return card;
}

async function open() {
  attach(0.1); // the wish to see it is as old as the page
  const link = new URLSearchParams(location.hash.slice(1));
  const watch = link.get("watch");
  if (watch) {
    getModel().then(greet, () => {});
    return session.join(watch, link.get("token") ?? "");
  }
  const slow = setTimeout(() => session.warming("The model is loading."), 1000);
  try {
    const [card] = await Promise.all([getModel().then(greet), ...memory.abandoned().map(endSession)]);
    if (await resume()) return;
    await session.start({ prompt: link.get("prompt") || card.examples[0] || FALLBACK });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    session.refuse(error);
  } finally {
    clearTimeout(slow);
  }
}

/** Go on with the take of this tab after a reload, if the server still has it. */
async function resume() {
  const known = memory.take();
  if (!known) return false;
  await session.join(known.id, known.token, known.view_token);
  if (session.status.state !== "lost") return true;
  session.leave({ end: false });
  session = new Session();
  attach(0.1);
  return false;
}

for (const id of ["new-take", "own-take", "advanced-take"]) byId(id, HTMLButtonElement).addEventListener("click", () => take({}));
if (matchMedia("(pointer: fine)").matches) prompts.focus();
addEventListener("pagehide", () => {
  const take = memory.take();
  if (take) memory.touch(take, false);
});
setInterval(() => {
  const kept = memory.take();
  if (kept && kept.id === session.info?.id && session.canSteer) memory.touch(kept);
  status.fps(session.status.state === "live" ? stage.fps : 0);
  charts.tick(stage.fps);
}, 1000);
open();
