"""Does the server stay as it is? Viewers that come and go, then one that stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench.stats import median

from .load_clients import Fan, fan
from .subprocesses import Lab, serving

Tell = Callable[[str], None]
WARM = 0.2  # share of a run after which it should have all the memory it needs
EVERY = 10  # cycles between two looks
SECONDS = 5.0  # between two looks at the one that stays


async def look(lab: Lab, at: float) -> dict[str, float]:
    """`at`: where on the run: cycles, or seconds."""
    vitals, insides = lab.vitals(), await lab.insides()
    return {
        "at": round(at, 1),
        "memory_mb": round(vitals.memory, 2),
        "allocated_mb": round(insides["allocated"] / 2**20, 2),
        "threads": vitals.threads,
        "files": vitals.files,
        "tasks": insides["tasks"],
        "objects": insides["objects"],
    }


async def come_and_go(lab: Lab, viewers: Fan, cycles: int, tell: Tell) -> list[dict[str, float]]:
    """Connect, see a frame, leave; again and again."""
    rows = [await look(lab, 0)]
    for cycle in range(1, cycles + 1):
        await viewers.ask("cycle")
        if cycle % EVERY == 0 or cycle == cycles:
            rows.append(await look(lab, cycle))
            if cycle % (10 * EVERY) == 0:
                tell(f"{cycle} cycles: {rows[-1]}")
    await asyncio.sleep(2.0)  # the last one's end
    rows.append(await look(lab, cycles))
    return rows


async def stay(lab: Lab, viewers: Fan, minutes: float, tell: Tell) -> tuple[list[dict[str, float]], int, int]:
    """One viewer. Returns what was seen, how many frames came, and how often it was lost (a machine that does not let
    it run for five seconds makes the server think that it is gone) and came again."""
    await viewers.ask("more 1")
    await asyncio.sleep(SECONDS)
    began, rows, lost = time.monotonic(), [], 0
    before, frames = await viewers.frames(), 0
    while (passed := time.monotonic() - began) < 60 * minutes:
        rows.append(await look(lab, passed))
        if len(rows) % 24 == 0:
            tell(f"{passed / 60:.1f} minutes: {rows[-1]}")
        await asyncio.sleep(SECONDS)
        if not (await lab.state())["viewers"]:
            lost, frames, before = lost + 1, frames + await viewers.frames() - before, 0
            await viewers.ask("bye 0")
            await viewers.ask("more 1")
    rows.append(await look(lab, time.monotonic() - began))
    return rows, frames + await viewers.frames() - before, lost


def growth(rows: list[dict[str, float]], what: str) -> float:
    """A unit of `at`: the slope through everything after the warm-up (Theil's: the median of all slopes, which a
    single step does not move)."""
    warm = [row for row in rows if row["at"] >= WARM * rows[-1]["at"]]
    slopes = [
        (b[what] - a[what]) / (b["at"] - a["at"])
        for i, a in enumerate(warm)
        for b in warm[i + 1 :]
        if b["at"] > a["at"]
    ]
    return median(slopes)


async def measure(minutes: float, cycles: int, size: tuple[int, int], tell: Tell) -> dict[str, Any]:
    """Both runs on one server, recording as a server does."""
    async with (
        serving(*size, "--record") as lab,
        fan(lab.whep, lab.session["token"]) as viewers,
        fan(lab.whep, lab.session["token"]) as steady,
    ):
        coming = await come_and_go(lab, viewers, cycles, tell)
        staying, frames, lost = await stay(lab, steady, minutes, tell)
        recorded = (await lab.state())["recorded"]
    seconds = staying[-1]["at"]
    return {
        "cycles": cycles,
        "cycles_memory_mb": [coming[0]["memory_mb"], coming[-1]["memory_mb"]],
        "cycles_growth_kb_a_cycle": round(1024 * growth(coming, "memory_mb"), 2),
        "cycles_threads": [coming[0]["threads"], coming[-1]["threads"]],
        "cycles_files": [coming[0]["files"], coming[-1]["files"]],
        "cycles_tasks": [coming[0]["tasks"], coming[-1]["tasks"]],
        "minutes": round(seconds / 60, 1),
        "frames": frames,
        "fps": round(frames / seconds, 2),
        "viewer_lost": lost,
        "recorded_mb": round(recorded / 2**20, 1),
        "stay_memory_mb": [staying[0]["memory_mb"], staying[-1]["memory_mb"]],
        "stay_growth_mb_an_hour": round(3600 * growth(staying, "memory_mb"), 2),
        "stay_allocated_mb": [staying[0]["allocated_mb"], staying[-1]["allocated_mb"]],
        "stay_threads": [min(r["threads"] for r in staying), max(r["threads"] for r in staying)],
        "stay_files": [min(r["files"] for r in staying), max(r["files"] for r in staying)],
        "coming": coming,
        "staying": staying,
    }
