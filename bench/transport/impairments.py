"""Two viewers of one session, one of them behind a network in trouble: what does each of them see?"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.stats import median, quantile

from .browser_viewer import Eye, Sight, browser
from .lossy_proxy import Network, Trouble
from .netns import SERVER, Link, namespace
from .subprocesses import Lab, serving

Tell = Callable[[str], None]
Change = Callable[[], Awaitable[None]]

FREEZE = 0.0625 + 0.150  # seconds between two frames, as WebRTC's own statistics count a freeze at 16 fps
CALM = 3.0  # seconds before the trouble
AFTER = 6.0  # seconds after it
WELL = 0.4  # seconds of latency under which a viewer is up to date again


@dataclass(frozen=True)
class Scenario:
    name: str
    trouble: Trouble
    seconds: float | None = None  # None: as long as the plan says


SCENARIOS = (
    Scenario("none", Trouble()),
    Scenario("1 % loss", Trouble(loss=0.01)),
    Scenario("5 % loss", Trouble(loss=0.05)),
    Scenario("10 % loss", Trouble(loss=0.10)),
    Scenario("100 ms delay each way", Trouble(delay=0.1)),
    Scenario("500 kbit/s", Trouble(rate=500_000)),
    Scenario("outage of 3 s", Trouble(down=True), 3.0),
)
TBF = "500 kbit/s (tbf)"


def summary(sight: Sight, left: dict[int, float], begin: float, end: float) -> dict[str, float]:
    """What was seen of the frames that left from `begin` to `end` (wall clock)."""
    sent = {number for number, at in left.items() if begin <= at < end}
    shown = [(number, at) for number, at in sight.shown if number in sent]
    times = sorted(at for _, at in sight.shown if begin <= at < end)
    edges = [begin, *times, end]
    gaps = [b - a for a, b in itertools.pairwise(edges)]
    freezes = [gap for gap in gaps if gap > FREEZE]
    latencies = [at - left[number] for number, at in shown]
    return {
        "frames_percent": round(100 * len({number for number, _ in shown}) / max(1, len(sent)), 1),
        "freezes": len(freezes),
        "frozen_s": round(sum(freezes), 2),
        "longest_gap_ms": round(1e3 * max(gaps)),
        "latency_ms_median": _ms(median(latencies)),
        "latency_ms_p95": _ms(quantile(latencies, 0.95)),
    }


def recovery(sight: Sight, left: dict[int, float], over: float) -> float:
    """Seconds from the end of the trouble until the viewer shows a frame that left after it and is up to date."""
    fresh = [at for number, at in sight.shown if left.get(number, 0.0) >= over and at - left[number] < WELL]
    return round(min(fresh) - over, 3) if fresh else math.nan


async def watch_trouble(
    lab: Lab,
    good: Eye,
    bad: Eye,
    begin: Change,
    end: Change,
    seconds: float,
    *,
    calm: float = CALM,
    after: float = AFTER,
) -> dict[str, Any]:
    """Both have begun to watch. Calm, trouble, calm again."""
    await bad.first_picture()
    await asyncio.sleep(calm)
    await asyncio.gather(good.look(), bad.look())
    before = await bad.received()
    started = time.time()
    await begin()
    rates: dict[str, list[float]] = {}
    while (rest := started + seconds - time.time()) > 0:
        await asyncio.sleep(min(0.5, rest))
        for name, rate in (await lab.state())["rates"].items():
            rates.setdefault(name, []).append(rate)
    await end()
    over = time.time()
    later = await bad.received()
    await asyncio.sleep(after)
    left = await lab.frames()
    saw_good, saw_bad = await asyncio.gather(good.look(), bad.look())
    return {
        "seconds": round(over - started, 1),
        "viewer": {
            **summary(saw_bad, left, started, over),
            "kbit_s": round((later.get("bytes", 0) - before.get("bytes", 0)) * 8e-3 / (over - started)),
            "recovery_s": recovery(saw_bad, left, over),
        },
        "other": summary(saw_good, left, started, over),
        "rates_kbit_s": {name: round(median(values[len(values) // 2 :]) / 1e3) for name, values in rates.items()},
    }


async def through_relay(lab: Lab, window: Any, scenario: Scenario, seconds: float) -> dict[str, Any]:
    """One scenario, with a relay of ours as the network."""
    network = Network()
    good, bad = await Eye.open(window, lab.url), await Eye.open(window, lab.url)

    async def begin() -> None:
        network.trouble = scenario.trouble

    async def end() -> None:
        network.trouble = Trouble()

    try:
        await good.watch(lab.whep, lab.session["token"])
        await bad.watch_through(lab.http, lab.whep, lab.headers, network.between)
        return await watch_trouble(lab, good, bad, begin, end, scenario.seconds or seconds)
    finally:
        await asyncio.gather(good.close(), bad.close())
        network.close()


async def through_namespace(lab: Lab, window: Any, link: Link, seconds: float) -> dict[str, Any]:
    """The bottleneck of the kernel, with a second browser inside a namespace."""
    async with browser(link.chromium) as inside:
        url = lab.url.replace("127.0.0.1", link.address)
        good, bad = await Eye.open(window, lab.url), await Eye.open(inside, url)

        async def begin() -> None:
            await link.narrow(500)

        try:
            await good.watch(lab.whep, lab.session["token"])
            await bad.watch(lab.whep.replace("127.0.0.1", link.address), lab.session["token"])
            return await watch_trouble(lab, good, bad, begin, link.widen, seconds)
        finally:
            await asyncio.gather(good.close(), bad.close())


async def measure(
    size: tuple[int, int], seconds: float, only: list[str], chromium: str | None, tell: Tell
) -> dict[str, Any]:
    """Every scenario (or those whose name has one of `only` in it), each with viewers of its own."""
    chosen = [s for s in SCENARIOS if not only or any(word in s.name for word in only)]
    found: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(namespace(chromium))
        arguments = ["--host", "0.0.0.0", "--ice-address", SERVER] if link else []
        lab = await stack.enter_async_context(serving(*size, "--ice-address", "127.0.0.1", *arguments))
        window = await stack.enter_async_context(browser(chromium))
        for scenario in chosen:
            found[scenario.name] = await through_relay(lab, window, scenario, seconds)
            tell(f"{scenario.name}: {found[scenario.name]}")
        if link and any("500" in scenario.name for scenario in chosen):
            found[TBF] = await through_namespace(lab, window, link, seconds)
            tell(f"{TBF}: {found[TBF]}")
    return {"size": "x".join(map(str, size)), "scenarios": found}


def _ms(seconds: float) -> float:
    return seconds if math.isnan(seconds) else round(1e3 * seconds)
