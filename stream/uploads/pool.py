"""Decoding of uploads, as the server sees it: hand a file over, wait for pixels or a typed error, never longer than the
deadline.

Nothing of an upload is parsed in the server's process. A bounded number of children decode at a time, a bounded number
of uploads wait for them, and what comes after those is refused (Busy). The fork server is started on demand and ended
when it has been idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import numpy as np

from stream.errors import Busy, InvalidRequest, StreamError, TooLarge, Unprocessable
from stream.types import Pixels
from stream.uploads.limits import CLIP_SECONDS, MESSAGE_BYTES
from stream.uploads.worker import Job

log = logging.getLogger("farcast.uploads")

BLOCK = 256 * 1024  # bytes read of a file at a time
QUEUE_SECONDS = 15.0  # the longest that an upload waits for a free child
END_SECONDS = 2.0  # that the fork server has to end its children
INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # of the environment; the rest may hold secrets


class DecodePool:
    """`processes` children at a time, `waiting` uploads that wait for one, fork server ended after `idle` seconds."""

    def __init__(self, processes: int = 2, waiting: int = 8, idle: float = 600.0) -> None:
        self.max_waiting, self.idle = waiting, idle
        self.waiting = self.running = 0
        self._free = asyncio.Semaphore(processes)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    async def image(self, file: IO[bytes], width: int, height: int) -> Pixels:
        """A picture to uint8 (height, width, 3). Raises Busy, InvalidRequest, TooLarge, Unprocessable."""
        return await self._decode(Job("image", width, height, _size(file)), file)

    async def clip(self, file: IO[bytes], width: int, height: int, fps: float) -> Pixels:
        """A clip's end at `fps` to uint8 (frames, height, width, 3). Raises as `image` does."""
        return await self._decode(Job("clip", width, height, _size(file), fps), file)

    def start(self) -> None:
        """Have the fork server running. An upload that is being received calls this, so that it need not wait later."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = asyncio.get_running_loop().call_later(self.idle, self._end_if_idle)
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment["OPENBLAS_NUM_THREADS"] = environment["OMP_NUM_THREADS"] = "1"  # a process with threads cannot fork
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "stream.uploads.fork_server"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                process_group=0,  # Ctrl-C is for the server, which then closes the control socket
            )
        self._control = ours

    async def close(self) -> None:
        """End the fork server and its children."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._process is None or self._control is None:
            return
        self._control.close()
        for _ in range(round(END_SECONDS / 0.01)):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        self._end()

    async def _decode(self, job: Job, file: IO[bytes]) -> Pixels:
        if job.size == 0:
            raise _refusal(job, "", "the file is empty; send a picture or a clip")
        async with self._place():
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with ours:
                with theirs:
                    self._hand_over(theirs)
                try:
                    async with asyncio.timeout(job.limits.seconds):
                        return await _exchange(ours, job, file)
                except TimeoutError:
                    log.warning("a %s of %d bytes was not decoded in %g s", job.kind, job.size, job.limits.seconds)
                    reason = f"decoding it takes over {job.limits.seconds:g} s"
                except (OSError, EOFError, ValueError) as error:
                    log.warning("the decoder of a %s of %d bytes died (%r)", job.kind, job.size, error)
                    reason = "the decoder needed too much time or memory, or crashed over it"
        raise Unprocessable(
            f"The {job.kind} cannot be decoded: {reason}. Save it again, smaller or in another format.",
            code="decode_failed",
        )

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        busy = Busy("Too many uploads are being decoded. Try again in a moment.", code="decoders_busy", retry_after=3)
        if self._free.locked() and self.waiting >= self.max_waiting:
            raise busy
        self.waiting += 1
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise busy from None
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()

    def _hand_over(self, channel: socket.socket) -> None:
        """The child's end of a job's channel to the fork server; a new one where the old one has died."""
        for _ in range(2):
            self.start()
            assert self._control is not None
            try:
                socket.send_fds(self._control, [b"+"], [channel.fileno()])
                return
            except OSError:
                self._end()
        raise Busy("The decoder cannot be started. Try again in a moment.", code="decoders_busy", retry_after=5)

    def _end_if_idle(self) -> None:
        if self.running or self.waiting:
            self.start()
        else:
            self._end()

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _size(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)


async def _exchange(channel: socket.socket, job: Job, file: IO[bytes]) -> Pixels:
    """Raises StreamError for what the file does wrong; OSError, EOFError or ValueError for a child that failed."""
    loop = asyncio.get_running_loop()
    file.seek(0)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what it said before it died is read below
        await loop.sock_sendall(channel, job.line())
        while block := file.read(BLOCK):
            await loop.sock_sendall(channel, block)
    head = b""
    while b"\n" not in head:
        part = await loop.sock_recv(channel, MESSAGE_BYTES)
        if not part or len(head) > MESSAGE_BYTES:
            raise EOFError
        head += part
    line, _, begun = head.partition(b"\n")
    header = json.loads(line)
    if not isinstance(header, dict):
        raise ValueError("no object")
    if "shape" not in header:
        raise _refusal(job, str(header.get("code")), str(header.get("message"))[:500])
    pixels = np.empty(_shape(job, header["shape"]), np.uint8)
    view = memoryview(pixels.data).cast("B")
    view[: len(begun)] = begun
    filled = len(begun)
    while filled < len(view):
        count = await loop.sock_recv_into(channel, view[filled:])
        if not count:
            raise EOFError
        filled += count
    return pixels


def _shape(job: Job, shape: object) -> tuple[int, ...]:
    """The answer's shape, checked: a child that was taken over by a file must not have the server allocate at will."""
    frame = job.height, job.width, 3
    match shape:
        case [int(height), int(width), 3] if job.kind == "image" and (height, width, 3) == frame:
            return frame
        case [int(count), int(height), int(width), 3] if job.kind == "clip" and (height, width, 3) == frame:
            if 1 <= count <= CLIP_SECONDS * job.fps + 1:
                return (count, *frame)
    raise ValueError(f"shape {shape}")


def _refusal(job: Job, code: str, message: str) -> StreamError:
    text = message[:1].upper() + message[1:] + "."
    if code in ("image_too_large", "clip_too_large"):
        return TooLarge(text, code="image_too_large" if job.kind == "image" else "clip_too_large")
    return InvalidRequest(text, code="bad_image" if job.kind == "image" else "bad_clip")
