"""What `farcast bench sessions` and `farcast bench prompt-latency` make of what they saw: bars can hold and fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the server's packages are not installed")

from farcast.events import Chunk

from bench.commands import prompt_latency, sessions
from bench.live.probe import Watched
from bench.live.prompt_latency import Turn, crossing
from bench.live.saturation import Company, Refusal
from models.evaluation.report import Bar, document, machine

FPS, CHUNK_S = 16.0, 0.75


def watched(name: str, start: float, end: float, steps: dict[float, int], factor: float = 1.3) -> Watched:
    """A session that got every frame. steps: from a moment on."""
    seen = Watched(name)
    seen.times = [start + i / FPS for i in range(int((end - start) * FPS))]
    seen.changes = [2.0 + (i % 5) for i in range(len(seen.times))]
    at, index = start + CHUNK_S, 1
    while at < end:
        now = steps[max(moment for moment in steps if moment <= at)]
        seen.chunks.append((at, chunk(index, now, factor)))
        at, index = at + CHUNK_S, index + 1
    return seen


def chunk(index: int, steps: int, factor: float) -> Chunk:
    return Chunk(
        index=index, frame=12 * index, frames=12, steps=steps, took_ms=400, deadline_ms=800, lead_ms=900, fps=16.0,
        realtime_factor=factor, prompt="a red circle",
    )  # fmt: skip


def good() -> Company:
    seen = Company(0.0, refusal=Refusal(503, "full", "No room on the device.", 10.0), unrelated=[60.0, 70.0])
    seen.phases = [(1, 0.0, 20.0), (2, 20.0, 40.0), (3, 40.0, 60.0), (2, 60.0, 80.0)]
    budgets = {0.0: 30, 20.0: 16, 40.0: 6, 60.0: 15}
    seen.sessions = [watched("session 1", 0.0, 80.0, budgets), watched("session 2", 20.0, 80.0, budgets)]
    seen.sessions.append(watched("session 3", 40.0, 60.0, budgets))
    return seen


def failing(seen: Company) -> set[str]:
    return {bar.name.split(",")[0].split(":")[0] for bar in sessions.judge(seen)[1] if not bar.holds}


def test_good_company_holds_every_bar_and_the_report_is_json() -> None:
    figures, bars = sessions.judge(good())
    assert all(bar.holds for bar in bars)
    assert figures["steps_of_the_first"] == pytest.approx([30, 16, 6, 15], abs=1.5)
    json.loads(json.dumps(document("sessions", figures, bars), allow_nan=False))


def test_a_second_without_frames_is_seen() -> None:
    seen = good()
    seen.sessions[1].times = [at for at in seen.sessions[1].times if not 50.0 < at < 51.0]
    seen.sessions[1].changes = seen.sessions[1].changes[: len(seen.sessions[1].times)]
    assert failing(seen) == {"realtime_factor delivered"}


def test_a_cut_is_seen() -> None:
    seen = good()
    seen.sessions[0].changes[900] = 50.0
    assert failing(seen) == {"largest change between two frames / a scene cut"}


def test_an_underrun_is_forgiven_at_first_and_not_later() -> None:
    seen = good()
    seen.sessions[2].underruns = [41.0]
    assert failing(seen) == set()
    seen.sessions[2].underruns = [41.0, 45.0]
    assert failing(seen) == {"underruns after the first two seconds"}


def test_steps_that_fall_when_one_leaves_are_seen_and_an_engine_that_falls_behind() -> None:
    seen = good()
    budgets = {0.0: 30, 20.0: 16, 40.0: 6, 60.0: 4}
    seen.sessions[0] = watched("session 1", 0.0, 80.0, budgets, factor=0.95)
    assert failing(seen) == {"steps when one leaves / before", "realtime_factor of the engine"}


def test_a_refusal_without_a_word_or_none_at_all_is_seen() -> None:
    seen = good()
    seen.refusal = Refusal(500, "", "", None)
    assert failing(seen) == {"refusal"}
    seen.refusal = None
    assert failing(seen) == {"refusal"}


def test_one_session_alone_can_be_judged_too() -> None:
    seen = Company(0.0, phases=[(1, 0.0, 20.0)], sessions=[watched("session 1", 0.0, 20.0, {0.0: 3})])
    figures, bars = sessions.judge(seen)
    json.loads(json.dumps(document("sessions", figures, bars), allow_nan=False))
    assert not bars[0].holds


def test_its_page_and_plot_are_written(tmp_path: Path) -> None:
    from bench.live.saturation_page import write

    figures, bars = sessions.judge(good())
    write(good(), figures, bars, machine(), tmp_path)
    page = (tmp_path / "sessions.md").read_text(encoding="utf-8")
    assert "| 3 | 6" in page
    assert "No room on the device." in page
    assert "**fails**" not in page
    assert (tmp_path / "sessions.png").stat().st_size > 5_000


# --- turns


def frames(sent: float, turn: float, *, slow: float = 0.0, noise: float = 0.0) -> np.ndarray:
    """Mean colours at 16 fps: white until `turn`, then black, over `slow` ms."""
    rng = np.random.default_rng(0)
    times = np.arange(sent - 400.0, sent + 3000.0, 62.5)
    way = np.clip((times - turn) / slow, 0, 1) if slow else (times >= turn).astype(float)
    colours = 240.0 * (1.0 - way)[:, None] * np.ones(3) + rng.normal(0, noise, (len(times), 3))
    return np.column_stack([times, colours])


def test_a_turn_is_seen_at_the_first_frame_that_shows_it() -> None:
    at, change = crossing(frames(1000.0, 1400.0, noise=6.0), 1000.0)
    assert at is not None
    assert 1400.0 <= at < 1463.0
    assert change > 200.0


def test_a_slow_turn_is_seen_a_quarter_of_the_way() -> None:
    at, _ = crossing(frames(1000.0, 1400.0, slow=800.0), 1000.0)
    assert at is not None
    assert 1600.0 <= at < 1665.0


def test_no_change_is_no_turn() -> None:
    assert crossing(frames(1000.0, 9000.0), 1000.0)[0] is None
    assert crossing(np.zeros((2, 4)), 0.0) == (None, 0.0)


def test_what_changed_before_its_first_frame_left_does_not_count() -> None:
    """The picture was still turning after the prompt before this one."""
    early = frames(1000.0, 1100.0)
    late = early.copy()
    late[early[:, 0] >= 1800.0, 1:] = 120.0
    at, _ = crossing(late, 1700.0)
    assert at is not None
    assert 1800.0 <= at < 1865.0


def turn(target: float, seen: float | None) -> Turn:
    return Turn(target, seen, None if seen is None else seen - 60.0, 3, 200.0)


def test_nine_in_ten_must_be_in_time() -> None:
    units = {"prompt": 4.0, "encode": 24.0, "step": 12.0, "decode": 135.0}
    found = [turn(500.0, 420.0)] * 9 + [turn(500.0, 700.0)]
    figures, bars = prompt_latency.judge(found, units)
    assert all(bar.holds for bar in bars)
    assert figures["floor_ms"] == pytest.approx(235.0)
    assert not all(bar.holds for bar in prompt_latency.judge([*found, turn(500.0, 700.0)], units)[1])
    assert not all(bar.holds for bar in prompt_latency.judge([turn(500.0, None)] * 3, units)[1])
    json.loads(json.dumps(document("prompt-latency", figures, bars), allow_nan=False))


def test_the_page_keeps_what_people_wrote_around_the_figures(tmp_path: Path) -> None:
    from bench.live.prompt_latency_page import write

    found = [turn(target, 400.0) for target in (500.0, 1000.0, 3000.0) for _ in range(3)]
    figures, bars = prompt_latency.judge(found, {"decode": 135.0})
    write(found, figures, bars, machine(), tmp_path)
    path = tmp_path / "turns.md"
    path.write_text(path.read_text(encoding="utf-8") + "\nWords by hand.\n", encoding="utf-8")
    write(found, figures, [*bars, Bar("seen within 500 ms, p90", 900.0, "<=", 500.0)], machine(), tmp_path)
    page = path.read_text(encoding="utf-8")
    assert page.count("| 500 ms |") == 1
    assert "Words by hand." in page
    assert (tmp_path / "turns.png").exists()
