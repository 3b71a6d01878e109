"""Two Chromium tabs watch one session, one of them through a network in bad shape: what does each of them see?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.transport.browser_viewer import Eye, browser
from bench.transport.impairments import watch_trouble
from bench.transport.lossy_proxy import Network, Trouble
from bench.transport.subprocesses import serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SIZE = (256, 160)


@pytest.mark.parametrize(
    ("trouble", "seconds"),
    [
        pytest.param(Trouble(loss=0.05, delay=0.03), 5.0, id="loss"),
        pytest.param(Trouble(rate=120_000), 6.0, id="bottleneck"),
        pytest.param(Trouble(down=True), 3.0, id="outage"),
    ],
)
async def test_one_viewers_trouble_passes_and_is_nobody_elses(
    trouble: Trouble, seconds: float, chromium: str | None
) -> None:
    found = await watch(trouble, seconds, chromium)
    own, other = found["viewer"], found["other"]
    assert other["frames_percent"] >= 90, "the other viewer is left alone (a busy machine may cost a frame)"
    assert own["recovery_s"] < 3.0, "soon after the trouble the picture is up to date"
    if trouble.down:
        assert own["longest_gap_ms"] > 2_000
    elif trouble.rate:
        assert own["kbit_s"] <= 130
        assert min(found["rates_kbit_s"].values()) <= 150, "the picture is made for 300 kbit/s"
        assert own["frames_percent"] > 20
    else:
        assert own["frames_percent"] > 70


async def watch(trouble: Trouble, seconds: float, chromium: str | None) -> dict[str, Any]:
    network = Network(seed=1)

    async def begin() -> None:
        network.trouble = trouble

    async def end() -> None:
        network.trouble = Trouble()

    async with serving(*SIZE, "--ice-address", "127.0.0.1") as lab, browser(chromium) as window:
        good, bad = await Eye.open(window, lab.url), await Eye.open(window, lab.url)
        try:
            await good.watch(lab.whep, lab.session["token"])
            await bad.watch_through(lab.http, lab.whep, lab.headers, network.between)
            return await watch_trouble(lab, good, bad, begin, end, seconds, calm=1.5, after=4.0)
        finally:
            await asyncio.gather(good.close(), bad.close())
            network.close()
