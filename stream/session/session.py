"""One session: its state, its playout, its viewers and the people who steer it.

starting -> live <-> paused -> stopped; recovering while the engine is started again; failed when it cannot go on.
Everything here runs on the event loop and nothing here waits for the device, a socket or a thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

from farcast.protocol import DialChange, Error, SessionRequest, SessionState, Underrun
from farcast.protocol import Session as SessionMessage

from stream.engine.protocol import Close, Event, Open, Rewound, SetPaused, SetPrompt
from stream.errors import Conflict
from stream.score.log import Score
from stream.types import Mix, Pixels
from stream.video.playout import Due

from .chunk_frames import Frame
from .context import ServerContext
from .engine_link import EngineLink, governor_dial
from .output import Output
from .replies import Client, Replies

log = logging.getLogger("farcast.session")


class Session:
    """Made by the manager; `end` and `fail` are final. `clip_fps`: of the clip's frames."""

    def __init__(
        self,
        request: SessionRequest,
        context: ServerContext,
        *,
        image: Pixels | None = None,
        clip: Pixels | None = None,
        clip_fps: float | None = None,
    ) -> None:
        self.id = secrets.token_urlsafe(9)
        self.token = secrets.token_urlsafe(24)  # steers
        self.view_token = secrets.token_urlsafe(24)  # only lets watch
        facts, config = context.facts, context.config
        self.facts, self.metrics = facts, context.metrics
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
        self.replies = Replies(SetPrompt(self.id, 0, request.prompt))
        guidance = facts.guidance if request.guidance is None else request.guidance
        self.score = Score.opening(facts, request.prompt, self.seed, guidance, governor_dial(self.dial), image, clip)
        tokens = (self.token, self.view_token)
        self._output = Output(context, self.id, tokens, on_frame=self._show, on_underrun=self._underrun)
        self.playout, self.broadcast = self._output.playout, self._output.broadcast
        self.recording = self._output.recording
        # The first frame leaves when the first viewer is there, or nobody has come for so long.
        self._begin_at = time.monotonic() + config.start_grace
        self._begin_timer = asyncio.get_running_loop().call_later(config.start_grace + 0.01, self.begin_if_ready)
        opening = Open(self.id, request.prompt, self.seed, governor_dial(self.dial), guidance, image, clip, clip_fps)
        self._link = EngineLink(context, opening, self.score, self._output, self.replies, self)

    # --- commands

    @property
    def over(self) -> bool:
        return self.state in ("stopped", "failed")

    @property
    def prompt(self) -> str:
        """The prompt on screen."""
        return self.replies.on_screen.text

    def set_prompt(self, re: str, text: str, transition: int, client: Client, mix: Mix = ()) -> None:
        """`mix` in place of `text`, which then is the mix in words. Answered by prompt_pending now and prompt_applied
        or prompt_rejected later."""
        self._refuse_if_over()
        self._link.set_prompt(re, text, transition, client, mix)

    def set_dial(self, re: str, change: DialChange, client: Client) -> None:
        """Answered by dial_applied when the engine has it."""
        self._refuse_if_over()
        self.dial = change.merged(self.dial)
        self._link.set_dial(re, self.dial, client)

    def set_image(self, pixels: Pixels) -> str:
        """A picture to go on from. Returns the `re` under which it will be answered."""
        self._refuse_if_over()
        return self._link.set_image(pixels)

    def pause(self, *, reason: str | None = None, by_user: bool = True) -> None:
        """Stop making and showing; idempotent."""
        self._refuse_if_over()
        self.paused_by_user = self.paused_by_user or by_user
        self._output.pause(by_user=by_user)
        self._link.send(SetPaused(self.id, True))
        self._become("paused", reason)

    def resume(self) -> None:
        """Go on after a pause; idempotent."""
        self._refuse_if_over()
        if self.state != "paused":
            return
        self.paused_by_user = False
        self.idle_since = time.monotonic()
        self._link.report(self.idle_since)  # the last report is as old as the pause
        self._link.send(SetPaused(self.id, False))
        self._become(self._state_of_now())
        if self.playout.consumed:
            self._output.resume()
        else:
            self.begin_if_ready()

    def rewind(self, re: str, chunk: int, client: Client) -> None:
        """Answered by session when the engine has gone back, or by error."""
        self._refuse_if_over()
        self._link.rewind(re, chunk, client)

    def end(self, reason: str | None = None) -> None:
        """For good; idempotent. Whoever waits for an answer gets one."""
        if not self.over:
            self._finish("stopped", reason)
            self._link.send(Close(self.id))

    async def stop(self, reason: str | None = None) -> None:
        """`end`, and wait until nothing of it runs any more."""
        self.end(reason)
        await self._output.close()

    # --- viewers

    def viewer_joined(self) -> None:
        self.viewers += 1
        if self.state == "paused" and not self.paused_by_user:
            self.resume()
        self.begin_if_ready()

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

    # --- engine

    def on_event(self, event: Event) -> None:
        """An event of this session from the engine process."""
        if not self.over:
            self._link.on_event(event)

    def begin_if_ready(self) -> None:
        """The first frame leaves when there is one, and somebody to see it (or nobody comes)."""
        ready = self.state == "starting" and len(self.playout)
        if ready and (self.viewers or time.monotonic() >= self._begin_at):
            self._output.resume()
            self._become("live")

    def on_rewound(self, event: Rewound) -> None:
        """Every rewind up to this one is done."""
        self.chunk, self.frame = event.chunk, event.frame
        for change in self.replies.rewinds.up_to(event.serial):
            self.replies.send_to(change, self.status(change.re))

    def engine_lost(self) -> None:
        """The engine process has ended; the frames in the queue go on playing."""
        if not self.over and self.state != "paused":
            self._become("recovering", "The engine is being started again.")

    def engine_restarted(self) -> None:
        """Continue from the last snapshot in the new engine process."""
        if self.over:
            return
        self._link.restarted(governor_dial(self.dial))
        self.replies.engine_restarted()
        if self.state == "paused":
            self._link.send(SetPaused(self.id, True))
        else:
            self._become(self._state_of_now())

    def fail(self, message: str, code: str = "failed") -> None:
        """The session cannot go on."""
        if not self.over:
            self._finish("failed", message)
            self.replies.send_all(Error(code=code, message=message, fatal=True))

    # --- inside

    def _show(self, due: Due[Frame], now: float) -> None:
        frame = due.item
        self.chunk, self.frame = frame.chunk, frame.index
        self._output.show(due)
        if frame.opens is not None:
            latency = self.replies.shown(frame.opens, frame=frame.index, pts=due.seconds, now=now)
            if latency is not None:
                self.metrics.prompt.observe(latency)
        self._link.report(now)

    def _underrun(self) -> None:
        self.metrics.underruns.inc()
        self.replies.send_all(Underrun(count=self.playout.underruns, frame=self.frame))

    def _state_of_now(self) -> SessionState:
        if not self._link.alive:
            return "recovering"
        return "live" if self.playout.consumed else "starting"

    def _finish(self, state: SessionState, reason: str | None) -> None:
        self.ended_at = time.monotonic()
        self._begin_timer.cancel()
        self._output.finish()
        self.replies.over()
        self._become(state, reason)

    def _become(self, state: SessionState, reason: str | None = None) -> None:
        if state != self.state or reason != self.reason:
            log.info("session %s: %s -> %s%s", self.id, self.state, state, f" ({reason})" if reason else "")
            self.state, self.reason = state, reason
            self.replies.send_all(self.status())

    def _refuse_if_over(self) -> None:
        if self.over:
            raise Conflict(f"The session is {self.state}. Start a new one.", code=self.state)
