"""A live session: frames and events out, prompts and the dial in."""

from __future__ import annotations

import asyncio
import contextlib
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
from .fanout import Fanout, Reader
from .frames import Frame
from .protocol import (
    Dial,
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
    SessionRequest,
    SetDial,
    Stop,
)
from .protocol.parse import checked
from .recorder import Recorder
from .renders import follow, writable
from .uploads import Picture, encoded, read
from .whep import MediaStats, Player

_FRAMES = 32  # frames kept for a slow reader: two seconds at 16 fps
_RECORD = 128  # and for a recorder, whose disk may pause
_EVENTS = 256
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
        self, api: Api, info: SessionInfo, *, media: bool, patience: float, ice_servers: Sequence[RTCIceServer]
    ) -> None:
        self.info = info
        self._api = api
        self._frames: Fanout[Frame] = Fanout()
        self._events: Fanout[Event] = Fanout()
        self._chunk: events.Chunk | None = None
        self._underruns = self._missed = 0
        control = websocket_url(api.absolute(info.urls.control))
        self._control = Control(control, api.headers, emit=self._on_event, patience=patience)
        self._player: Player | None = None
        if media:
            self._player = Player(
                api, info.urls.whep, emit_frame=self._frames.put, emit=self._on_event, live=self._is_live,
                ice_servers=ice_servers, patience=patience,
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
        """The server's newest word on the session: state, prompt, dial, chunk, frame, viewers."""
        assert self._control.session is not None, "open() waits for it"
        return self._control.session

    # -- out ---------------------------------------------------------------------------------------------------

    def frames(self, *, buffer: int = _FRAMES) -> Reader[Frame]:
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

    async def save(self, path: str | Path, *, seconds: float) -> Recorder:
        """Record `seconds` of video into `path`; ends early with the session."""
        async with self.record(path) as recorder:
            until = time.monotonic() + seconds
            async for _ in self.frames():
                if time.monotonic() >= until:
                    break
        return recorder

    # -- in ----------------------------------------------------------------------------------------------------

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
        except SessionEnded as ended:  # the news that it is stopped may be sooner than the answer
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

    async def recording(self, path: str | Path) -> Path:
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

    # -- life --------------------------------------------------------------------------------------------------

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
        over = self._control.ended.done()
        await self._control.close()
        self._end(None)
        if delete and not over:
            with contextlib.suppress(FarcastError):  # gone already, or the server with it
                await self._api.delete(self.info.urls.session)

    async def _watch_over(self) -> None:
        """End the readers when the session or the video is over for good."""
        waiting: set[asyncio.Future[FarcastError]] = {self._control.ended}
        if self._player is not None:
            waiting.add(self._player.failed)
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        error = self._control.ended.result() if self._control.ended in done else next(iter(done)).result()
        if self._control.ended in done and self._player is not None:
            await self._player.close()
        # A session that was stopped ends its readers; anything else is an error they should hear of.
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


@asynccontextmanager
async def connect(
    url: str = "http://127.0.0.1:8000",
    *,
    prompt: str | None = None,
    image: Picture | None = None,
    clip: str | Path | bytes | None = None,
    seed: int | None = None,
    dial: Dial | None = None,
    guidance: float | None = None,
    session: str | None = None,
    token: str | None = None,
    key: str | None = None,
    media: bool = True,
    keep: bool = False,
    patience: float = 30.0,
    ice_servers: Sequence[RTCIceServer] = (),
) -> AsyncIterator[Live]:
    """Start a session from `prompt` (and an image or a clip), or join one by `session` and `token`.

    media=False: control only. keep=True: the session goes on when the block ends; a joined one always does.
    patience: seconds to keep trying when the connection is lost. Raises ConnectionFailed when nothing answers,
    RequestRefused when the server says no (full, bad image ...), ProtocolError for impossible arguments.
    """
    if (prompt is None) == (session is None):
        raise FarcastError("Give either prompt=... to start a session, or session=... and token=... to join one.")
    if image is not None and clip is not None:
        raise FarcastError("Give an image or a clip to start from, not both.")
    async with Api(url, token=token, key=key) as api:
        if session is not None:
            info = await api.info(session)
        else:
            given = {"prompt": prompt, "seed": seed, "dial": dial or Dial(), "guidance": guidance}
            request = checked(SessionRequest, **given)
            picture = None if image is None else await asyncio.to_thread(encoded, image)
            video = None if clip is None else clip if isinstance(clip, bytes) else await asyncio.to_thread(read, clip)
            info = await api.create(request, image=picture, clip=video)
        live = Live(api, info, media=media, patience=patience, ice_servers=ice_servers)
        try:
            await live.open()
            yield live
        finally:
            await live.close(delete=session is None and not keep)


def _expect(kind: type[Answer], message: ServerMessage) -> Answer:
    if not isinstance(message, kind):
        raise ProtocolError(f"The server answered {message.type!r} where {kind.__name__} was expected.")
    return message
