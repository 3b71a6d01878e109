"""One session: its state, its playout, its viewers and the people who steer it.

starting -> live <-> paused -> stopped; recovering while the engine is started again; failed when it cannot go on. Everything
here runs on the event loop and nothing here waits for the device, a socket or a thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from math import ceil

from farcast.protocol import (
    Chunk,
    DeadlineMissed,
    Dial,
    DialApplied,
    DialChange,
    Error,
    ImageApplied,
    PromptApplied,
    PromptPending,
    PromptRejected,
    ServerMessage,
    SessionRequest,
    SessionState,
    Underrun,
)
from farcast.protocol import Session as SessionMessage

from .answers import Client, Ledger, Waiting
from .broadcast import Broadcast
from .config import ServerConfig
from .engine.host import EngineHost
from .engine.messages import (
    ChunkMade,
    Close,
    DialSetting,
    DialTaken,
    Event,
    Hold,
    ModelFacts,
    NewShot,
    Open,
    Pixels,
    Refused,
    Rewind,
    Rewound,
    Saved,
    SessionLost,
    SetDial,
    SetPrompt,
    Shown,
    Superseded,
)
from .errors import Conflict
from .metrics import Metrics
from .playout import Due, Playout
from .score import Score

log = logging.getLogger("farcast.session")


@dataclass(frozen=True)
class Frame:
    """One frame in the queue. `opens`: the chunk it is the first frame of."""

    pixels: Pixels
    index: int
    chunk: int
    opens: ChunkMade | None = None


def setting(dial: Dial) -> DialSetting:
    return DialSetting(dial.latency_ms, dial.floor, dial.ceiling, dial.steps)


class Session:
    """Made by the manager; `stop` and `fail` are final."""

    def __init__(
        self,
        request: SessionRequest,
        *,
        facts: ModelFacts,
        config: ServerConfig,
        engine: EngineHost,
        executor: Executor,
        metrics: Metrics,
        image: Pixels | None = None,
        clip: Pixels | None = None,
        clip_fps: float | None = None,
    ) -> None:
        self.id = secrets.token_urlsafe(9)
        self.token = secrets.token_urlsafe(24)
        self.facts, self.config, self.engine, self.metrics = facts, config, engine, metrics
        self.state: SessionState = "starting"
        self.reason: str | None = None
        self.prompt, self.dial = request.prompt, request.dial
        self.seed = request.seed if request.seed is not None else secrets.randbelow(2**31)
        self.guidance = request.guidance
        self.ended_at: float | None = None
        self.clients: set[Client] = set()
        self.viewers = 0  # connected; counted by the whep room
        self.idle_since = time.monotonic()
        self.paused_by_user = False
        self.chunk = self.frame = 0  # on screen
        self.score = Score(facts.name, self.seed, self.guidance, facts.width, facts.height, facts.fps)
        capacity = ceil((config.max_lead + 2 * facts.chunk_seconds) * facts.fps)
        self.playout: Playout[Frame] = Playout(facts.fps, min_fps=min(config.min_fps, facts.fps), capacity=capacity)
        self.playout.pause()
        self.broadcast = Broadcast(
            facts.width, facts.height, facts.fps, executor, repeat=lambda: self.playout.ticks_at(time.monotonic())
        )
        self._serial = 0
        self._prompts: Ledger[SetPrompt] = Ledger()
        self._dials: Ledger[Dial] = Ledger()
        self._shots: Ledger[Pixels] = Ledger(limit=4)
        self._rewinds: Ledger[int] = Ledger(limit=16)
        self._carried = 0  # serial of the newest prompt that a chunk carries
        self._shown_prompt = 0  # ... that has been on screen
        self._texts: dict[int, SetPrompt] = {0: SetPrompt(self.id, 0, self.prompt)}
        self._image_carried = 0
        self._saved: Saved | None = None
        self._base = 0  # frames that had been queued when the present engine process took the session
        self._begin_at = time.monotonic() + config.start_grace  # without a viewer
        self._wake = asyncio.Event()
        self._opening = Open(
            self.id, self.prompt, self.seed, setting(self.dial), self.guidance, image=image, clip=clip, clip_fps=clip_fps
        )
        self.score.prompt(0, self.prompt)
        self.score.dial(0, setting(self.dial))
        if image is not None:
            self.score.image(0, image)
        engine.send(self._opening)
        self._task = asyncio.create_task(self._play(), name=f"playout {self.id}")

    # --- what people ask

    @property
    def over(self) -> bool:
        return self.state in ("stopped", "failed")

    def set_prompt(self, re: str, text: str, transition: int, client: Client) -> None:
        """Answered by prompt_pending now and prompt_applied or prompt_rejected later."""
        self._refuse_if_over()
        change = SetPrompt(self.id, self._next_serial(), text, transition)
        client.send(PromptPending(re=re, text=text))
        for old in self._prompts.add(Waiting(change.serial, re, change, time.monotonic(), client)):
            self._reject(old)
        self._texts[change.serial] = change
        self.engine.send(change)

    def set_dial(self, re: str, change: DialChange, client: Client) -> None:
        """Answered by dial_applied when the engine has it."""
        self._refuse_if_over()
        self.dial = change.merged(self.dial)
        serial = self._next_serial()
        for old in self._dials.add(Waiting(serial, re, self.dial, time.monotonic(), client)):
            self._tell(old, DialApplied(re=old.re, dial=self.dial, chunk=self.chunk, frame=self.frame))
        self.engine.send(SetDial(self.id, serial, setting(self.dial)))

    def new_shot(self, pixels: Pixels) -> str:
        """A picture to go on from. Returns the `re` under which it will be answered."""
        self._refuse_if_over()
        serial = self._next_serial()
        re = f"image-{serial}"
        for old in self._shots.add(Waiting(serial, re, pixels, time.monotonic())):
            self._send_all(Error(re=old.re, code="superseded", message="A newer image came before this one was shown."))
        self.engine.send(NewShot(self.id, serial, pixels))
        return re

    def pause(self, *, reason: str | None = None, by_user: bool = True) -> None:
        """Stop making and showing; idempotent."""
        self._refuse_if_over()
        self.paused_by_user = self.paused_by_user or by_user
        self.playout.pause()
        self.engine.send(Hold(self.id, True))
        self._become("paused", reason)

    def resume(self) -> None:
        self._refuse_if_over()
        if self.state != "paused":
            return
        self.paused_by_user = False
        self.engine.send(Hold(self.id, False))
        self.playout.resume()
        self._wake.set()
        self._become("live" if self.engine.alive else "recovering")

    def rewind(self, re: str, chunk: int, client: Client) -> None:
        """Answered by session when the engine has gone back, or by error."""
        self._refuse_if_over()
        serial = self._next_serial()
        self._rewinds.add(Waiting(serial, re, chunk, time.monotonic(), client))
        self.engine.send(Rewind(self.id, serial, chunk))

    def end(self, reason: str | None = None) -> None:
        """End for good; idempotent. Whoever waits for an answer gets one."""
        if not self.over:
            self._end("stopped", reason)
            self.engine.send(Close(self.id))

    async def stop(self, reason: str | None = None) -> None:
        """`end`, and wait until nothing of it runs any more."""
        self.end(reason)
        await self.broadcast.close()
        await asyncio.gather(self._task, return_exceptions=True)

    # --- viewers

    def viewer_joined(self) -> None:
        self.viewers += 1
        if self.state == "paused" and not self.paused_by_user:
            self.resume()
        elif self.state == "starting":
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
        if isinstance(event, ChunkMade):
            self._made(event)
        elif isinstance(event, DialTaken):
            self._dial_taken(event)
        elif isinstance(event, Superseded):
            if (old := self._prompts.take(event.serial)) is not None:
                self._reject(old)
        elif isinstance(event, Rewound):
            self._rewound(event)
        elif isinstance(event, Refused):
            self._refused(event)
        elif isinstance(event, Saved):
            self._saved = event
        elif isinstance(event, SessionLost):
            self.fail(event.message, event.code)

    def engine_lost(self) -> None:
        """The engine process is gone; what is made goes on playing."""
        if not self.over and self.state != "paused":
            self._become("recovering", "The engine is being started again.")

    def engine_back(self) -> None:
        """Continue from the last snapshot in the new engine process."""
        if self.over:
            return
        self._base = self.playout.consumed + len(self.playout)
        blob = self._saved.blob if self._saved is not None else None
        opening = self._opening
        self.engine.send(
            Open(
                self.id,
                opening.prompt,
                self.seed,
                setting(self.dial),
                self.guidance,
                image=opening.image,
                clip=opening.clip,
                clip_fps=opening.clip_fps,
                snapshot=blob,
                prompt_serial=self._carried if blob else 0,
                image_serial=self._image_carried,
            )
        )
        newest = self._prompts.newest
        wanted = newest.value if newest is not None else self._texts.get(self._carried)
        if wanted is not None and (newest is not None or not blob) and wanted.serial:
            self.engine.send(wanted)
        if (dial := self._dials.newest) is not None:
            self.engine.send(SetDial(self.id, dial.serial, setting(self.dial)))
        if (shot := self._shots.newest) is not None:
            self.engine.send(NewShot(self.id, shot.serial, shot.value))
        for lost in self._rewinds.all():
            self._tell(lost, Error(re=lost.re, code="recovering", message="The engine was restarted. Try again."))
        if self.state == "paused":
            self.engine.send(Hold(self.id, True))
        else:
            self._become("live" if self.playout.consumed else "starting")

    def fail(self, message: str, code: str = "failed") -> None:
        """The session cannot go on."""
        if not self.over:
            self._end("failed", message)
            self._send_all(Error(code=code, message=message, fatal=True))

    # --- inside

    def _made(self, made: ChunkMade) -> None:
        frames = [
            Frame(pixels, made.frame + i, made.chunk, made if i == 0 else None) for i, pixels in enumerate(made.frames)
        ]
        playing = self.playout.consumed > 0
        dropped = self.playout.push(frames, manages=len(frames) / max(made.cycle, 1e-3) if made.chunk else None)
        self._carried = max(self._carried, made.prompt_serial)
        self._image_carried = max(self._image_carried, made.image_serial)
        self._note(made)
        seconds = len(frames) / self.facts.fps
        self.metrics.chunks.inc()
        self.metrics.steps.observe(made.steps)
        self.metrics.took.observe(made.took)
        self.metrics.dropped_frames.labels("queue").inc(dropped)
        self._send_all(
            Chunk(
                index=made.chunk,
                frame=made.frame,
                frames=len(frames),
                steps=made.steps,
                took_ms=made.took * 1e3,
                deadline_ms=made.budget * 1e3,
                lead_ms=self.playout.lead * 1e3,
                fps=self.playout.rate,
                realtime_factor=seconds / max(made.cycle, 1e-3),
                prompt=self._texts[made.prompt_serial].text if made.prompt_serial in self._texts else self.prompt,
            )
        )
        if made.late > 0 and playing:
            self.metrics.late.inc()
            self._send_all(DeadlineMissed(chunk=made.chunk, late_ms=made.late * 1e3))
        if self.state == "starting" and (self.viewers or made.made_at > self._begin_at):
            self._begin()
        self._wake.set()

    def _note(self, made: ChunkMade) -> None:
        """Into the score."""
        previous = self.score.carried
        if made.prompt_serial != previous[0] and made.prompt_serial in self._texts:
            change = self._texts[made.prompt_serial]
            self.score.prompt(made.chunk, change.text, change.transition)
        if made.image_serial != previous[1] and (shot := self._shots.peek(made.image_serial)) is not None:
            self.score.image(made.chunk, shot.value)
        self.score.carried = (made.prompt_serial, made.image_serial)
        self.score.made(made.chunk, made.sigmas)
        for serial in [s for s in self._texts if s < min(made.prompt_serial, self._shown_prompt)]:
            del self._texts[serial]

    def _dial_taken(self, event: DialTaken) -> None:
        taken = self._dials.up_to(event.serial)
        if taken:
            self.score.dial(event.chunk, setting(taken[-1].value))
        for change in taken:
            dial = taken[-1].value  # latest wins: this is where it stands now
            self._tell(change, DialApplied(re=change.re, dial=dial, chunk=event.chunk, frame=event.frame))

    def _rewound(self, event: Rewound) -> None:
        self.playout.clear()
        self.score.rewind(event.chunk)
        self._report_shown(time.monotonic())
        self.chunk, self.frame = event.chunk, event.frame
        for change in self._rewinds.up_to(event.serial):
            self._tell(change, self.status(change.re))

    def _refused(self, event: Refused) -> None:
        if (prompt := self._prompts.take(event.serial)) is not None:
            self._reject(prompt, event.code, event.message)
        elif (dial := self._dials.take(event.serial)) is not None:
            self._tell(dial, Error(re=dial.re, code=event.code, message=event.message))
        elif (shot := self._shots.take(event.serial)) is not None:
            self._send_all(Error(re=shot.re, code=event.code, message=event.message))
        elif (rewind := self._rewinds.take(event.serial)) is not None:
            self._tell(rewind, Error(re=rewind.re, code=event.code, message=event.message))

    def _begin(self) -> None:
        """The first frame may leave."""
        if len(self.playout):
            self.playout.resume()
            self._wake.set()
            self._become("live")

    async def _play(self) -> None:
        """Frames leave by the clock."""
        loop = asyncio.get_running_loop()
        loop.call_later(self.config.start_grace, lambda: self.state == "starting" and self._begin())
        while not self.over:
            self._wake.clear()
            now = time.monotonic()
            due = self.playout.due()
            if due is not None and due <= now:
                underruns = self.playout.underruns
                shown = self.playout.tick(now)
                if shown is not None:
                    self._show(shown, now)
                elif self.playout.underruns > underruns:
                    self.metrics.underruns.inc()
                    self._send_all(Underrun(count=self.playout.underruns, frame=self.frame))
                continue
            if due is None:
                await self._wake.wait()
            else:
                try:
                    await asyncio.wait_for(self._wake.wait(), due - now)
                except TimeoutError:
                    pass

    def _show(self, due: Due[Frame], now: float) -> None:
        frame = due.item
        self.chunk, self.frame = frame.chunk, frame.index
        self.broadcast.show(frame.pixels, due.ticks)
        self.metrics.frames.inc()
        if frame.opens is not None:
            self._answer_shown(frame.opens, due, now)
        self._report_shown(now)

    def _answer_shown(self, made: ChunkMade, due: Due[Frame], now: float) -> None:
        """The first frame of a chunk is on screen, and with it every change up to those it carries."""
        self._shown_prompt = made.prompt_serial
        for change in self._prompts.up_to(made.prompt_serial):
            if change.serial != made.prompt_serial:
                self._reject(change)
                continue
            self.prompt = change.value.text
            latency = now - change.at
            self.metrics.prompt.observe(latency)
            applied = PromptApplied(
                re=change.re,
                text=change.value.text,
                chunk=made.chunk,
                frame=due.item.index,
                pts=due.seconds,
                latency_ms=latency * 1e3,
            )
            self._tell(change, applied)
        for shot in self._shots.up_to(made.image_serial):
            if shot.serial == made.image_serial:
                self._send_all(ImageApplied(re=shot.re, chunk=made.chunk, frame=due.item.index))
            else:
                self._send_all(Error(re=shot.re, code="superseded", message="A newer image came before it was shown."))

    def _report_shown(self, now: float) -> None:
        done = max(0, self.playout.consumed - self._base)
        self.engine.send(Shown(self.id, done, now, self.playout.rate))

    def _end(self, state: SessionState, reason: str | None) -> None:
        self.ended_at = time.monotonic()
        self._become(state, reason)
        for prompt in self._prompts.all():
            self._reject(prompt, "stopped", "The session ended before this prompt was shown.")
        for change in (*self._dials.all(), *self._rewinds.all()):
            self._tell(change, Error(re=change.re, code="stopped", message="The session has ended."))
        for shot in self._shots.all():
            self._send_all(Error(re=shot.re, code="stopped", message="The session has ended."))
        self.playout.clear()
        self._wake.set()

    def _become(self, state: SessionState, reason: str | None = None) -> None:
        if state != self.state or reason != self.reason:
            log.info("session %s: %s -> %s%s", self.id, self.state, state, f" ({reason})" if reason else "")
            self.state, self.reason = state, reason
            self._send_all(self.status())

    def _reject(self, change: Waiting[SetPrompt], code: str = "superseded", message: str = "") -> None:
        message = message or "A newer prompt came before this one was shown."
        self._tell(change, PromptRejected(re=change.re, text=change.value.text, code=code, message=message))

    def _tell(self, change: Waiting[object], message: ServerMessage) -> None:
        if change.client is not None and change.client in self.clients:
            change.client.send(message)

    def _send_all(self, message: ServerMessage) -> None:
        for client in list(self.clients):
            client.send(message)

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def _refuse_if_over(self) -> None:
        if self.over:
            raise Conflict(f"The session is {self.state}. Start a new one.", code=self.state)
