"""The bench of a render beside a live session, over a model that costs nothing."""

from __future__ import annotations

import pytest

from bench.commands import interference
from tests.support.running_server import FAKE, FAKE_RENDERER


@pytest.mark.slow
async def test_it_watches_alone_and_beside_a_render(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interference, "SETTLE", 0.5)
    options = ["--model", "fake?step=0.002&render=0.05", "--engine", FAKE, "--renderer", FAKE_RENDERER, "--no-record"]
    figures, bars = await interference.measure(options, 8, 2.0)
    assert figures["alone_fps"] > 0
    assert figures["beside_fps"] > 0
    assert figures["render_error"] is None
    assert bars[0].holds
