"""The client without `async`: a loop in a thread of its own does the work. For notebooks, scripts and the REPL.

with farcast.sync.connect("http://127.0.0.1:8000", prompt="a green square drifting") as live:
    live.prompt("a blue star spinning on a cream background")
    for frame in live.frames():
        ...
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from . import live as aio
from .errors import SessionEnded
from .events import Event
from .fanout import Reader
from .frames import Frame
from .protocol import DialApplied, ImageApplied, PromptApplied, RenderInfo, Session
from .recorder import Recorder
from .uploads import Picture

T = TypeVar("T")


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


class Live:
    """`farcast.Live`, blocking. Safe to use from one thread at a time."""

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

    def frames(self, *, buffer: int = 32) -> Iterator[Frame]:
        """Decoded frames from now on; `break` when you have enough."""
        return self._iterate(self._call(lambda: self._live.frames(buffer=buffer)))

    def events(self) -> Iterator[Event]:
        return self._iterate(self._call(self._live.events))

    def prompt(
        self, text: str | None = None, *, mix: aio.Mix | None = None, transition: int = 0, timeout: float = 60.0
    ) -> PromptApplied:
        return self._loop.run(self._live.prompt(text, mix=mix, transition=transition, timeout=timeout))

    def dial(self, latency_ms: float | None = None, **change: Any) -> DialApplied:
        return self._loop.run(self._live.dial(latency_ms, **change))

    def image(self, picture: Picture, *, timeout: float = 60.0) -> ImageApplied:
        return self._loop.run(self._live.image(picture, timeout=timeout))

    def pause(self) -> Session:
        return self._loop.run(self._live.pause())

    def resume(self) -> Session:
        return self._loop.run(self._live.resume())

    def rewind(self, chunk: int) -> Session:
        return self._loop.run(self._live.rewind(chunk))

    def stop(self) -> Session:
        return self._loop.run(self._live.stop())

    def ping(self) -> float:
        return self._loop.run(self._live.ping())

    def stats(self) -> aio.Stats:
        return self._loop.run(self._live.stats())

    def score(self) -> dict[str, Any]:
        return self._loop.run(self._live.score())

    def recording(self, path: str | Path) -> Path:
        """Download what the server has recorded of this session so far."""
        return self._loop.run(self._live.recording(path))

    def render(self, path: str | Path | None = None, *, steps: int | None = None) -> RenderInfo:
        """Let the server make the take so far again, and save it. `steps=None`: bit for bit as it was live."""
        return self._loop.run(self._live.render(path, steps=steps))

    @contextmanager
    def record(self, path: str | Path) -> Iterator[Recorder]:
        """Write what is shown to an MP4 while the block runs."""
        recording = self._live.record(path)
        recorder = self._loop.run(recording.__aenter__())
        try:
            yield recorder
        finally:
            self._loop.run(recording.__aexit__(None, None, None))

    def save(self, path: str | Path, *, seconds: float) -> Recorder:
        """Record `seconds` of video into an MP4."""
        return self._loop.run(self._live.save(path, seconds=seconds))

    def _call(self, make: Any) -> Any:
        """Run a plain function on the loop's thread: readers belong to it."""

        async def call() -> Any:
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


@contextmanager
def connect(url: str = "http://127.0.0.1:8000", **options: Any) -> Iterator[Live]:
    """As `farcast.connect`, with the same options."""
    loop = _Loop()
    try:
        session = aio.connect(url, **options)
        live = loop.run(session.__aenter__())
        try:
            yield Live(live, loop)
        finally:
            loop.run(session.__aexit__(None, None, None))
    finally:
        loop.close()
