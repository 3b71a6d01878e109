"""Prompt to pixel as a person has it: typed into the page in a real browser, seen as a change of colour on screen.

The page notes the mean colour of every frame it presents. A turn is seen when the colour has gone a quarter of the way
from what it was to what it becomes: that is a clear change, and a model that carries on its own picture does not jump
all the way in one frame.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.transport.browser_viewer import browser
from stream.errors import EngineFailed

PROMPTS = ("a big red circle bouncing on a white background", "a big blue square bouncing on a black background")
FAR = 0.25  # of the way from the old colour to the new
LEAST = 12.0  # levels between old and new: less is no change of colour
BEFORE_S, AFTER_S = 0.4, 0.5  # over which the old and the new colour are taken
SETTLE_S = 4.0  # after a move of the dial

WATCH = """() => {
    const video = document.getElementById("video");
    const canvas = Object.assign(document.createElement("canvas"), {width: 8, height: 8});
    const brush = canvas.getContext("2d", {willReadFrequently: true});
    window.seen = [];
    const look = () => {
        const now = performance.now();
        video.requestVideoFrameCallback(look);
        brush.drawImage(video, 0, 0, 8, 8);
        const data = brush.getImageData(0, 0, 8, 8).data;
        const mean = [0, 0, 0];
        for (let i = 0; i < 256; i += 4) for (let c = 0; c < 3; c++) mean[c] += data[i + c] / 64;
        seen.push([now, ...mean]);
        if (seen.length > 4000) seen.splice(0, 2000);
    };
    video.requestVideoFrameCallback(look);
}"""
SAY = """(text) => {
    const box = document.getElementById("prompt");
    box.value = text;
    box.dispatchEvent(new Event("input", {bubbles: true}));
    const now = performance.now();
    box.form.requestSubmit();
    return now;
}"""
TURN = """(ms) => {
    const slider = document.getElementById("dial");
    slider.value = String(Math.round(100 * Math.log(ms / 200) / Math.log(150)));
    slider.dispatchEvent(new Event("input", {bubbles: true}));
}"""
SEEN = "(since) => window.seen.filter((frame) => frame[0] >= since)"


@dataclass
class Turn:
    """Milliseconds. seen_ms: from Enter to the change on screen, None when no change was seen. server_ms: from the
    prompt's arrival to the moment its first frame left the playout clock."""

    target_ms: float
    seen_ms: float | None
    server_ms: float | None
    steps: int | None
    change: float  # levels between the old colour and the new


@dataclass
class Page:
    """One tab on Farcast's page, its control socket overheard."""

    tab: Any
    received: list[dict[str, Any]] = field(default_factory=list)

    def listen(self) -> None:
        """Must come before the page is opened."""
        self.tab.on("websocket", lambda socket: socket.on("framereceived", self._hear))

    def _hear(self, payload: str | bytes) -> None:
        if isinstance(payload, str):
            self.received.append(json.loads(payload))

    async def playing(self, seconds: float) -> None:
        """Raises EngineFailed when the page shows no live picture in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = await self.tab.evaluate("() => [document.body.dataset.firstFrameMs, document.body.dataset.state]")
            if state[0] and state[1] == "live":
                return
            await asyncio.sleep(0.2)
        raise EngineFailed(
            f"The page showed no live picture within {seconds:.0f} s (it says {state[1]!r}). Is the machine busy?"
        )

    async def until(self, kind: str, since: int, seconds: float) -> dict[str, Any] | None:
        """The first message of the kind after the first `since` ones; None when there was none in time."""
        for _ in range(int(seconds / 0.05)):
            found = next((m for m in self.received[since:] if m.get("type") == kind), None)
            if found is not None:
                return found
            await asyncio.sleep(0.05)
        return None


async def measure(
    url: str, targets: Sequence[float], count: int, *, seed: int = 0, grace_s: float = 60.0
) -> list[Turn]:
    """`count` turns at each latency target, at moments that have nothing to do with the chunks'."""
    rng, turns = random.Random(seed), list[Turn]()
    async with browser() as chromium:
        page = Page(await (await chromium.new_context(viewport={"width": 1280, "height": 800})).new_page())
        page.listen()
        await page.tab.goto(url, timeout=1e3 * grace_s)
        await page.playing(grace_s)
        await page.tab.evaluate(WATCH)
        number = 0
        await page.tab.evaluate(SAY, PROMPTS[-1])
        for target in targets:
            since = len(page.received)
            await page.tab.evaluate(TURN, target)
            await page.until("dial_applied", since, 10.0)
            await asyncio.sleep(SETTLE_S)
            for _ in range(count):
                turns.append(await _turn(page, PROMPTS[number % len(PROMPTS)], target, rng.uniform(1.6, 3.0)))
                number += 1
    return turns


async def _turn(page: Page, prompt: str, target: float, rest_s: float) -> Turn:
    since = len(page.received)
    sent = float(await page.tab.evaluate(SAY, prompt))
    applied = await page.until("prompt_applied", since, 30.0)
    await asyncio.sleep(rest_s)
    frames = np.array(await page.tab.evaluate(SEEN, sent), dtype=np.float64)
    # No frame can show it before its chunk's first one has left; what changed until then was the turn before.
    seen, change = crossing(frames, sent if applied is None else sent + applied["latency_ms"])
    chunk = None if applied is None else applied["chunk"]
    made = next((m for m in page.received[since:] if m.get("type") == "chunk" and m["index"] == chunk), None)
    return Turn(
        target,
        None if seen is None else seen - sent,
        None if applied is None else applied["latency_ms"],
        None if made is None else made["steps"],
        round(change, 1),
    )


def crossing(frames: NDArray[np.float64], since: float, far: float = FAR) -> tuple[float | None, float]:
    """When, after `since`, the colour had gone `far` of the way from the old to the new, and how far apart those are.

    frames: rows (ms, r, g, b) from a little before `since` to well after the change.
    """
    if len(frames) < 4:
        return None, 0.0
    times, colours = frames[:, 0], frames[:, 1:]
    before = (times <= since) & (times > since - 1e3 * BEFORE_S)
    after = times >= times[-1] - 1e3 * AFTER_S
    if not before.any():
        return None, 0.0
    old, new = np.median(colours[before], axis=0), np.median(colours[after], axis=0)
    span = float(np.linalg.norm(new - old))
    if span < LEAST:
        return None, span
    way = (colours - old) @ (new - old) / span**2
    crossed = np.flatnonzero((way >= far) & (times > since))
    return (float(times[crossed[0]]) if len(crossed) else None), span
