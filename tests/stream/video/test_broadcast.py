"""Packets for many: the same ones, never late for long, never from the middle of a picture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiortc.mediastreams import MediaStreamError

from stream.video import broadcast as broadcasting
from stream.video import encoding
from stream.video.broadcast import Broadcast
from stream.video.encoder import VideoPacket
from stream.webrtc.track import PACKETS, ViewerTrack
from tests.support.fake_backend import paint


@pytest.fixture
async def broadcast() -> AsyncIterator[Broadcast]:
    with ThreadPoolExecutor(1) as pool:
        made = Broadcast(64, 64, 16.0, pool, repeat=lambda: 10**7)
        yield made
        await made.close()


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shown again by itself, however slow this machine is; rates are looked at with every frame."""
    monkeypatch.setattr(broadcasting, "STANDSTILL", 1000.0)
    monkeypatch.setattr(broadcasting, "DUE", 10_000.0)
    monkeypatch.setattr(broadcasting, "ADAPT", 0.0)


class Tape:
    """A subscriber as a recorder is one: no network limits it."""

    codec, encoding, rate = "H264", "full", None

    def __init__(self) -> None:
        self.times: list[int] = []

    def offer(self, packet: VideoPacket) -> None:
        self.times.append(packet.pts or 0)

    def move(self, encoding: str) -> None:
        raise AssertionError

    def stop(self) -> None:
        self.times.clear()


async def show(broadcast: Broadcast, indices: range) -> None:
    """Frame after frame, each once the one before is through every encoder."""
    for i in indices:
        broadcast.show(paint(64, (200, 30, 30), i), i * 5625)
        async with asyncio.timeout(30):
            for waiting in list(broadcast._encodings.values()):
                await waiting.idle.wait()


async def reading(broadcast: Broadcast, codec: str = "VP8") -> tuple[ViewerTrack, asyncio.Task[object]]:
    track = ViewerTrack(codec, broadcast)
    task = asyncio.create_task(track.recv())
    await asyncio.sleep(0)
    return track, task


async def test_nobody_watches_nothing_is_encoded(broadcast: Broadcast) -> None:
    await show(broadcast, range(5))
    assert broadcast.counters.frames == 0


@pytest.mark.usefixtures("steady")
async def test_all_get_the_same_packets_and_a_joiner_begins_with_a_keyframe(broadcast: Broadcast) -> None:
    one, first = await reading(broadcast)
    await show(broadcast, range(3))
    assert (await first).is_keyframe  # type: ignore[attr-defined]
    two, second = await reading(broadcast)
    await show(broadcast, range(3, 6))
    packet = await second
    assert packet.is_keyframe  # type: ignore[attr-defined]
    same = [await one.recv() for _ in range(5)]
    assert packet in same
    assert broadcast.counters.frames == 6
    assert broadcast.counters.keyframes == 2
    del two


@pytest.mark.usefixtures("steady")
async def test_requests_for_a_keyframe_are_answered_by_one(
    broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "LOST_PAUSE", 0.0)
    tracks = [await reading(broadcast) for _ in range(5)]
    await show(broadcast, range(1))
    for track, task in tracks:
        await task
        track.lost_picture()
    await show(broadcast, range(1, 4))
    assert broadcast.counters.keyframes == 2


@pytest.mark.usefixtures("steady")
async def test_a_viewer_that_does_not_read_loses_what_is_stale_and_slows_nobody(
    broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "LOST_PAUSE", 0.0)  # frames come faster here than a clock would let them
    slow, first = await reading(broadcast)
    fast, other = await reading(broadcast)
    await show(broadcast, range(1))
    await first
    await other
    for i in range(1, PACKETS + 20):
        await show(broadcast, range(i, i + 1))
        packet = await asyncio.wait_for(fast.recv(), 20)
        assert packet.pts == i * 5625
    assert slow.dropped > 0
    assert broadcast.counters.stale_packets == slow.dropped
    after = await slow.recv()
    assert after.is_keyframe, "after a gap only a keyframe is of use"
    assert fast.dropped == 0


@pytest.mark.usefixtures("steady")
async def test_when_the_encoder_is_behind_old_frames_are_dropped_before_it(broadcast: Broadcast) -> None:
    track, task = await reading(broadcast)
    for i in range(10):
        broadcast.show(paint(64, (200, 30, 30), i), i * 5625)
    await task
    for _ in range(100):
        await asyncio.sleep(0.01)
        if broadcast.counters.frames + broadcast.counters.late_frames == 10:
            break
    assert broadcast.counters.late_frames == 8
    newest = await track.recv()
    assert newest.pts == 9 * 5625


async def test_one_who_joins_a_standing_picture_sees_it(broadcast: Broadcast) -> None:
    await show(broadcast, range(1))
    broadcast._shown_at -= 10
    _, task = await reading(broadcast)
    packet = await asyncio.wait_for(task, 20)
    assert packet.is_keyframe  # type: ignore[attr-defined]
    assert packet.pts == 10**7  # type: ignore[attr-defined]


