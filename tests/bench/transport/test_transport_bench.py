"""The lab's own parts: its page, its slopes, its server and its viewers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.transport.latency import encode_cost, marginal
from bench.transport.load_clients import fan
from bench.transport.page import put, table
from bench.transport.soak import growth
from bench.transport.subprocesses import serving


def test_every_bench_writes_its_own_section(tmp_path: Path) -> None:
    put(tmp_path, "soak", "## Soak\nold")
    put(tmp_path, "transport", "## Transport")
    put(tmp_path, "soak", "## Soak\nnew")
    text = (tmp_path / "transport.md").read_text()
    assert text.index("## Transport") < text.index("## Soak\nnew")
    assert "old" not in text
    assert table(["a"], [[1]]) == "| a |\n| --- |\n| 1 |"


def test_growth_is_the_slope_after_the_warm_up_and_a_single_step_is_none() -> None:
    climbing = [{"at": float(i), "mb": 100 + 0.5 * i + (50 if i > 2 else 0)} for i in range(40)]
    assert growth(climbing, "mb") == pytest.approx(0.5)
    step = [{"at": float(i), "mb": 100.0 + (5 if i > 35 else 0)} for i in range(40)]
    assert growth(step, "mb") == 0


def test_one_more_viewer_costs_the_slope() -> None:
    rows = [
        {"cpu_percent": 5.0, "frames_to_viewers_a_second": 16.0},
        {"cpu_percent": 8.2, "frames_to_viewers_a_second": 80.0},
    ]
    assert marginal(rows, 1) == pytest.approx(0.5)  # 32 ms of work a second for 64 frames


def test_encoding_costs_something() -> None:
    cost = encode_cost(128, 128, 4)
    assert set(cost) == {"convert", "VP8", "H264"}
    assert all(0 <= ms < 1000 for ms in cost.values())


@pytest.mark.slow
async def test_viewers_come_and_go_and_leave_nothing() -> None:
    async with serving(128, 128) as lab, fan(lab.whep, lab.session["token"]) as viewers:
        await viewers.ask("cycle")
        before, tasks = lab.vitals(), (await lab.insides())["tasks"]
        for _ in range(4):
            assert await viewers.ask("cycle") < 30
        after = lab.vitals()
        assert after.files <= before.files + 2
        assert after.threads <= before.threads + 6
        assert (await lab.insides())["tasks"] <= tasks + 2
        await viewers.ask("more 2")
        assert await viewers.frames() >= 2
        assert (await lab.state())["encoded"] > 0
