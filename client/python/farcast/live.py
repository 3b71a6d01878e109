"""`Live`, one session: frames and events out, prompts and the dial in. `client.connect` makes it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiortc import RTCIceServer
from pydantic import BaseModel

from . import events
from .api import Api, websocket_url
from .control import Control
from .errors import FarcastError, ProtocolError, RenderFailed, RequestRefused, SessionEnded
from .events import Event
from .media.fanout import Fanout, Reader
from .media.frames import Frame
from .media.recorder import Recorder
from .media.whep import MediaStats, Player
from .protocol import (
    DialApplied,
    ImageApplied,
    Pause,
    Ping,
    Pong,
    Prompt,
    PromptApplied,
    RenderInfo,
    Resume,
    Rewind,
    ServerMessage,
    Session,
    SessionInfo,
    SetDial,
    Stop,
)
from .protocol.parse import checked
from .renders import follow, writable
from .uploads import Picture, encoded

FRAMES = 32  # frames kept for a slow reader: two seconds at 16 fps
_RECORD = 128  # and for a recorder, whose disk may pause
_EVENTS = 256
log = logging.getLogger(__name__)
_GONE = (404, 409, 410)  # no such session any more
_KEEP: Any = object()
Answer = TypeVar("Answer", bound=BaseModel)
Mix = Mapping[str, float] | Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Stats:
    """media: what arrived. chunk: the newest `Chunk` event. dropped: frames lost to slow readers here."""

    media: MediaStats | None
    chunk: events.Chunk | None
    dropped: int
    underruns: int
    deadlines_missed: int


class Live:
    """One session, as `farcast.connect` gives it. All coroutines belong to the loop it was made on."""

    def __init__(
        self,
        api: Api,
        info: SessionInfo,
        *,
        media: bool,
        reconnect_timeout: float,
        ice_servers: Sequence[RTCIceServer],
    ) -> None:
        self.info = info
        self._api = api
        self._frames: Fanout[Frame] = Fanout()
        self._events: Fanout[Event] = Fanout()
        self._chunk: events.Chunk | None = None
        self._underruns = self._missed = 0
        control = websocket_url(api.absolute(info.urls.control))
        self._control = Control(control, api, emit=self._on_event, reconnect_timeout=reconnect_timeout)
        self._player: Player | None = None
        if media:
            self._player = Player(
                api, info.urls.whep, emit_frame=self._frames.put, emit=self._on_event, live=self._is_live,
                ice_servers=ice_servers, reconnect_timeout=reconnect_timeout,
            )  # fmt: skip
        self._guard: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def token(self) -> str | None:
        """What another client needs to join: `connect(url, session=live.id, token=live.token)`."""
        return self._api.token

    @property
    def session(self) -> Session:
        """The newest `session` message of the server: state, prompt, dial, chunk, frame, viewers."""
        assert self._control.session is not None, "open() waits for it"
        return self._control.session

    # -- what the server sends ---------------------------------------------------------------------------------

    def frames(self, *, buffer: int = FRAMES) -> Reader[Frame]:
        """Decoded frames from now on: `async for frame in live.frames()`. A reader slower than the stream loses the
        oldest of `buffer` frames. Ends with the session; raises MediaFailed or ConnectionFailed when it is lost."""
        if self._player is None:
            raise FarcastError("This connection was made with media=False. Connect with media=True to get frames.")
        return self._frames.reader(buffer)

    def events(self) -> Reader[Event]:
        """Everything that happens from now on, as typed events."""
        return self._events.reader(_EVENTS)

    async def stats(self) -> Stats:
        media = await self._player.measured() if self._player is not None else None
        return Stats(media, self._chunk, self._frames.dropped, self._underruns, self._missed)

    @asynccontextmanager
    async def record(self, path: str | Path) -> AsyncIterator[Recorder]:
        """Write what is shown to an MP4 while the block runs: `async with live.record("out.mp4"): ...`."""
        reader = self.frames(buffer=_RECORD)
        recorder = await asyncio.to_thread(Recorder, path, fps=self.info.fps)

        async def write() -> None:
            async for frame in reader:
                await asyncio.to_thread(recorder.write, frame)

        task = asyncio.create_task(write(), name="farcast-record")
        try:
            yield recorder
        finally:
            reader.end(None)  # what is queued is still written
            results = await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(recorder.close)
            reader.close()
        if isinstance(results[0], FarcastError):
            raise results[0]

    async def record_for(self, path: str | Path, *, seconds: float) -> Recorder:
        """Record `seconds` of video into `path`; ends early with the session."""
        async with self.record(path) as recorder:
            until = time.monotonic() + seconds
            async for _ in self.frames():
                if time.monotonic() >= until:
                    break
        return recorder

    # -- commands ----------------------------------------------------------------------------------------------

    async def prompt(
        self, text: str | None = None, *, mix: Mix | None = None, transition: int = 0, timeout: float = 60.0
    ) -> PromptApplied:
        """Show this from the next chunk on; returns when it is on screen. `transition`: chunks to blend over.

        `mix` in place of `text`: up to four prompts at once with their weights, {"a fox": 0.7, "a wolf": 0.3} or pairs.
        Raises PromptRejected (`code == "superseded"`: a newer one replaced it), ProtocolError for an impossible
        text."""
        pairs = None if mix is None else [*(mix.items() if isinstance(mix, Mapping) else mix)]
        message = checked(Prompt, id=self._control.new_id(), text=text, mix=pairs, transition=transition)
        return _expect(PromptApplied, await self._control.ask(message, timeout=timeout))

    async def dial(
        self,
        latency_ms: float | None = None,
        *,
        floor: int | None = None,
        ceiling: int | None = None,
        steps: int | None = _KEEP,
        timeout: float = 30.0,
    ) -> DialApplied:
        """Move the dial; what is left out stays. `steps=None` hands the budget back to the governor."""
        given = {"latency_ms": latency_ms, "floor": floor, "ceiling": ceiling}
        change: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if steps is not _KEEP:
            change["steps"] = steps
        message = checked(SetDial, id=self._control.new_id(), **change)
        return _expect(DialApplied, await self._control.ask(message, timeout=timeout))

    async def image(self, picture: Picture, *, timeout: float = 60.0) -> ImageApplied:
        """A new shot from this picture (file, bytes, PIL image or array); returns when it is on screen."""
        data = await asyncio.to_thread(encoded, picture)
        re = await self._api.image(self.info.urls.image, data)
        return _expect(ImageApplied, await self._control.answer_to(re, timeout=timeout))

    async def pause(self, *, timeout: float = 30.0) -> Session:
        """Stop making and showing frames; the context stays."""
        return await self._state(Pause(id=self._control.new_id()), timeout)

    async def resume(self, *, timeout: float = 30.0) -> Session:
        return await self._state(Resume(id=self._control.new_id()), timeout)

    async def rewind(self, chunk: int, *, timeout: float = 30.0) -> Session:
        """Forget everything from `chunk` on and go on from there."""
        return await self._state(checked(Rewind, id=self._control.new_id(), chunk=chunk), timeout)

    async def stop(self, *, timeout: float = 30.0) -> Session:
        """End the session for everybody."""
        try:
            return await self._state(Stop(id=self._control.new_id()), timeout)
        except SessionEnded as ended:  # the `session` message may come before the answer
            if ended.code != "stopped":
                raise
            return self.session

    async def ping(self, *, timeout: float = 10.0) -> float:
        """Seconds to the server and back."""
        sent = time.monotonic()
        _expect(Pong, await self._control.ask(Ping(id=self._control.new_id(), t=sent), timeout=timeout))
        return time.monotonic() - sent

    async def score(self) -> dict[str, Any]:
        """The log of everything that decides this session's pixels, as `farcast render` takes it."""
        return await self._api.score(self.info.urls.score)

    async def download_recording(self, path: str | Path) -> Path:
        """Download what the server has recorded of this session so far, as an MP4. Returns the file's place.

        Raises RequestRefused where the server keeps no recordings; `record` then still writes what is seen here."""
        place = writable(path)
        if self.info.urls.recording is None:
            raise RequestRefused("This server keeps no recordings. Use `live.record(path)` instead.", code="off")
        await self._api.download(self.info.urls.recording, place)
        return place

    async def render(
        self,
        path: str | Path | None = None,
        *,
        steps: int | None = None,
        progress: Callable[[RenderInfo], None] | None = None,
        poll: float = 0.5,
    ) -> RenderInfo:
        """Let the server make the take so far again, and save it as `path`. `steps`: so many for every chunk, None = as
        it was live, bit for bit. Cancelled, it cancels the render on the server too.

        Raises RequestRefused (nothing made yet, queue full, too long ...), RenderFailed."""
        if self.info.urls.renders is None:
            raise RenderFailed("This server renders no takes. Save the score and use `farcast render`.", code="off")
        place = None if path is None else writable(path)
        return await follow(self._api, self.info.urls.renders, place, steps=steps, progress=progress, poll=poll)

    # -- open and close ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._control.start()
        if self._player is not None:
            self._player.start()
        self._guard = asyncio.create_task(self._watch_over(), name="farcast-guard")

    async def close(self, *, delete: bool) -> None:
        """Leave; `delete` ends the session on the server too."""
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
        if self._player is not None:
            await self._player.close()
        if delete and not self._control.ended.done():
            await self._end_session()
        await self._control.close()
        self._end(None)

    async def _end_session(self) -> None:
        """End the session on the server; where a proxy refuses DELETE, with a `stop` on the control socket."""
        try:
            await self._api.delete(self.info.urls.session)
        except RequestRefused as error:
            if error.status in _GONE:
                return
            try:
                await self.stop(timeout=3.0)
            except FarcastError as failure:
                log.warning("session %s could not be ended: %s %s", self.id, error.message, failure.message)
        except FarcastError as error:  # the server is gone; if it comes back, it ends sessions nobody watches
            log.debug("session %s: %s", self.id, error)

    async def _watch_over(self) -> None:
        """End the readers when the session or the video is over for good."""
        waiting: set[asyncio.Future[FarcastError]] = {self._control.ended}
        if self._player is not None:
            waiting.add(self._player.failed)
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        error = self._control.ended.result() if self._control.ended in done else next(iter(done)).result()
        if self._control.ended in done and self._player is not None:
            await self._player.close()
        # A stopped session ends its readers without an error; any other end is raised in them.
        self._end(None if isinstance(error, SessionEnded) and error.code == "stopped" else error)

    def _end(self, error: FarcastError | None) -> None:
        self._frames.end(error)
        self._events.end(error)

    def _is_live(self) -> bool:
        session = self._control.session
        return session is not None and session.state == "live"

    def _on_event(self, event: Event) -> None:
        if isinstance(event, events.Chunk):
            self._chunk = event
        elif isinstance(event, events.Underrun):
            self._underruns = event.count
        elif isinstance(event, events.DeadlineMissed):
            self._missed += 1
        self._events.put(event)

    async def _state(self, message: Pause | Resume | Rewind | Stop, timeout: float) -> Session:
        return _expect(Session, await self._control.ask(message, timeout=timeout))


def _expect(kind: type[Answer], message: ServerMessage) -> Answer:
    if not isinstance(message, kind):
        raise ProtocolError(f"The server answered {message.type!r} where {kind.__name__} was expected.")
    return message
