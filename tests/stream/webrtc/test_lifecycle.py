"""Viewers that vanish, stall, stop reading or never answer: noticed in time, counted, and harmless to the others."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running_server import Running, running, wait_for
from tests.support.timing import slack
from tests.support.whep_peer import SDP, Peer, watching

ROOT = Path(__file__).resolve().parents[3]
NOTICED = 5.0  # seconds
TICK = 0.5  # what a busy machine may add to a measurement

WATCHER = """
import asyncio, sys, time
import farcast

async def main():
    url, session, token = sys.argv[1:]
    async with farcast.connect(url, session=session, token=token) as live:
        async for frame in live.frames():
            print(time.monotonic(), flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def strict() -> Iterator[Running]:
    """A server that does not wait long for a peer to connect; everything else as it is shipped."""
    with running(connect_timeout=3.0, record=False) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        yield run


@pytest.fixture
async def take(strict: Running) -> AsyncIterator[dict[str, Any]]:
    made = await asyncio.to_thread(strict.create)
    yield made
    await asyncio.to_thread(strict.delete, made)


def gone(server: Running, why: str) -> float:
    """How many viewers went for this reason."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    name = f'farcast_viewers_gone_total{{why="{why}"}} '
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


@asynccontextmanager
async def watcher(server: Running, made: dict[str, Any]) -> AsyncIterator[subprocess.Popen[str]]:
    """Our client in a process of its own, watching."""
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", WATCHER, server.url, made["id"], made["token"]],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "client/python")},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(90):
            assert await asyncio.to_thread(process.stdout.readline)
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_process_that_is_killed_or_stops_reading_is_noticed_within_five_seconds(
    strict: Running, take: dict[str, Any], how: signal.Signals
) -> None:
    session = strict.manager.sessions[take["id"]]
    silent = await asyncio.to_thread(gone, strict, "silent")
    async with watching(strict, take) as other, watcher(strict, take) as process:
        await other.frame()
        await asyncio.to_thread(wait_for, lambda: session.viewers == 2, 5 * slack())
        process.send_signal(how)
        began, arrivals = time.monotonic(), []
        while session.viewers == 2:
            assert time.monotonic() - began < NOTICED + TICK * slack(), "not noticed"
            await other.frame()
            arrivals.append(time.monotonic())
        assert len(arrivals) > 16 / slack(), "the other viewer's picture moves on meanwhile"
        assert await asyncio.to_thread(gone, strict, "silent") == silent + 1


@pytest.mark.slow
async def test_who_loses_the_connection_has_the_picture_back_within_two_seconds(
    strict: Running, take: dict[str, Any]
) -> None:
    async with watcher(strict, take) as process:
        (viewer,) = (v for v in strict.app.state.viewers.values() if v.session.id == take["id"])
        cut = time.monotonic()
        asyncio.run_coroutine_threadsafe(viewer.close("failed"), strict.loop).result(10)
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while True:
                came = float(await asyncio.to_thread(process.stdout.readline))
                if came > cut + 0.3:  # what was still in the pipe is no new picture
                    break
        assert came - cut < 2.0 * slack() + TICK


@pytest.mark.slow
async def test_a_peer_that_never_answers_goes_in_time(strict: Running, take: dict[str, Any]) -> None:
    before = await asyncio.to_thread(gone, strict, "no_ice")
    shy = Peer()
    async with httpx.AsyncClient(base_url=strict.url, timeout=10) as http:
        headers = {**SDP, **strict.headers(take)}
        answer = await http.post(take["urls"]["whep"], content=await shy.offer(trickle=True), headers=headers)
        await shy.peer.close()
        assert (await http.get(answer.headers["location"])).status_code == 200
        async with watching(strict, take) as other:
            await frames_for(other, 3.0 + NOTICED / 5)
        assert (await http.get(answer.headers["location"])).status_code == 404
    assert await asyncio.to_thread(gone, strict, "no_ice") == before + 1


@pytest.mark.slow
async def test_a_dtls_handshake_that_stalls_goes_in_time(strict: Running, take: dict[str, Any]) -> None:
    before = await asyncio.to_thread(gone, strict, "no_dtls")
    tasks = len(asyncio.all_tasks(strict.loop))
    stalled = Peer()
    offer = await stalled.offer()
    transport = stalled.transceiver.receiver.transport

    async def nothing(*arguments: object) -> None:
        await asyncio.sleep(30)

    transport.start = nothing  # ICE connects, and then not a byte
    async with httpx.AsyncClient(base_url=strict.url, timeout=10) as http:
        answer = await http.post(take["urls"]["whep"], content=offer, headers={**SDP, **strict.headers(take)})
        await stalled.take(answer)
        async with watching(strict, take) as other:
            await frames_for(other, 3.0 + NOTICED / 5)
        assert (await http.get(answer.headers["location"])).status_code == 404
    assert await asyncio.to_thread(gone, strict, "no_dtls") == before + 1
    await stalled.peer.close()
    await asyncio.to_thread(wait_for, lambda: len(asyncio.all_tasks(strict.loop)) <= tasks, 10, "tasks left behind")


@pytest.mark.slow
async def test_who_waits_for_the_first_frame_is_not_taken_for_gone() -> None:
    with running("fake?step=7", record=False) as server:
        made = await asyncio.to_thread(server.create, dial={"steps": 1})
        async with watching(server, made) as peer:
            session = server.manager.sessions[made["id"]]
            await peer.frame(60)
            assert session.viewers == 1
            assert await asyncio.to_thread(gone, server, "silent") == 0


async def test_who_leaves_is_counted_as_that(strict: Running, take: dict[str, Any]) -> None:
    before = await asyncio.to_thread(gone, strict, "left")
    async with watching(strict, take) as peer:
        await peer.frame()
    assert await asyncio.to_thread(gone, strict, "left") == before + 1


async def test_who_closes_without_a_word_over_http_is_noticed_at_once(strict: Running, take: dict[str, Any]) -> None:
    session = strict.manager.sessions[take["id"]]
    async with watching(strict, take) as peer:
        await peer.frame()
        await peer.peer.close()  # a DTLS alert says it
        await asyncio.to_thread(wait_for, lambda: session.viewers == 0, 2 * slack())
        peer.location = ""


async def frames_for(peer: Peer, seconds: float) -> None:
    """The picture goes on for so long."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        await peer.frame(3.0 * slack())
        count += 1
    assert count > 4 * seconds / slack()
