"""The client without `async`: an event loop in a thread runs the coroutines. For notebooks, scripts, the REPL.

with farcast.sync.connect("http://127.0.0.1:8000", prompt="a green square drifting") as live:
    live.prompt("a blue star spinning on a cream background")
    for frame in live.frames():
        ...

Every method has the parameters and the types of the one in `farcast.Live` that it calls.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from . import client
from . import live as aio
from .errors import SessionEnded
from .events import Event
from .media.fanout import Reader
from .media.frames import Frame
from .media.recorder import Recorder
from .protocol import Session

T = TypeVar("T")
P = ParamSpec("P")


class _Loop:
    """An event loop that runs in a daemon thread until closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="farcast", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise SessionEnded("The connection was closed.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C in a notebook must not leave the work running
            future.cancel()
            raise

    def close(self) -> None:
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


def _blocking(method: Callable[Concatenate[aio.Live, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Live, P], T]:
    """A method of `Live` that waits for this coroutine method of `farcast.Live`."""

    def call(self: Live, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._live, *args, **kwargs))

    functools.update_wrapper(call, method)
    return call


class Live:
    """`farcast.Live`, blocking. Use it from one thread at a time."""

    def __init__(self, live: aio.Live, loop: _Loop) -> None:
        self._live, self._loop = live, loop

    @property
    def id(self) -> str:
        return self._live.id

    @property
    def token(self) -> str | None:
        return self._live.token

    @property
    def session(self) -> Session:
        return self._live.session

    prompt = _blocking(aio.Live.prompt)
    dial = _blocking(aio.Live.dial)
    image = _blocking(aio.Live.image)
    pause = _blocking(aio.Live.pause)
    resume = _blocking(aio.Live.resume)
    rewind = _blocking(aio.Live.rewind)
    stop = _blocking(aio.Live.stop)
    ping = _blocking(aio.Live.ping)
    stats = _blocking(aio.Live.stats)
    score = _blocking(aio.Live.score)
    render = _blocking(aio.Live.render)
    record_for = _blocking(aio.Live.record_for)
    download_recording = _blocking(aio.Live.download_recording)

    def frames(self, *, buffer: int = aio.FRAMES) -> Iterator[Frame]:
        """Decoded frames from now on; `break` when you have enough."""
        return self._iterate(self._call(lambda: self._live.frames(buffer=buffer)))

    def events(self) -> Iterator[Event]:
        """Everything that happens from now on, as typed events."""
        return self._iterate(self._call(self._live.events))

    @contextmanager
    def record(self, path: str | Path) -> Iterator[Recorder]:
        """Write what is shown to an MP4 while the block runs."""
        recording = self._live.record(path)
        recorder = self._loop.run(_enter(recording))
        try:
            yield recorder
        finally:
            self._loop.run(_leave(recording))

    def _call(self, make: Callable[[], T]) -> T:
        """Run a plain function on the loop's thread: readers belong to it."""

        async def call() -> T:
            return make()

        return self._loop.run(call())

    def _iterate(self, reader: Reader[T]) -> Iterator[T]:
        async def following() -> tuple[T] | None:
            try:
                return (await reader.get(),)
            except StopAsyncIteration:
                return None

        try:
            while (item := self._loop.run(following())) is not None:
                yield item[0]
        finally:
            with suppress(SessionEnded):  # the connection is closed already, and the reader with it
                self._call(reader.close)


def _connecting(
    connect: Callable[P, AbstractAsyncContextManager[aio.Live]],
) -> Callable[P, AbstractContextManager[Live]]:
    """The blocking form of `farcast.connect`."""

    @contextmanager
    @functools.wraps(connect)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> Iterator[Live]:
        loop = _Loop()
        try:
            session = connect(*args, **kwargs)
            live = loop.run(_enter(session))
            try:
                yield Live(live, loop)
            finally:
                loop.run(_leave(session))
        finally:
            loop.close()

    return blocking


async def _enter(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _leave(context: AbstractAsyncContextManager[Any]) -> None:
    await context.__aexit__(None, None, None)


connect = _connecting(client.connect)
