"""The decoding pool with its real processes: limits, deadlines, deaths, queues."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream.errors import Busy, InvalidRequest, StreamError, TooLarge, Unprocessable
from stream.uploads import pool as pool_module
from stream.uploads.limits import Limits
from stream.uploads.pool import DecodePool
from stream.uploads.worker import Job
from tests.support.media_files import PLAYLISTS, clip, growing_clip, many_scans, picture


@pytest.fixture
async def pool() -> AsyncIterator[DecodePool]:
    made = DecodePool()
    yield made
    await made.close()


async def image(pool: DecodePool, data: bytes) -> Any:
    return await pool.image(io.BytesIO(data), 16, 16)


async def video(pool: DecodePool, data: bytes) -> Any:
    return await pool.clip(io.BytesIO(data), 16, 16, 16.0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_pictures(pool: DecodePool, kind: str) -> None:
    pixels = await image(pool, picture(kind))
    assert pixels.shape == (16, 16, 3)
    assert pixels[8, 8, 0] > 200
    assert pixels.flags.writeable


async def test_clips(pool: DecodePool) -> None:
    for data in (clip(), clip("webm", "libvpx-vp9"), clip("gif", "gif", pix="rgb8"), clip("mp4", "mpeg4")):
        assert (await video(pool, data)).shape[1:] == (16, 16, 3)


@pytest.mark.parametrize("name", list(PLAYLISTS))
async def test_playlists(pool: DecodePool, name: str) -> None:
    with pytest.raises(InvalidRequest, match="MP4"):
        await video(pool, PLAYLISTS[name])


async def test_refusals_are_typed(pool: DecodePool) -> None:
    with pytest.raises(InvalidRequest) as bad:
        await image(pool, b"hello")
    assert bad.value.code == "bad_image"
    with pytest.raises(TooLarge) as large:
        await image(pool, picture("PNG", 9000, 10))
    assert large.value.code == "image_too_large"
    with pytest.raises(InvalidRequest, match="scans"):
        await image(pool, many_scans(500))
    with pytest.raises(InvalidRequest, match="larger than the first"):
        await video(pool, growing_clip())
    for data in (b"", picture()[:60], clip()[:200]):
        with pytest.raises(InvalidRequest):
            await image(pool, data)


def shortened(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    """Other limits, in the server's process and, by a module beside it, in its children."""
    values = {"seconds": 0.5, "cpu_seconds": 20, "memory": 2**31, **limits}
    monkeypatch.setattr(Job, "limits", property(lambda job: Limits(**values)))


async def hold(pool: DecodePool) -> None:
    """A file whose end never comes keeps its child waiting."""
    await pool._decode(Job("image", 16, 16, 2**30), io.BytesIO(b"x" * 1000))


async def test_a_child_is_killed_at_its_deadline(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    await image(pool, picture())
    shortened(monkeypatch)
    with pytest.raises(Unprocessable, match=r"over 0\.5 s"):
        await hold(pool)
    assert pool._process is not None
    for _ in range(100):
        if not children(pool._process.pid):
            break
        await asyncio.sleep(0.05)
    assert not children(pool._process.pid)
    assert (await image(pool, picture())).shape == (16, 16, 3)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_a_child_that_is_killed_is_said_and_replaced(pool: DecodePool) -> None:
    await image(pool, picture())
    assert pool._process is not None
    while children(pool._process.pid):  # the child of the picture above has answered and is about to end
        await asyncio.sleep(0.01)
    job = asyncio.create_task(hold(pool))
    while not (found := children(pool._process.pid)):
        await asyncio.sleep(0.01)
    os.kill(int(found[0]), signal.SIGKILL)
    with pytest.raises(Unprocessable, match="crashed") as caught:
        await job
    assert caught.value.code == "decode_failed"
    assert (await image(pool, picture())).shape == (16, 16, 3)


async def test_a_fork_server_that_is_killed_is_replaced(pool: DecodePool) -> None:
    await image(pool, picture())
    assert pool._process is not None
    pool._process.kill()
    pool._process.wait()
    assert (await image(pool, picture())).shape == (16, 16, 3)


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    shortened(monkeypatch, seconds=2.0)
    pool = DecodePool(processes=1, waiting=1)
    try:
        jobs = [asyncio.create_task(hold(pool)) for _ in range(4)]
        done, _ = await asyncio.wait(jobs, timeout=0.5)
        refused = [job.exception() for job in done]
        assert [type(error) for error in refused] == [Busy, Busy]
        assert all(isinstance(e, StreamError) and e.retry_after for e in refused)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        assert (pool.running, pool.waiting) == (0, 0)
        assert (await image(pool, picture())).shape == (16, 16, 3)
    finally:
        await pool.close()


async def test_nothing_runs_after_idle_and_after_close() -> None:
    pool = DecodePool(idle=0.2)
    await image(pool, picture())
    process = pool._process
    for _ in range(100):
        if pool._process is None:
            break
        await asyncio.sleep(0.02)
    assert process is not None
    assert process.returncode is not None
    await image(pool, picture())  # started again on demand
    process = pool._process
    await pool.close()
    assert process is not None
    assert process.returncode is not None


LIMITED = """
import os, socket
from stream.uploads.limits import IMAGE
IMAGE.apply()
for attempt in (lambda: open("/etc/hostname"), socket.socket, lambda: bytearray(2**31), os.fork):
    try:
        attempt()
        os.write(1, b"did ")
    except (OSError, MemoryError):
        os.write(1, b"refused ")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and RLIMIT_NPROC as Linux has them")
def test_limited_processes_open_nothing(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=root, capture_output=True, text=True, timeout=30, check=True
    )
    # Root may fork whatever RLIMIT_NPROC says.
    assert done.stdout.split()[:3] == ["refused"] * 3


def test_a_child_cannot_have_the_server_allocate_at_will() -> None:
    job = Job("image", 16, 16, 5)
    for shape in ([10**9, 16, 3], [16, 16], "x", None):
        with pytest.raises(ValueError):
            pool_module._shape(job, shape)
    assert pool_module._shape(job, [16, 16, 3]) == (16, 16, 3)
    with pytest.raises(ValueError):
        pool_module._shape(Job("clip", 16, 16, 5, 16.0), [10**9, 16, 16, 3])


def test_secrets_do_not_reach_the_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARCAST_TURN_SECRET", "secret")
    seen: dict[str, Any] = {}

    def popen(*arguments: Any, env: dict[str, str], **more: Any) -> Any:
        seen.update(env)
        return SimpleNamespace(poll=lambda: None, kill=lambda: None, wait=lambda: None)

    monkeypatch.setattr(pool_module.subprocess, "Popen", popen)

    async def start() -> None:
        made = DecodePool()
        made.start()
        made._end()

    asyncio.run(start())
    assert seen
    assert "FARCAST_TURN_SECRET" not in seen
