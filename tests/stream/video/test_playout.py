"""Frames leave by the clock: exactly, smoothly, boundedly, and without drift."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.video.playout import TICKS, Playout

FPS = 16.0
FRAME = 1 / FPS


def playout(capacity: int = 100, min_fps: float = 8.0) -> Playout[int]:
    return Playout(FPS, min_fps=min_fps, capacity=capacity)


def drain(p: Playout[int], start: float, end: float, step: float = 0.001) -> list[tuple[float, int, int]]:
    """(time, frame, ticks) of everything that leaves when called often."""
    out = []
    now = start
    while now < end:
        while (due := p.tick(now)) is not None:
            out.append((now, due.item, due.ticks))
        now += step
    return out


def test_frames_are_exactly_5625_ticks_apart() -> None:
    p = playout()
    p.push(range(48))
    shown = drain(p, 10.0, 13.1)
    assert [item for _, item, _ in shown] == list(range(48))
    assert [ticks for *_, ticks in shown] == [5625 * i for i in range(48)]
    assert all(abs(now - 10.0 - ticks / TICKS) < 0.002 for now, _, ticks in shown)


def test_the_first_chunk_is_a_still_and_no_underrun() -> None:
    p = playout()
    p.push([0])
    assert drain(p, 0.0, 1.0)[0][1] == 0
    assert p.underruns == 0
    p.push(range(1, 13))
    shown = drain(p, 1.0, 2.5)
    assert shown[0][0] == pytest.approx(1.0)
    assert p.underruns == 1  # this time it did run dry


def test_an_underrun_holds_counts_once_and_keeps_media_time_on_the_wall_clock() -> None:
    p = playout()
    p.push([0])
    p.push([1, 2])
    before = drain(p, 0.0, 3.0)
    assert p.underruns == 1
    assert p.dry
    p.push([3, 4])
    after = drain(p, 3.0, 3.1)
    assert len(before) == 3
    assert after[0][2] == pytest.approx(3.0 * TICKS, abs=200)
    assert after[1][2] - after[0][2] == 5625


def test_a_consumer_that_slept_is_not_late_for_ever() -> None:
    p = playout()
    p.push(range(60))
    drain(p, 0.0, 1.0)
    rest = drain(p, 3.0, 5.0)  # nobody called for two seconds
    first = rest[0]
    assert first[0] == pytest.approx(3.0)
    assert first[2] == pytest.approx(3.0 * TICKS, abs=200)
    gaps = [b[0] - a[0] for a, b in pairwise(rest)]
    assert min(gaps) > 0.9 * FRAME, "late frames must not be rushed"


def test_a_little_lateness_is_made_up_without_a_jump_in_media_time() -> None:
    p = playout()
    p.push(range(10))
    assert p.tick(0.0) is not None
    late = p.tick(FRAME + 0.05)
    assert late is not None
    assert late.ticks == 5625


def test_slow_generation_slows_playing_smoothly_to_the_stated_minimum_and_back() -> None:
    p = playout()
    p.push(range(12), engine_fps=40.0)
    now, frame = 0.0, 12
    rates = []
    for chunk in range(80):
        fps = 10.0 if 5 <= chunk < 40 else 40.0
        p.push(range(frame, frame + 12), engine_fps=fps)
        frame += 12
        drain(p, now, now + 12 / min(fps, 16.0), 0.004)
        now += 12 / min(fps, 16.0)
        rates.append(p.rate)
    assert min(rates) < 10.5
    assert min(rates) >= 8.0
    assert rates[-1] == pytest.approx(16.0)
    assert p.underruns <= 6, "slow motion, not stop and go"
    steps = [abs(b - a) for a, b in pairwise(rates)]
    assert max(steps) < 3.0, "smoothly"


def test_a_full_queue_drops_the_oldest_and_counts() -> None:
    p = playout(capacity=10)
    assert p.push(range(13)) == 3
    assert p.dropped == p.consumed == 3
    due = p.tick(0.0)
    assert due is not None
    assert due.item == 3


def test_pause_and_resume_are_no_underrun_and_lose_nothing() -> None:
    p = playout()
    p.push(range(12))
    p.push(range(12, 24))
    drain(p, 0.0, 0.5)
    p.pause()
    assert p.due() is None
    assert drain(p, 0.5, 4.0) == []
    p.resume()
    rest = drain(p, 4.0, 6.0)
    assert rest[0][1] == 8
    assert rest[0][2] == pytest.approx(4.0 * TICKS, abs=200)
    assert p.underruns == 1  # at the very end


def test_clear_can_keep_what_is_wanted() -> None:
    p = playout()
    p.push(range(10))
    assert p.clear(lambda item: item >= 4) == 6
    assert len(p) == 4
    assert p.consumed == 6


def test_showing_the_last_frame_again_never_goes_back_in_time() -> None:
    p = playout()
    p.push(range(3))
    drain(p, 0.0, 0.13)
    again = p.ticks_at(0.125)
    assert again > 2 * 5625
    p.push([3])
    later = p.tick(0.4)
    assert later is not None
    assert later.ticks > again


@given(
    chunks=st.lists(st.tuples(st.integers(1, 14), st.floats(0.0, 2.0), st.floats(0.5, 60.0)), min_size=1, max_size=25),
    stalls=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=25),
)
def test_whatever_happens_order_time_and_bounds_hold(
    chunks: list[tuple[int, float, float]], stalls: list[float]
) -> None:
    p = playout(capacity=40)
    now, pushed, last = 0.0, 0, -1
    seen: list[int] = []
    for i, (count, pause, engine_fps) in enumerate(chunks):
        p.push(range(pushed, pushed + count), engine_fps=engine_fps)
        pushed += count
        assert len(p) <= 40
        end = now + pause
        while now < end:
            while (due := p.tick(now)) is not None:
                assert due.ticks > last, "media time rises"
                last = due.ticks
                seen.append(due.item)
            now += 0.03
        now += stalls[i % len(stalls)]
        assert 8.0 <= p.rate <= 16.0
    assert seen == sorted(set(seen)), "in order, each once"
    assert p.consumed + len(p) == pushed
    assert len(seen) + p.dropped == p.consumed
