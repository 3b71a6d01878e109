"""What the client does when the connection breaks: the session goes on, and nothing asked is forgotten."""

from __future__ import annotations

import asyncio

import farcast
import pytest
from farcast import events
from farcast.events import Event
from farcast.media import whep
from farcast.media.fanout import Reader

from tests.support.faults import FaultyServer

RED, BLUE = "a red circle", "a blue star"
CONNECTION = (events.Disconnected, events.Reconnected)


async def seen(happenings: Reader[Event]) -> list[Event]:
    """Everything until the connection is back."""
    found: list[Event] = []
    while not found or not isinstance(found[-1], events.Reconnected):
        found.append(await happenings.get())
    return found


async def test_a_prompt_survives_a_broken_control_socket(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        happenings = live.events()
        server.layer.ignore_commands = True
        asking = asyncio.create_task(live.prompt(BLUE, timeout=10))
        while not server.layer.received:
            await asyncio.sleep(0.01)
        server.layer.ignore_commands = False
        await asyncio.to_thread(server.cut_control)
        assert (await asking).text == BLUE
        lost, back = [event for event in await seen(happenings) if isinstance(event, CONNECTION)]
        assert isinstance(lost, events.Disconnected)
        assert isinstance(back, events.Reconnected)
        assert (lost.part, back.part) == ("control", "control")


async def test_the_picture_comes_back(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED) as live:
        frames = live.frames()
        await frames.get()
        happenings = live.events()
        await asyncio.to_thread(server.cut_media)
        async with asyncio.timeout(15):
            while not isinstance(event := await happenings.get(), events.Reconnected):
                pass
        assert event.part == "media"
        stats = await live.stats()
        assert stats.media is not None
        assert stats.media.reconnects == 1
        assert (await frames.get()).image.shape == (64, 96, 3)


async def test_silence_of_a_live_session_is_a_broken_connection(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whep, "_SILENCE_S", 0.6)
    async with farcast.connect(server.url, prompt=RED) as live:
        frames, happenings = live.frames(), live.events()
        await frames.get()
        server.swallow_media()
        async with asyncio.timeout(15):
            while not isinstance(event := await happenings.get(), events.Disconnected):
                pass
            assert "no frame for 0.6 s" in event.reason
            while not isinstance(event := await happenings.get(), events.Reconnected):
                pass
            await frames.get()


async def test_a_session_that_is_gone_ends_everything(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        happenings = live.events()
        await asyncio.to_thread(server.forget)
        with pytest.raises(farcast.SessionEnded, match="There is no such session"):
            async for _ in happenings:
                pass
        with pytest.raises(farcast.SessionEnded):
            await live.pause()


async def test_a_handshake_that_is_refused_ends_everything(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        server.layer.refuse_sockets = True
        await asyncio.to_thread(server.cut_control)
        with pytest.raises(farcast.SessionEnded, match="does not know"):
            async for _ in live.events():
                pass


async def test_reconnecting_ends_after_its_timeout(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False, reconnect_timeout=0.3) as live:
        asking = asyncio.create_task(live.prompt("a green square", timeout=20))
        await asking
        server.layer.ignore_commands = True
        asking = asyncio.create_task(live.prompt(BLUE, timeout=20))
        await asyncio.sleep(0.05)
        live._control._url = "ws://127.0.0.1:9/nothing"
        await asyncio.to_thread(server.cut_control)
        with pytest.raises(farcast.ConnectionFailed, match="did not come back"):
            await asking


async def test_stopping_ends_the_frames_quietly(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED) as live:
        frames = live.frames()
        await frames.get()
        await live.stop()
        async with asyncio.timeout(5):
            async for _ in frames:
                pass


async def test_a_fatal_error_is_raised_to_readers(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        happenings = live.events()
        await asyncio.to_thread(
            server.say, '{"type":"error","code":"engine","message":"The engine is gone.","fatal":true}'
        )
        with pytest.raises(farcast.SessionEnded, match="engine is gone"):
            async for event in happenings:
                last = event
        assert isinstance(last, events.Error)


async def test_a_session_that_the_server_stopped_is_not_asked_for_again(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED) as live:
        async for _ in live.frames():
            break
        happenings = live.events()
        asyncio.run_coroutine_threadsafe(server.only().stop("An operator ended it."), server.loop)
        seen_after = [event async for event in happenings]
        with pytest.raises(farcast.SessionEnded, match="An operator ended it"):
            await live.ping()
    assert not [event for event in seen_after if isinstance(event, CONNECTION)]
