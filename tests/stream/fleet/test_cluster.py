"""A fleet on a local Ray: sessions outlive their worker, and the directory its process. Loopback, a fake model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench.fleet.local_fleet import OPERATOR, Follower, LocalFleet, fleet

pytest.importorskip("ray", reason="the fleet needs Ray: pip install 'farcast-server[fleet]'")
pytestmark = pytest.mark.slow

ENGINE, MODEL = "tests.support.fake_backend:open_model", "fake?step=0.002"


@pytest.fixture(scope="module")
def running() -> Iterator[LocalFleet]:
    with fleet(3, ENGINE, MODEL, max_sessions=8) as found:
        yield found


@pytest.fixture(autouse=True)
def whole(running: LocalFleet) -> None:
    """Every test begins with all workers that are left."""
    running.wait(2, 30)


def create(running: LocalFleet) -> dict[str, Any]:
    answer = httpx.post(f"{running.url}/v1/sessions", json={"prompt": "a red circle"}, headers=OPERATOR, timeout=20)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def token(created: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {created['token']}"}


def delete(running: LocalFleet, created: dict[str, Any]) -> None:
    httpx.delete(f"{running.url}/v1/sessions/{created['id']}", headers=token(created), timeout=20)


def kept(running: LocalFleet, created: dict[str, Any]) -> bool:
    return any((running.state / "sessions" / created["id"]).glob("snapshot-*"))


def home(running: LocalFleet, created: dict[str, Any]) -> str:
    """The session's address, as the gateway says it now."""
    answer = httpx.get(f"{running.url}/v1/sessions/{created['id']}", headers=token(created), timeout=10)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["urls"]["session"])


def adopt_elsewhere(running: LocalFleet, created: dict[str, Any]) -> httpx.Response:
    """Ask a worker that does not have the session to take it, under the epoch that its first owner had."""
    here = home(running, created)
    stranger = next(one for one in running.overview()["workers"] if not here.startswith(one["url"]))
    url = f"{stranger['url']}/v1/sessions/{created['id']}/adopt?epoch=0"
    return httpx.post(url, headers=OPERATOR, timeout=10)


async def follow(running: LocalFleet, created: dict[str, Any], event: Any, seconds: float) -> tuple[Follower, float]:
    """Watch the session, let `event` happen, and wait for a chunk from another server. Seconds from the event to it."""
    follower = Follower(running.url, created, [])
    watching = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(20):
            while len(follower.chunks) < 3 or not kept(running, created):
                await asyncio.sleep(0.05)
        since = time.monotonic()
        await asyncio.to_thread(event)
        async with asyncio.timeout(seconds):
            while not follower.moves or follower.chunks[-1][0] < follower.moved_at[-1]:
                await asyncio.sleep(0.05)
        assert not follower.lost
        return follower, follower.chunks[-1][0] - since
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def test_sessions_are_spread_evenly_and_answer_at_their_worker(running: LocalFleet) -> None:
    made = [create(running) for _ in range(6)]
    try:
        homes = [one["urls"]["session"].partition("/v1/")[0] for one in made]
        assert sorted(homes.count(home) for home in set(homes)) == [2, 2, 2]
        direct = httpx.get(made[0]["urls"]["session"], headers=token(made[0]))
        assert (direct.status_code, direct.json()["role"]) == (200, "steer")
        for stranger in ({"Authorization": "Bearer token-of-another-fleet"}, token(made[1])):
            assert httpx.get(f"{running.url}/v1/sessions/{made[0]['id']}", headers=stranger).status_code == 401
        refused = httpx.post(f"{running.url}/v1/sessions", json={"prompt": "x"},
            headers={"Authorization": "Bearer key-of-another-fleet"})  # fmt: skip
        assert (refused.status_code, refused.json()["code"]) == (401, "no_key")
    finally:
        for one in made:
            delete(running, one)


async def test_a_killed_worker_loses_no_session(running: LocalFleet) -> None:
    created = create(running)
    worker = running.worker_at(created["urls"]["session"])
    follower, seconds = await follow(running, created, lambda: os.kill(worker["pid"], signal.SIGKILL), 30)
    before = max(index for at, index in follower.chunks if at < follower.moved_at[0])
    after = follower.chunks[-1][1]
    assert after >= before - 1, "it goes on from its last snapshot, not from the beginning"
    print(f"from kill -9 to the next chunk: {seconds:.2f} s")
    stale = adopt_elsewhere(running, created)
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_epoch")
    delete(running, created)


async def test_the_directory_is_killed_and_learns_everything_again(running: LocalFleet) -> None:
    created = create(running)
    directory = running.overview()["pid"]
    os.kill(directory, signal.SIGKILL)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
            if running.overview()["pid"] != directory:
                break
        await asyncio.sleep(0.2)
    running.wait(3, 30)
    assert home(running, created) == created["urls"]["session"], "nothing moved"
    delete(running, created)


async def test_a_drained_worker_hands_its_sessions_over(running: LocalFleet) -> None:
    created = create(running)
    worker = running.worker_at(created["urls"]["session"])
    _, seconds = await follow(running, created, lambda: running.drain(worker["id"]), 30)
    print(f"from drain to the next chunk: {seconds:.2f} s")
    assert worker["id"] not in [one["id"] for one in running.overview()["workers"]]
    assert running.drain("nobody").status_code == 404
    delete(running, created)