async def test_one_who_joins_the_moment_a_picture_comes_to_a_stand_sees_it(broadcast: Broadcast) -> None:
    await show(broadcast, range(1))  # nobody watches yet, and no other frame will come
    _, task = await reading(broadcast)
    assert (await asyncio.wait_for(task, 20)).is_keyframe  # type: ignore[attr-defined]


async def test_a_track_that_is_stopped_ends_its_reader(broadcast: Broadcast) -> None:
    track, task = await reading(broadcast)
    track.stop()
    with pytest.raises(MediaStreamError):
        await asyncio.wait_for(task, 20)
    assert broadcast.watching == 0


@pytest.mark.usefixtures("steady")
async def test_a_recorder_gets_the_packets_of_its_codec_with_or_without_viewers(broadcast: Broadcast) -> None:
    tape = Tape()
    broadcast.subscribe(tape)
    await show(broadcast, range(1))
    for i in range(1, 4):
        await show(broadcast, range(i, i + 1))
    assert broadcast.codecs == ["H264"]
    track, task = await reading(broadcast, "H264")  # the same encoding, not one more
    for i in range(4, 8):
        await show(broadcast, range(i, i + 1))
    first = await task
    assert first.is_keyframe  # type: ignore[attr-defined]
    assert broadcast.counters.frames == 8
    assert tape.times == [i * 5625 for i in range(8)]
    track.stop()
    assert broadcast.codecs == ["H264"]
    broadcast.unsubscribe(tape)
    assert broadcast.codecs == []


async def test_a_picture_that_stands_is_not_given_to_a_recorder_again(broadcast: Broadcast) -> None:
    tape = Tape()
    broadcast.subscribe(tape)
    await show(broadcast, range(1))
    broadcast._shown_at -= 10
    _, task = await reading(broadcast, "VP8")
    assert (await asyncio.wait_for(task, 20)).pts == 10**7  # type: ignore[attr-defined]
    assert tape.times == [0]


@pytest.mark.usefixtures("steady")
async def test_pictures_lost_again_and_again_do_not_cost_everybody_a_keyframe_each_time(
    broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "LOST_PAUSE", 1000.0)
    track, task = await reading(broadcast)
    await show(broadcast, range(1))
    await task
    for i in range(1, 9):
        broadcast.request_keyframe(track.codec, lost=True)
        await show(broadcast, range(i, i + 1))
    assert broadcast.counters.keyframes == 1, "the last one is still young"
    monkeypatch.setattr(encoding, "LOST_PAUSE", 0.0)
    await show(broadcast, range(9, 11))
    assert broadcast.counters.keyframes == 2, "and then all of them are answered by one"


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_viewer_with_a_slow_network_gets_an_encoding_of_its_own(
    broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    slow, one = await reading(broadcast, codec)
    fast, two = await reading(broadcast, codec)
    await show(broadcast, range(2))
    await asyncio.gather(one, two)
    assert broadcast.encodings == {(codec, "full"): broadcast.limits.ceiling}
    slow.controller.rate = 100_000
    for i in range(2, 8):
        await show(broadcast, range(i, i + 1))
    assert broadcast.encodings == {(codec, "full"): broadcast.limits.ceiling, (codec, "low"): 100_000}
    times: dict[str, list[int]] = {"slow": [], "fast": []}
    for name, track in (("slow", slow), ("fast", fast)):
        while track._queue:
            packet = await track.recv()
            times[name].append(packet.pts or 0)
    assert times["fast"] == [i * 5625 for i in range(1, 8)], "the others lose nothing"
    assert times["slow"] == sorted(set(times["slow"])), "media time goes on over the change"
    assert max(times["slow"]) >= 6 * 5625
    slow.controller.rate = broadcast.limits.ceiling
    for i in range(8, 14):
        await show(broadcast, range(i, i + 1))
    assert list(broadcast.encodings) == [(codec, "full")], "and when its network is well, there is one again"


@pytest.mark.usefixtures("steady")
async def test_a_small_change_of_rate_costs_no_keyframe(broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = [(await reading(broadcast, codec))[0] for codec in ("VP8", "H264")]
    for i in range(30):
        for track in tracks:
            track.controller.rate = broadcast.limits.ceiling * (0.92 + 0.08 * (i % 2))
        await show(broadcast, range(i, i + 1))
    assert broadcast.counters.rebuilds == 0
    assert broadcast.counters.keyframes == 2
    for track in tracks:
        track.controller.rate = broadcast.limits.ceiling / 2
    monkeypatch.setattr(broadcasting.bitrate, "DOWN_PAUSE", 0.0)
    for i in range(30, 40):
        await show(broadcast, range(i, i + 1))
    assert broadcast.counters.rebuilds == 1, "VP8 takes a new encoder; H.264 goes on at another rate"
    assert broadcast.counters.keyframes == 3


@pytest.mark.usefixtures("steady")
async def test_a_recording_keeps_its_quality_whoever_watches(
    broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape()
    broadcast.subscribe(tape)
    slow, _ = await reading(broadcast, "H264")
    slow.controller.rate = 80_000
    for i in range(6):
        await show(broadcast, range(i, i + 1))
    assert broadcast.encodings == {("H264", "full"): broadcast.limits.ceiling, ("H264", "low"): 80_000}
    assert tape.times == [i * 5625 for i in range(6)]
