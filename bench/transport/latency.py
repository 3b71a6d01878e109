"""How long does a frame take to an eye, what does a viewer cost, how soon does one who comes late see something?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from bench.stats import median, quantile
from stream.video.encoder import CODECS, VideoEncoder, default_bitrate, picture

from .browser_viewer import Eye, browser
from .load_clients import Fan, fan
from .pattern_model import FPS, Painter
from .subprocesses import program, serving

Tell = Callable[[str], None]
KEEPS_UP = 0.9  # of the nominal rate
SETTLE = 2.0  # seconds after the last viewer has come


@dataclass(frozen=True)
class Plan:
    """How thorough to be. Seconds."""

    size: tuple[int, int] = (256, 256)
    watch: float = 20.0
    viewers: Sequence[int] = (1, 5, 20, 50)
    window: float = 8.0
    joins: int = 7
    encode_sizes: Sequence[tuple[int, int]] = ((128, 128), (256, 256), (832, 480))
    encode_frames: int = 48


QUICK = Plan(watch=5.0, viewers=(1, 5), window=3.0, joins=2, encode_sizes=((256, 256),), encode_frames=16)


def encode_cost(width: int, height: int, frames: int) -> dict[str, float]:
    """Milliseconds of processor time a frame: the colour conversion, and every codec."""
    painter = Painter(width, height)
    pictures = [painter.frame(i) for i in range(frames)]
    began = time.process_time()
    converted = [picture(pixels) for pixels in pictures]
    cost = {"convert": (time.process_time() - began) / frames}
    for codec in CODECS:
        encoder = VideoEncoder(codec, width, height, FPS, default_bitrate(width, height, FPS))
        began = time.process_time()
        for i, image in enumerate(converted):
            encoder.encode(image, i * 5625, keyframe=i == 0)
        cost[codec] = (time.process_time() - began) / frames
    return {name: round(1e3 * seconds, 3) for name, seconds in cost.items()}


async def glass(plan: Plan, chromium: str | None) -> dict[str, Any]:
    """Glass to glass, and late joiners, through Chromium on loopback."""
    async with serving(*plan.size) as lab, browser(chromium) as window:
        eye = await Eye.open(window, lab.url)
        await eye.watch(lab.whep, lab.session["token"])
        await asyncio.sleep(1.0)
        await eye.look()
        seconds, latencies, shown, unread = 0.0, [], 0, 0
        gaps: list[float] = []
        while seconds < plan.watch:
            part = min(10.0, plan.watch - seconds)
            await asyncio.sleep(part)
            seconds += part
            sight, left = await eye.look(), await lab.frames()
            latencies += sight.latencies(left)
            gaps += sight.gaps()
            shown += len(sight.shown)
            unread += sum(number < 0 for number, _ in sight.shown)
        joins = []
        for _ in range(plan.joins):
            late = await Eye.open(window, lab.url)
            joins.append(await late.watch(lab.whep, lab.session["token"]))
            await late.close()
            await asyncio.sleep(0.5)
    return {
        "frames_shown": shown,
        "frames_unreadable": unread,
        "fps_shown": round(shown / seconds, 2),
        "glass_to_glass_ms_median": round(1e3 * median(latencies), 1),
        "glass_to_glass_ms_p95": round(1e3 * quantile(latencies, 0.95), 1),
        "longest_gap_ms": round(1e3 * max(gaps, default=float("nan")), 1),
        "join_ms": [round(1e3 * seconds) for seconds in joins],
        "join_ms_median": round(1e3 * median(joins)),
        "latencies_ms": [round(1e3 * seconds, 1) for seconds in latencies],
    }


async def viewers_cost(
    fan: Fan, url: str, plan: Plan, encoded: Callable[[], Any] | None, tell: Tell
) -> list[dict[str, float]]:
    """Processor time of the server with more and more viewers. A row: viewers, processor share, what they got."""
    rows = []
    async with httpx.AsyncClient(timeout=30) as http:

        async def cpu() -> float:
            return float((await http.get(f"{url}lab/cpu")).json())

        for count in plan.viewers:
            await fan.ask(f"more {count}")
            await asyncio.sleep(SETTLE)
            made = await encoded() if encoded else None
            used, got, began = await cpu(), await fan.frames(), time.monotonic()
            await asyncio.sleep(plan.window)
            used, got, took = await cpu() - used, await fan.frames() - got, time.monotonic() - began
            row = {
                "viewers": count,
                "cpu_percent": round(100 * used / took, 2),
                "frames_to_viewers_a_second": round(got / took, 1),
                "fps_a_viewer": round(got / took / count, 2),
                "ms_a_frame_and_viewer": round(1e3 * used / max(1, got), 3),
            }
            if encoded is not None and made is not None:
                after = await encoded()
                shown = after["frame"] - made["frame"]
                row["encodings_a_frame"] = round((after["encoded"] - made["encoded"]) / max(1, shown), 3)
            tell(f"{row}")
            rows.append(row)
    return rows


def marginal(rows: list[dict[str, float]], upto: int) -> float:
    """Milliseconds of processor time for one more viewer's frame: the slope from the first row to the one at `upto`."""
    first, last = rows[0], rows[upto]
    frames = last["frames_to_viewers_a_second"] - first["frames_to_viewers_a_second"]
    return 10 * (last["cpu_percent"] - first["cpu_percent"]) / frames if frames > 0 else float("nan")


async def viewers(plan: Plan, tell: Tell) -> dict[str, Any]:
    """What viewers cost, encoded once and encoded for each, on the same machine one after the other."""
    async with serving(*plan.size) as lab, fan(lab.whep, lab.session["token"]) as watching:
        once = await viewers_cost(watching, lab.url, plan, lab.state, tell)
    size = [str(edge) for edge in plan.size]
    async with program("bench.transport.media_relay_baseline", *size) as (_, url), fan(f"{url}whep") as watching:
        each = await viewers_cost(watching, url, plan, None, tell)
    # Compared only up to where the machine can still encode for each: beyond it their frames are fewer, not cheaper.
    kept_up = [i for i, row in enumerate(each) if row["fps_a_viewer"] >= KEEPS_UP * FPS]
    upto = max([1, *kept_up])
    costs = marginal(once, upto), marginal(each, upto)
    return {
        "encode_once": once,
        "encode_each": each,
        "compared_upto_viewers": each[upto]["viewers"],
        "once_ms_a_viewers_frame": round(costs[0], 4),
        "each_ms_a_viewers_frame": round(costs[1], 4),
        "each_over_once": round(costs[1] / costs[0], 1) if costs[0] > 0 else float("nan"),
        "encodings_a_frame_most": max(row["encodings_a_frame"] for row in once),
    }


async def measure(plan: Plan, chromium: str | None, tell: Tell) -> dict[str, Any]:
    """Everything, one after the other."""
    encode = {f"{w}x{h}": encode_cost(w, h, plan.encode_frames) for w, h in plan.encode_sizes}
    tell(f"encode: {encode}")
    seen = await glass(plan, chromium)
    tell(f"glass to glass: {seen['glass_to_glass_ms_median']} ms, joins {seen['join_ms']} ms")
    return {"size": "x".join(map(str, plan.size)), "encode_ms": encode, **seen, **await viewers(plan, tell)}
