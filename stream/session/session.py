"""One session: its state, its playout, its viewers and the people who steer it.

starting -> live <-> paused -> stopped; recovering while the engine is started again; failed when it cannot go on.
Everything here runs on the event loop and nothing here waits for the device, a socket or a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time

from farcast.protocol import Dial, DialChange, Error, SessionRequest, SessionState, Underrun
from farcast.protocol import Session as SessionMessage

from stream.engine.protocol import Event, Open, Rewound, SetPaused, SetPrompt
from stream.errors import Conflict
from stream.score.log import Score
from stream.types import Mix, Pixels
from stream.video.playout import Due

from .chunk_frames import Frame
from .context import ServerContext
from .engine_link import EngineLink, governor_dial
from .output import Output
from .persistence import MOVED, MOVING, RESTARTING, Identity, Moment, Resumed, record_of
from .replies import Client, Replies

log = logging.getLogger("farcast.session")


def default_ceiling(dial: Dial, steps: int | None) -> Dial:
    """`dial` with the model's own step count as its ceiling, where the request says none."""
    if steps is None or "ceiling" in dial.model_fields_set:
        return dial
    return dial.model_copy(update={"ceiling": max(steps, dial.floor)})


class Session:
    """Made by the manager; `end` and `fail` are final. `clip_fps`: of the clip's frames; `user`: who started it."""

    def __init__(
        self,
        request: SessionRequest,
        context: ServerContext,
        *,
        image: Pixels | None = None,
        clip: Pixels | None = None,
        clip_fps: float | None = None,
        user: str = "",
        resumed: Resumed | None = None,
    ) -> None:
        record = None if resumed is None else resumed.record
        facts = context.facts
        self.identity = Identity.fresh(request, facts) if record is None else Identity.of(record)
        self.id, self.token, self.view_token = self.identity.id, self.identity.token, self.identity.view_token
        self.seed = self.identity.seed
        config = context.config
        self.facts, self.metrics = facts, context.metrics
        self.state: SessionState = "starting"
        self.reason: str | None = None
        self.dial = default_ceiling(request.dial, facts.steps)
        self.ended_at: float | None = None
        self.closed = False  # over, and nothing of it runs any more
        self.viewers = 0  # connected
        self.user = user  # who started it
        self.began_at = self.idle_since = time.monotonic()
        self.paused_by_user, self.paused_at = False, 0.0
        self.chunk, self.frame = (0, 0) if record is None else (record.chunk, record.frame)  # on screen
        guidance = self.identity.guidance
        if resumed is None:
            self.replies = Replies(SetPrompt(self.id, 0, request.prompt))
            dial = governor_dial(self.dial)
            self.score = Score.opening(facts, request.prompt, self.seed, guidance, dial, image, clip)
        else:
            self.replies = Replies(resumed.prompt, resumed.record.serial)
            self.score = Score.restored(resumed.record.score)
        self._state, self._shared = context.state, context.config.state_shared
        tokens = (self.token, self.view_token)
        self._output = Output(context, self.id, tokens, on_frame=self._show, on_underrun=self._underrun)
        self.playout, self.broadcast = self._output.playout, self._output.broadcast
        self.recording = self._output.recording
        # The first frame leaves when the first viewer is there, or nobody has come for so long.
        self._begin_at = time.monotonic() + config.start_grace
        self._begin_timer = asyncio.get_running_loop().call_later(config.start_grace + 0.01, self.begin_if_ready)
        opening = Open(
            self.id, request.prompt, self.seed, governor_dial(self.dial), guidance, image, clip, clip_fps
        )
        self._link = EngineLink(context, opening, self.score, self._output, self.replies, self, resumed)
        if record is not None and record.paused_by_user:
            self.pause()

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
        self.refuse_if_over()
        self._link.set_prompt(re, text, transition, client, mix)
        self.keep()

    def set_dial(self, re: str, change: DialChange, client: Client) -> None:
        """Answered by dial_applied when the engine has it."""
        self.refuse_if_over()
        self.dial = change.merged(self.dial)
        self._link.set_dial(re, self.dial, client)

    def set_image(self, pixels: Pixels) -> str:
        """A picture to go on from. Returns the `re` under which it will be answered."""
        self.refuse_if_over()
        return self._link.set_image(pixels)

    def pause(self, *, reason: str | None = None, by_user: bool = True) -> None:
        """Stop making and showing; idempotent."""
        self.refuse_if_over()
        self.paused_by_user = self.paused_by_user or by_user
        self.paused_at = time.monotonic()
        self._output.pause(by_user=by_user)
        self._link.send(SetPaused(self.id, True))
        self._become("paused", reason)

    def resume(self) -> None:
        """Go on after a pause; idempotent."""
        self.refuse_if_over()
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
        self.refuse_if_over()
        self._link.rewind(re, chunk, client)

    def end(self, reason: str | None = None) -> None:
        """For good; idempotent. Whoever waits for an answer gets one."""
        if not self.over:
            self._finish("stopped", reason)

    async def stop(self, reason: str | None = None) -> None:
        """`end`, and wait until nothing of it runs any more."""
        self.end(reason)
        await self.closed_down()

    async def closed_down(self) -> None:
        """Wait until nothing of it runs any more."""
        await self._output.close()
        self.closed = True

    # --- viewers

    def viewer_joined(self) -> None:
        self.viewers += 1
        if self.state == "paused" and not self.paused_by_user:
            self.resume()
        self.begin_if_ready()
        self.replies.send_all(self.status())  # how many watch

    def viewer_left(self) -> None:
        self.viewers -= 1
        self.idle_since = time.monotonic()
        if not self.over:
            self.replies.send_all(self.status())

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

    def on_evicted(self, message: str, code: str) -> None:
        """Open the session again in the same engine process, from its last snapshot, and say so."""
        self.replies.send_all(Error(code=code, message=message, fatal=False))
        self.engine_restarted()

    # --- the state store

    def on_saved(self) -> None:
        if self._state is not None and self._state.due(self.id):
            self.keep()

    def keep(self) -> None:
        """Write the session down as it is now, so that another server process can continue it."""
        saved = self._link.recovery.saved
        if self._state is None or (saved is None and not self.over):
            return
        moment = Moment(self.state, self.reason, self.over, self.dial, self.chunk, self.frame, self.paused_by_user)
        record = record_of(self.identity, self.facts, moment, self.replies, self._link.recovery, self.score)
        self._state.put(self.id, lambda: (record, None if saved is None or record.ended else saved.blob))

    def suspend(self) -> None:
        """The server ends and the session does not: write it down, tell the clients, show nothing more."""
        self.keep()
        self._begin_timer.cancel()
        self._output.finish()
        self._become("recovering", MOVING if self._shared else RESTARTING)

    def supersede(self) -> None:
        """Another server has claimed the session: end it here, and write nothing."""
        self._state = None
        self.end(MOVED)

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
        self._link.release()
        self.replies.over()
        self._become(state, reason)
        self.keep()

    def _become(self, state: SessionState, reason: str | None = None) -> None:
        if state != self.state or reason != self.reason:
            log.info("session %s: %s -> %s%s", self.id, self.state, state, f" ({reason})" if reason else "")
            self.state, self.reason = state, reason
            self.replies.send_all(self.status())

    def refuse_if_over(self) -> None:
        """Raises Conflict when the session has ended."""
        if self.over:
            raise Conflict(f"The session is {self.state}. Start a new one.", code=self.state)
