"""One session: its state, its playout, its viewers and the people who steer it.

starting -> live <-> paused -> stopped; recovering while the engine is started again; failed when it cannot go on.
Everything here runs on the event loop and nothing here waits for the device, a socket or a thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from concurrent.futures import Executor
from math import ceil

from farcast.protocol import Dial, DialChange, Error, SessionRequest, SessionState, Underrun
from farcast.protocol import Session as SessionMessage

from stream.config import ServerConfig
from stream.engine.process import EngineProcess
from stream.engine.protocol import (
    ChunkMade,
    Close,
    DialTaken,
    DropFrom,
    Event,
    ModelFacts,
    Open,
    PlayoutReport,
    Refused,
    Rewind,
    Rewound,
    Saved,
    SessionLost,
    SetDial,
    SetImage,
    SetPaused,
    SetPrompt,
    Superseded,
)
from stream.errors import Conflict
from stream.governor.dial import DialSetting
from stream.metrics import Metrics
from stream.recording import Recordings
from stream.score.log import Score
from stream.types import Mix, Pixels
from stream.video.broadcast import Broadcast
from stream.video.playout import Due, Playout
from stream.video.playout_loop import Player

from .chunk_frames import Frame, chunk_message, frames_of
from .recovery import Recovery
from .replies import Client, Replies

log = logging.getLogger("farcast.session")


def setting(dial: Dial) -> DialSetting:
    return DialSetting(dial.latency_ms, dial.floor, dial.ceiling, dial.steps)


class Session:
    """Made by the manager; `end` and `fail` are final."""

    def __init__(
        self,
        request: SessionRequest,
        *,
        facts: ModelFacts,
        config: ServerConfig,
        engine: EngineProcess,
        executor: Executor,
        metrics: Metrics,
        recordings: Recordings,
        image: Pixels | None = None,
        clip: Pixels | None = None,
        clip_fps: float | None = None,
    ) -> None:
        self.id = secrets.token_urlsafe(9)
        self.token = secrets.token_urlsafe(24)  # steers
        self.view_token = secrets.token_urlsafe(24)  # only lets watch
        self.facts, self.config, self.engine, self.metrics = facts, config, engine, metrics
        self.state: SessionState = "starting"
        self.reason: str | None = None
        self.dial = request.dial
        self.seed = request.seed if request.seed is not None else secrets.randbelow(2**31)
        self.ended_at: float | None = None
        self.viewers = 0  # connected
        self.crashes = 0  # of the engine while it worked for this session
        self.idle_since = time.monotonic()
        self.paused_by_user = False
        self.chunk = self.frame = 0  # on screen
        self.answers = Replies(SetPrompt(self.id, 0, request.prompt))
        guidance = facts.guidance if request.guidance is None else request.guidance
        self.score = Score.opening(facts, request.prompt, self.seed, guidance, setting(self.dial), image, clip)
        capacity = ceil((config.max_lead + 2 * facts.chunk_seconds) * facts.fps)
        self.playout: Playout[Frame] = Playout(facts.fps, min_fps=min(config.min_fps, facts.fps), capacity=capacity)
        self.playout.pause()  # until the first viewer is there, or nobody comes
        self._begin_at = time.monotonic() + config.start_grace
        asyncio.get_running_loop().call_later(config.start_grace + 0.01, self._begin)
        self._player = Player(self.playout, on_frame=self._show, on_underrun=self._underrun)
        self.broadcast = Broadcast(
            facts.width,
            facts.height,
            facts.fps,
            executor,
            repeat=lambda: self.playout.ticks_at(time.monotonic()),
            metrics=metrics,
            background=recordings.encoding,
        )
        self.recording = recordings.begin(self.id, (self.token, self.view_token), self.broadcast)
        opening = Open(self.id, request.prompt, self.seed, setting(self.dial), guidance, image, clip, clip_fps)
        self._resumption = Recovery(opening)
        self._heard = 0  # see Shown
        engine.send(opening)

    # --- what people ask

    @property
    def over(self) -> bool:
        return self.state in ("stopped", "failed")

    @property
    def prompt(self) -> str:
        """The prompt on screen."""
        return self.answers.on_screen.text

    def set_prompt(self, re: str, text: str, transition: int, client: Client, mix: Mix = ()) -> None:
        """`mix` in place of `text`, which then is the mix in words. Answered by prompt_pending now and prompt_applied
        or prompt_rejected later."""
        self.refuse_if_over()
        change = SetPrompt(self.id, self.answers.next_serial(), text, transition, time.monotonic(), mix)
        self.answers.wait_prompt(change, re, client)
        self.engine.send(change)

    def set_dial(self, re: str, change: DialChange, client: Client) -> None:
        """Answered by dial_applied when the engine has it."""
        self.refuse_if_over()
        self.dial = change.merged(self.dial)
        serial = self.answers.next_serial()
        self.answers.wait_dial(serial, self.dial, re, time.monotonic(), client)
        self.engine.send(SetDial(self.id, serial, setting(self.dial)))

    def new_shot(self, pixels: Pixels) -> str:
        """A picture to go on from. Returns the `re` under which it will be answered."""
        self.refuse_if_over()
        change = SetImage(self.id, self.answers.next_serial(), pixels, time.monotonic())
        re = self.answers.wait_shot(change)
        self.engine.send(change)
        return re

    def pause(self, *, reason: str | None = None, by_user: bool = True) -> None:
        """Stop making and showing; idempotent."""
        self.refuse_if_over()
        self.paused_by_user = self.paused_by_user or by_user
        self.playout.pause()
        if by_user and self.recording is not None:
            self.recording.paused()
        self.engine.send(SetPaused(self.id, True))
        self._become("paused", reason)

    def resume(self) -> None:
        """Go on after a pause; idempotent."""
        self.refuse_if_over()
        if self.state != "paused":
            return
        self.paused_by_user = False
        self.idle_since = time.monotonic()
        self._report_shown(self.idle_since)  # the last report is as old as the pause
        self.engine.send(SetPaused(self.id, False))
        self._become(self._state_of_now())
        if self.playout.consumed:
            self.playout.resume()
            self._player.wake()
        else:
            self._begin()

    def rewind(self, re: str, chunk: int, client: Client) -> None:
        """Answered by session when the engine has gone back, or by error."""
        self.refuse_if_over()
        serial = self.answers.next_serial()
        self.answers.wait_rewind(serial, chunk, re, time.monotonic(), client)
        self.engine.send(Rewind(self.id, serial, chunk))

    def end(self, reason: str | None = None) -> None:
        """For good; idempotent. Whoever waits for an answer gets one."""
        if not self.over:
            self._finish("stopped", reason)
            self.engine.send(Close(self.id))

    async def stop(self, reason: str | None = None) -> None:
        """`end`, and wait until nothing of it runs any more."""
        self.end(reason)
        await self._player.close()
        if self.recording is not None:
            await self.recording.end()
        await self.broadcast.close()

    # --- viewers

    def viewer_joined(self) -> None:
        self.viewers += 1
        if self.state == "paused" and not self.paused_by_user:
            self.resume()
        self._begin()

    def viewer_left(self) -> None:
        self.viewers -= 1
        self.idle_since = time.monotonic()

    def status(self, re: str | None = None) -> SessionMessage:
        """The session message of now."""
        return SessionMessage(
            re=re,
            id=self.id,
            state=self.state,
            width=self.facts.width,
            height=self.facts.height,
            fps=self.facts.fps,
            model=self.facts.name,
            prompt=self.prompt,
            seed=self.seed,
            dial=self.dial,
            chunk=self.chunk,
            frame=self.frame,
            viewers=self.viewers,
            reason=self.reason,
        )

    # --- what the engine says

    def heard(self, event: Event) -> None:
        """An event of this session."""
        if self.over:
            return
        self._heard += isinstance(event, ChunkMade | DropFrom | Rewound)
        match event:
            case ChunkMade():
                self._made(event)
            case DialTaken():
                if (dial := self.answers.dial_taken(event)) is not None:
                    self.score.dial(event.chunk, setting(dial))
            case Superseded():
                self.answers.superseded(event.serial)
            case Rewound():
                self._rewound(event)
            case DropFrom():
                gone = self.playout.clear(lambda frame: frame.chunk >= event.chunk)
                self.metrics.dropped_frames.labels("prompt").inc(gone)
                self.score.rewind(event.chunk)
                self._resumption.rewound(event)
                self._report_shown(time.monotonic())
            case Refused():
                self.answers.refused(event)
            case Saved():
                self._resumption.saved = event
            case SessionLost():
                self.fail(event.message, event.code)

    def engine_lost(self) -> None:
        """The engine process is gone; what is made goes on playing."""
        if not self.over and self.state != "paused":
            self._become("recovering", "The engine is being started again.")

    def engine_back(self) -> None:
        """Continue from the last snapshot in the new engine process."""
        if self.over:
            return
        self._heard = 0
        saved = self._resumption.saved
        self.score.resumed(0 if saved is None else saved.chunk)
        for command in self._resumption.commands(self.answers, setting(self.dial)):
            self.engine.send(command)
        self._report_shown(time.monotonic())
        self.answers.engine_restarted()
        if self.state == "paused":
            self.engine.send(SetPaused(self.id, True))
        else:
            self._become(self._state_of_now())

    def fail(self, message: str, code: str = "failed") -> None:
        """The session cannot go on."""
        if not self.over:
            self._finish("failed", message)
            self.answers.send_all(Error(code=code, message=message, fatal=True))

    # --- inside

    def _made(self, made: ChunkMade) -> None:
        if made.cut:
            self.metrics.dropped_frames.labels("prompt").inc(self.playout.clear())
        self.score.made(made)
        frames = frames_of(made, after=self._resumption.newest_frame)
        if not frames:
            return
        dropped = self.playout.push(frames, engine_fps=len(made.frames) / max(made.cycle, 1e-3) if made.chunk else None)
        self._resumption.carries(made)
        self.metrics.chunk_made(made, dropped)
        prompt = self.answers.texts.get(made.prompt_serial, self.answers.on_screen).text
        for message in chunk_message(made, self.facts, self.playout, prompt):
            self.answers.send_all(message)
        self._begin()
        self._player.wake()

    def _rewound(self, event: Rewound) -> None:
        self.playout.clear()
        self.score.rewind(event.chunk)
        self._resumption.rewound(event)
        self._report_shown(time.monotonic())
        self.chunk, self.frame = event.chunk, event.frame
        for change in self.answers.rewinds.up_to(event.serial):
            self.answers.tell(change, self.status(change.re))

    def _begin(self) -> None:
        """The first frame leaves when there is one, and somebody to see it (or nobody comes)."""
        ready = self.state == "starting" and len(self.playout)
        if ready and (self.viewers or time.monotonic() >= self._begin_at):
            self.playout.resume()
            self._player.wake()
            self._become("live")

    def _show(self, due: Due[Frame], now: float) -> None:
        frame = due.item
        self.chunk, self.frame = frame.chunk, frame.index
        if self.recording is not None:
            self.recording.showing(due.ticks)
        self.broadcast.show(frame.pixels, due.ticks)
        self.metrics.frames.inc()
        self.metrics.frame_lateness.observe(self.playout.late)
        if frame.opens is not None:
            latency = self.answers.shown(frame.opens, frame=frame.index, pts=due.seconds, now=now)
            if latency is not None:
                self.metrics.prompt.observe(latency)
        self._report_shown(now)

    def _underrun(self) -> None:
        self.metrics.underruns.inc()
        self.answers.send_all(Underrun(count=self.playout.underruns, frame=self.frame))

    def _report_shown(self, now: float) -> None:
        playout = self.playout
        self.engine.send(PlayoutReport(self.id, self._heard, len(playout), now, playout.rate, playout.consumed > 0))

    def _state_of_now(self) -> SessionState:
        if not self.engine.alive:
            return "recovering"
        return "live" if self.playout.consumed else "starting"

    def _finish(self, state: SessionState, reason: str | None) -> None:
        self.ended_at = time.monotonic()
        self.playout.pause()
        self.playout.clear()
        self.answers.over()
        if self.recording is not None:
            self.recording.end()
        self._become(state, reason)

    def _become(self, state: SessionState, reason: str | None = None) -> None:
        if state != self.state or reason != self.reason:
            log.info("session %s: %s -> %s%s", self.id, self.state, state, f" ({reason})" if reason else "")
            self.state, self.reason = state, reason
            self.answers.send_all(self.status())

    def refuse_if_over(self) -> None:
        """Raises Conflict when the session has ended."""
        if self.over:
            raise Conflict(f"The session is {self.state}. Start a new one.", code=self.state)
