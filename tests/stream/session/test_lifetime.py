"""What a session holds is freed when it ends: no object of it stays alive, and a stored recording is only a file."""

from __future__ import annotations

import asyncio
import gc
import io
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from stream.recording import Recording
from stream.recording.fmp4 import Mp4Writer
from stream.session.engine_link import EngineLink
from stream.session.output import Output
from stream.session.session import Session
from stream.video.broadcast import Broadcast
from stream.video.encoder import VideoEncoder
from stream.video.encoding import Encoding
from stream.webrtc.track import ViewerTrack
from stream.webrtc.viewer import Viewer
from tests.support.running_server import Running, running, wait_for
from tests.support.whep_peer import watching

OWNED = (
    Session, EngineLink, Output, Broadcast, Encoding, VideoEncoder, Recording, Mp4Writer, Viewer, ViewerTrack,
)  # fmt: skip


@pytest.fixture(scope="module")
def short() -> Iterator[Running]:
    """A server that forgets ended sessions at once."""
    with running(tombstone=0.2, start_grace=0.05) as server:
        yield server


def owned() -> list[Any]:
    gc.collect()
    # By type: isinstance would ask lazy objects of torch for their class, which warns.
    return [thing for thing in gc.get_objects() if issubclass(type(thing), OWNED)]


def alive(before: set[int]) -> Counter[str]:
    """By type, what is alive and was not `before`: other tests' servers have sessions too."""
    return Counter(type(thing).__name__ for thing in owned() if id(thing) not in before)


def png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (80, 64), (40, 60, 220)).save(data, "PNG")
    return data.getvalue()


async def one_of_each(server: Running) -> list[str]:
    """Sessions of every kind, each ended in its own way. Returns the ids of those with a recording."""
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:

        async def create(**more: Any) -> dict[str, Any]:
            answer = await http.post("/v1/sessions", json={"prompt": "a red circle", **more})
            assert answer.status_code == 201, answer.text
            return dict(answer.json())

        await _end(http, server, await create())  # never seen
        watched = await create()
        for codec in ("VP8", "H264"):
            async with watching(server, watched, codec) as peer:
                await peer.frame()
        recorded = await create()
        session = server.manager.sessions[recorded["id"]]
        await _until(lambda: session.playout.consumed > 14 and session.recording.size)
        await http.post(
            recorded["urls"]["image"], files={"image": ("a.png", png(), "image/png")}, headers=server.headers(recorded)
        )
        render = await http.post(recorded["urls"]["renders"], json={"steps": 2}, headers=server.headers(recorded))
        assert render.status_code == 202, render.text
        session.rewind("r", 0, _Nobody())
        await asyncio.sleep(0.3)
        failed = await create(prompt="explode")
        await _until(lambda: server.manager.sessions[failed["id"]].over)
        for made in (watched, recorded, failed):
            await _end(http, server, made)
    return [recorded["id"]]


class _Nobody:
    def send(self, message: Any) -> None: ...


async def _end(http: httpx.AsyncClient, server: Running, made: dict[str, Any]) -> None:
    assert (await http.delete(made["urls"]["session"], headers=server.headers(made))).status_code == 204


async def _until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_nothing_of_ended_sessions_is_alive(short: Running) -> None:
    others = owned()  # kept, so that their ids are not used again
    before = {id(thing) for thing in others}
    recorded = await one_of_each(short)
    await asyncio.to_thread(wait_for, lambda: not short.manager.sessions, 20)
    end = time.monotonic() + 15  # peers close in the background
    while alive(before) and time.monotonic() < end:
        await asyncio.sleep(0.2)
    assert alive(before) == Counter()
    assert short.app.state.viewers == {}
    stored = short.manager.recordings.kept[recorded[0]]
    assert stored.live is None
    assert stored.size == stored.path.stat().st_size > 1000


def test_an_ended_session_that_is_still_known_holds_no_snapshot_and_no_frames() -> None:
    with running(tombstone=60.0) as server:
        made = server.create()
        session = server.manager.sessions[made["id"]]
        wait_for(lambda: session._link.recovery.saved is not None, 20, "a snapshot")
        server.delete(made)
        wait_for(lambda: session.closed, 10)
        assert httpx.get(server.url + made["urls"]["session"], headers=server.headers(made)).status_code == 200
        assert session._link.recovery.saved is None
        assert session.broadcast._last is None
        assert len(session.playout) == 0


def test_ended_sessions_are_forgotten_beyond_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.session.manager.ENDED", 2)
    with running(tombstone=600.0, record=False) as server:
        made = [server.create() for _ in range(4)]
        for one in made:
            server.delete(one)
        wait_for(lambda: len(server.manager.sessions) == 2, 10)
        assert set(server.manager.sessions) == {one["id"] for one in made[2:]}
