"""A model at fixed noise levels, of a family that only this test registers, serves live; its dial is refused."""

from __future__ import annotations

from pathlib import Path

import farcast
import pytest
from farcast import events

pytest.importorskip("torch", reason="the server's packages are not installed")

from models.checkpoint.bundle import save_bundle
from tests.support.fixed_steps_family import fixed_steps_bundle
from tests.support.running_server import running


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_it_serves_live_at_its_steps_and_refuses_the_dial(tmp_path: Path) -> None:
    bundle = fixed_steps_bundle()
    save_bundle(bundle, tmp_path)
    engine = "tests.support.fixed_steps_family:open_model"
    with running(str(tmp_path), engine=engine, engine_threads=1) as server:
        dial = farcast.Dial(steps=1)
        async with farcast.connect(server.url, prompt="a red star", seed=3, dial=dial) as live:
            chunks: list[events.Chunk] = []
            asked = False
            async for event in live.events():
                if isinstance(event, events.Chunk):
                    chunks.append(event)
                if len(chunks) == 1 and not asked:
                    asked = True
                    with pytest.raises(farcast.FarcastError, match="fixed list of 4 steps; the dial does not apply"):
                        await live.dial(steps=8, timeout=60)
                    applied = await live.prompt("a blue heart", timeout=60)
                    assert applied.chunk >= 1
                if len(chunks) == 4:
                    break
            assert [chunk.steps for chunk in chunks] == [4] * 4
            score = await live.score()
    assert score["model"] == "tiny-self-forcing"
    levels = [entry["sigmas"] for entry in score["entries"] if entry.get("sigmas")]
    assert all(tuple(level) == pytest.approx(bundle.fixed_sigmas) for level in levels)
    assert levels
