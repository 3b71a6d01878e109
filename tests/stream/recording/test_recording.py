"""What a session showed, as a file: every frame, on the grid, whole at every moment, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.metrics import Metrics
from stream.recording.recording import AGAIN, QUEUE, Limits, Recording
from stream.recording.timeline import HOLD, Timeline
from stream.video.broadcast import Broadcast
from stream.webrtc.track import ViewerTrack
from tests.support.fake_backend import paint
from tests.support.film import STEP, film

# --- when


def test_slow_motion_and_hiccups_are_film_at_its_own_rate() -> None:
    timeline = Timeline(16.0)
    live = [1_000, 1_000 + STEP, 1_000 + 3 * STEP, 1_000 + 5 * STEP + 17, 1_000 + 60 * STEP]
    assert [timeline.place(t) for t in live] == [0, STEP, 2 * STEP, 3 * STEP, 4 * STEP]


def test_a_pause_is_as_long_as_it_was_but_not_endless() -> None:
    timeline = Timeline(16.0)
    timeline.place(0)
    assert timeline.place(16 * STEP, paused=True) == 16 * STEP  # one second
    assert timeline.place(17 * STEP) == 17 * STEP
    hour = timeline.place(17 * STEP + 3600 * 90_000, paused=True)
    assert hour - 17 * STEP == HOLD * 90_000


def test_a_pause_that_is_shown_again_and_again_is_one_pause() -> None:
    timeline = Timeline(16.0)
    timeline.place(0)
    for i in range(1, 40):  # every half second, as a broadcast does it
        timeline.place(i * 8 * STEP, paused=True)
        if timeline.held:
            break
    assert timeline.frames == HOLD * 16


@given(st.lists(st.tuples(st.integers(1, 10**7), st.booleans()), max_size=50))
def test_places_rise_and_lie_on_the_grid(steps: list[tuple[int, bool]]) -> None:
    timeline, live, last = Timeline(16.0), 0, -1
    for step, paused in [(0, False), *steps]:
        live += step
        at = timeline.place(live, paused=paused)
        assert at > last
        assert at % STEP == 0
        last = at


# --- one recording


class Stuck(Executor):
    """A disk that does not answer until it is let go."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append(lambda: future.set_result(fn(*args, **kwargs)))
        return future

    def go(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()


@pytest.fixture
async def broadcast() -> AsyncIterator[Broadcast]:
    with ThreadPoolExecutor(1) as pool:
        made = Broadcast(64, 64, 16.0, pool, repeat=lambda: 10**7)
        yield made
        await made.close()


def begin(tmp_path: Path, broadcast: Broadcast, executor: Executor, **limits: Any) -> Recording:
    bounds = Limits(**{"seconds": 3600.0, "size": 2**30, **limits})
    return Recording(tmp_path / "film.mp4", broadcast, executor, Metrics(), bounds)


async def show(recording: Recording, broadcast: Broadcast, indices: range) -> None:
    for i in indices:
        recording.showing(i * STEP)
        broadcast.show(paint(64, (200, 30, 30), i), i * STEP)
        for _ in range(400):
            if not recording._coming or recording.stopped:  # one that has stopped takes nothing more
                break
            await asyncio.sleep(0.005)


async def test_every_frame_is_there_at_its_time(tmp_path: Path, broadcast: Broadcast) -> None:
    with ThreadPoolExecutor(1) as disk:
        recording = begin(tmp_path, broadcast, disk)
        await show(recording, broadcast, range(40))
        await recording.end()
    assert film(recording.path.read_bytes()) == [i * STEP for i in range(40)]
    assert recording.size == recording.path.stat().st_size
    assert broadcast.codecs == []


async def test_what_is_readable_while_it_runs_is_whole(tmp_path: Path, broadcast: Broadcast) -> None:
    with ThreadPoolExecutor(1) as disk:
        recording = begin(tmp_path, broadcast, disk)
        seen = set()
        for i in range(60):
            await show(recording, broadcast, range(i, i + 1))
            if recording.size not in seen:
                seen.add(recording.size)
                if recording.size:
                    times = film(recording.path.read_bytes()[: recording.size])
                    assert times == [k * STEP for k in range(len(times))]
                    assert i + 1 - len(times) <= 10, "more than half a second is missing"
        await recording.end()
    assert len(seen) > 4


async def test_a_long_pause_costs_no_frame_after_it(tmp_path: Path, broadcast: Broadcast) -> None:
    with ThreadPoolExecutor(1) as disk:
        recording = begin(tmp_path, broadcast, disk)
        await show(recording, broadcast, range(5))
        recording.paused()
        await show(recording, broadcast, range(500, 505))
        await show(recording, broadcast, range(505, 508))
        await recording.end()
    times = [t // STEP for t in film(recording.path.read_bytes())]
    pause = int(HOLD * 16)
    assert times == [0, 1, 2, 3, 4, 4 + pause, *range(5 + pause, 12 + pause)]


async def test_a_frame_that_was_being_encoded_when_the_pause_began_does_not_end_it(
    tmp_path: Path, broadcast: Broadcast
) -> None:
    with ThreadPoolExecutor(1) as disk:
        recording = begin(tmp_path, broadcast, disk)
        await show(recording, broadcast, range(4))
        recording.showing(4 * STEP)
        broadcast.show(paint(64, (200, 30, 30), 4), 4 * STEP)
        recording.paused()  # its packet comes later
        await broadcast.drained("H264", 2.0)
        await show(recording, broadcast, range(20, 23))
        await recording.end()
    assert [t // STEP for t in film(recording.path.read_bytes())] == [0, 1, 2, 3, 4, 20, 21, 22]


async def test_a_still_that_is_shown_again_for_viewers_ends_in_time_and_costs_no_frame(
    tmp_path: Path, broadcast: Broadcast
) -> None:
    with ThreadPoolExecutor(1) as disk:
        recording = begin(tmp_path, broadcast, disk)
        track = ViewerTrack("H264", broadcast)
        reading = asyncio.create_task(track.recv())
        await asyncio.sleep(0)
        await show(recording, broadcast, range(5))
        recording.paused()
        for i in range(12, 300, 8):  # shown again every half second
            broadcast.show(paint(64, (200, 30, 30), 4), i * STEP, again=True)
            await asyncio.sleep(0.01)
        await reading
        await show(recording, broadcast, range(300, 310))
        await recording.end()
        track.stop()
    times = [t // STEP for t in film(recording.path.read_bytes())]
    assert times[:5] == [0, 1, 2, 3, 4]
    assert HOLD * 16 <= times[-10] - 4 <= HOLD * 16 + 2
    assert times[-10:] == list(range(times[-10], times[-10] + 10))


async def test_waiting_for_the_engine_is_no_part_of_the_film(tmp_path: Path, broadcast: Broadcast) -> None:
    with ThreadPoolExecutor(1) as disk:
        recording = begin(tmp_path, broadcast, disk)
        track = ViewerTrack("H264", broadcast)
        reading = asyncio.create_task(track.recv())
        await asyncio.sleep(0)
        await show(recording, broadcast, range(5))
        for i in range(12, 100, 8):
            broadcast.show(paint(64, (200, 30, 30), 4), i * STEP, again=True)
            await asyncio.sleep(0.01)
        await reading
        await show(recording, broadcast, range(100, 110))
        await recording.end()
        track.stop()
    times = [t // STEP for t in film(recording.path.read_bytes())]
    assert times == list(range(15 + AGAIN))


async def test_a_disk_that_hangs_stops_nobody_and_costs_what_waits(tmp_path: Path, broadcast: Broadcast) -> None:
    disk = Stuck()
    recording = begin(tmp_path, broadcast, disk)
    await show(recording, broadcast, range(QUEUE + 6))
    assert recording.dropped > QUEUE
    disk.go()
    await show(recording, broadcast, range(QUEUE + 6, QUEUE + 20))
    ending = recording.end()
    while not ending.done():
        disk.go()
        await asyncio.sleep(0.01)
    times = [t // STEP for t in film(recording.path.read_bytes())]
    assert times == list(range(len(times)))
    assert len(times) >= 14


@pytest.mark.slow
async def test_it_ends_at_its_bounds(tmp_path: Path, broadcast: Broadcast) -> None:
    with ThreadPoolExecutor(1) as disk:
        recording = begin(tmp_path, broadcast, disk, seconds=1.0)
        await show(recording, broadcast, range(17))
        assert recording.stopped == "time"
        broadcast.show(paint(64, (200, 30, 30), 18), 18 * STEP)
        await recording.end()
        assert len(film(recording.path.read_bytes())) == 17
        other = Recording(tmp_path / "small.mp4", broadcast, disk, Metrics(), Limits(3600.0, 3_000))
        await show(other, broadcast, range(19, 60))
        assert other.stopped == "size"
        await other.end()
    assert other.size < 6_000
    assert film(other.path.read_bytes())


@pytest.mark.slow
async def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path, broadcast: Broadcast) -> None:
    with ThreadPoolExecutor(1) as disk:
        recording = Recording(Path("/dev/full/film.mp4"), broadcast, disk, Metrics(), Limits(3600.0, 2**30))
        await show(recording, broadcast, range(3))
        for _ in range(100):
            if recording.stopped:
                break
            await asyncio.sleep(0.01)
        assert recording.stopped == "disk"
        broadcast.show(paint(64, (200, 30, 30), 4), 4 * STEP)
        await recording.end()
