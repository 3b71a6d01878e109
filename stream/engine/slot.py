"""One session inside the engine: its rollout, its governor, what has been shown of it, and the changes that wait.

A slot knows no pipe and no other slot. `run` runs one unit of work and returns the events that follow from it; the
scheduler decides whose unit runs next by `deadline`, among those whose `wait` is zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from models.errors import FarcastError
from stream.governor import CostModel, EngineSnapshot, Governor, plan_prompt
from stream.governor.prompt_policy import DELIVERY_S, GOES_BACK, REPLACES
from stream.types import Pixels

from .backend import RolloutBackend, Unit
from .chunk import ChunkInProgress, ChunkInputs
from .playout_mirror import PlayoutMirror
from .protocol import (
    ChunkMade,
    DialTaken,
    DropFrom,
    Event,
    Measured,
    ModelFacts,
    Open,
    PromptApplied,
    Refused,
    Rewind,
    Rewound,
    SetDial,
    SetImage,
    SetPrompt,
    Superseded,
)

MARGIN = 2  # frames that may leave before the server hears that they should not
MAX_OPENINGS = 2  # prompts that may open one chunk; with more, a flood of prompts would keep it from being begun

Clock = Callable[[], float]


class Slot:
    """`load`: by how much the other sessions stretch this one's work (1 = alone); set by the scheduler."""

    def __init__(
        self,
        request: Open,
        rollout: RolloutBackend,
        facts: ModelFacts,
        costs: CostModel,
        *,
        max_lead: float,
        clock: Clock,
    ) -> None:
        self.session = request.session
        self.rollout = rollout
        self.facts = facts
        self.clock = clock
        self.costs = costs
        self.load = 1.0
        self.held = False  # paused: no chunks are made
        self.governor = Governor(
            request.dial,
            costs,
            chunk_seconds=facts.chunk_seconds,
            shift=facts.shift,
            lead_cap=max_lead,
            fixed_sigmas=facts.fixed_sigmas,
        )
        self.mirror = PlayoutMirror(request.session, facts.fps)
        self.current: ChunkInProgress | None = None
        self.inputs = ChunkInputs(rebuilt=rollout.rebuilt)
        self.asked = request.asked  # the newest prompt that the rollout was given
        self.prompt_serial = request.prompt_serial  # of the newest prompt and picture that a chunk carries
        self.image_serial = request.image_serial
        self.next_prompt: SetPrompt | None = None  # not carried by a chunk yet ...
        self.prompt_deferred = False  # ... nor given to the rollout: it must wait until the chunk in progress is made
        self.next_image: SetImage | None = None
        self.image_chunk = 0  # the chunk of the last picture, which must be shown once
        self.replace_queue = False  # the next chunk to be opened replaces what waits to be shown
        self.due: float | None = None  # when the next chunk should be seen, because a prompt waits for it
        self.free_since = clock()  # when the previous chunk ended, moved on while waiting for room

    # --- what the scheduler asks

    def lead(self, now: float) -> float:
        """Seconds of video that are made and not yet shown."""
        return self.mirror.frames(now) / self.facts.fps

    def hold(self, on: bool) -> None:
        """Stop making chunks, or go on."""
        self.held, self.mirror.running = on, not on

    @property
    def in_chunk(self) -> bool:
        """A chunk is begun, or made and not appended yet."""
        return self.current is not None or self.rollout.next().kind == "append"

    def wait(self, now: float) -> float:
        """Seconds until this slot may run; infinite while it is held."""
        if self.held:
            return float("inf")
        if self.in_chunk or self.replace_queue:
            return 0.0
        room = self.governor.may_start(now, self.lead(now))
        if room > 0:
            self.free_since = now
        return room

    def deadline(self, now: float) -> float:
        """When the picture runs dry without this slot's next chunk, or a prompt that waits is due."""
        dry = now + self.lead(now) if self.current is None else self.current.plan.deadline
        return dry if self.due is None else min(dry, self.due)

    # --- changes

    def set_prompt(self, change: SetPrompt) -> list[Event]:
        """Raises FarcastError for a prompt that the model refuses."""
        inputs = self.inputs
        if self.current is not None and (inputs.restarted or len(inputs.opened) >= MAX_OPENINGS):
            self.prompt_deferred = True
        else:
            self.rollout.prompt(change.asked, transition=change.transition)
            self.prompt_deferred, self.asked = False, change.asked
        events: list[Event] = []
        if self.next_prompt is not None:
            events.append(Superseded(self.session, self.next_prompt.serial))
        self.next_prompt = change
        return events + self._hasten(change.at)

    def _pass_deferred_prompt(self) -> list[Event]:
        """The chunk is made, or taken back: the prompt that was deferred because of it goes to the rollout."""
        change = self.next_prompt
        if not self.prompt_deferred or change is None:
            return []
        self.prompt_deferred = False
        try:
            self.rollout.prompt(change.asked, transition=change.transition)
        except FarcastError as error:
            self.next_prompt = None
            return [Refused(self.session, change.serial, error.code, str(error))]
        self.asked = change.asked
        return []

    def set_dial(self, change: SetDial) -> list[Event]:
        """Raises FarcastError where the model runs at fixed noise levels."""
        if self.facts.fixed_sigmas:
            steps = len(self.facts.fixed_sigmas) - 1
            message = f"{self.facts.name} runs at a fixed list of {steps} steps; the dial does not apply."
            raise FarcastError(message, code="dial_fixed")
        self.governor.set_dial(change.dial)
        kept_ms = 1000.0 * self.governor.kept_s
        return [DialTaken(self.session, change.serial, self.rollout.chunk, self.rollout.frame, kept_ms)]

    def set_image(self, change: SetImage) -> list[Event]:
        self.rollout.image(change.image)
        self.next_image = change
        return self._hasten(change.at)

    def rewind(self, change: Rewind) -> list[Event]:
        """Raises FarcastError when the chunk is not there any more. The prompt asked for last stays in force."""
        self._rewind(change.chunk)
        self.rollout.prompt(self.asked)
        refusals = self._pass_deferred_prompt()
        self._abandon()
        self.inputs.restarted = self.replace_queue = False
        self.mirror.clear()
        return [*refusals, Rewound(self.session, change.serial, self.rollout.chunk, self.rollout.frame)]

    def _hasten(self, at: float) -> list[Event]:
        """A prompt or a picture asked for `at` is to be seen within the latency target: decide what becomes of the
        frames that wait and of the chunk in progress, and do it."""
        now = self.clock()
        if self.held or not self.mirror.report.playing:
            return []
        dial, frame_s = self.governor.dial, 1 / self.facts.fps
        keep = self._keep(now)
        plan = plan_prompt(
            self._moment(now, at, None if keep is None else keep[1]),
            self.costs,
            dial,
            chunk_seconds=self.facts.chunk_seconds,
            budget=self.governor.budget,
            load=self.load,
            frame_s=frame_s,
            can_rewind=keep is not None,
            can_restart=not self.inputs.restarted,
            keys=self.governor.forecast.keys,
        )
        self.replace_queue = plan.queue in REPLACES
        self.due = at + dial.latency_s - DELIVERY_S - (frame_s if self.replace_queue else 0.0)
        if plan.chunk == "finish" and self.current is not None:
            self.current.finish_early = True
        elif plan.chunk == "restart" and self.current is not None:
            self.inputs.restarted = True
            self.rollout.restart_chunk()
            self._abandon()
        if plan.queue in GOES_BACK and keep is not None:
            return self._go_back(keep[0], now)
        return []

    def _moment(self, now: float, at: float, kept: float | None) -> EngineSnapshot:
        """kept: frames that must still be shown when all that can be taken back is."""
        fps, unit = self.facts.fps, self.rollout.next()
        shown_left = (self.mirror.rest(now) if kept is None else kept) / fps
        current = self.current
        done = 0 if current is None else current.steps
        left = current.plan.steps - done if current is not None and self.rollout.sigma > 0.0 else 0
        busy = self.costs.estimate("append", 0.9, unit.cost_key) * self.load if unit.kind == "append" else 0.0
        return EngineSnapshot(
            elapsed=max(0.0, now - at),
            shown_left=shown_left,
            queued=max(0.0, self.lead(now) - shown_left),
            busy=busy,
            in_progress=current is not None,
            done=done,
            left=max(0, left),
        )

    def _keep(self, now: float) -> tuple[int, float] | None:
        """The last chunk to be shown, and the frames to be shown up to its end, if the rest were taken back."""
        return self.mirror.keep(now, MARGIN, max(self.rollout.cheap_rewind_from - 1, self.image_chunk))

    def _go_back(self, chunk: int, now: float) -> list[Event]:
        """To the end of `chunk`; what was made after it will not be shown."""
        self._rewind(chunk + 1)
        if self.next_prompt is None:  # the one in force may have come after that chunk
            self.rollout.prompt(self.asked)
        refusals = self._pass_deferred_prompt()
        self.costs.observe("rewind", self.clock() - now)
        self.mirror.drop_from(chunk + 1)
        self._abandon()
        return [*refusals, DropFrom(self.session, self.rollout.chunk, self.rollout.frame)]

    def _rewind(self, chunk: int) -> None:
        """Take the rollout back, and note what of its memory has to be computed again."""
        same, begun = chunk == self.rollout.chunk, self.rollout.sigma < 1.0
        deep = chunk < self.rollout.cheap_rewind_from or (same and self.inputs.rebuilt == "all")
        self.rollout.rewind(chunk)
        if not same or begun:
            self.inputs.rebuilt = "all" if deep else "context"
        if not same:  # a picture that this chunk has taken stays with it
            self.inputs.image = None
        self.inputs.opened.clear()

    def _abandon(self) -> None:
        """The chunk in progress is not to be finished as it was begun."""
        if self.current is not None:
            self.governor.drop_chunk()
            self.current, self.free_since = None, self.clock()

    # --- work

    def run(self) -> list[Event]:
        """One unit of work. Whatever the model raises passes through: this session is then lost."""
        now = self.clock()
        unit = self.rollout.next()
        if self.current is None and unit.kind != "append":
            self.current = self._open_chunk(now)
        r: float | None = None
        if unit.kind == "step":
            assert self.current is not None
            current = self.current
            r = self.governor.next_r(now, self.rollout.sigma, current.steps, finish_early=current.finish_early)
            current.sigmas.append(r)
        self._carry(unit)
        chunk, frame = self.rollout.chunk, self.rollout.frame
        frames = self.rollout.run(unit, r=r)
        took = self.clock() - now
        self._learn(unit, took)
        events: list[Event] = [Measured(unit.kind, took)]
        if frames is not None:
            events += [self._close_chunk(chunk, frame, frames), *self._pass_deferred_prompt()]
        return events

    def _open_chunk(self, now: float) -> ChunkInProgress:
        first = self.rollout.chunk == 0 or self.next_image is not None  # one frame, see Rollout
        plan = self.governor.open_chunk(
            now,
            self.lead(now),
            load=self.load,
            frames_seconds=1 / self.facts.fps if first else None,
            playing=self.mirror.report.playing,
            due=self.due,
            before=("prompt", "encode") if self.next_prompt or self.next_image else (),
        )
        current = ChunkInProgress(plan, now, self.replace_queue)
        self.due, self.replace_queue = None, False
        return current

    def _carry(self, unit: Unit) -> None:
        """What the chunk in progress takes on with this unit: the prompt or the picture asked for last."""
        rollout, inputs = self.rollout, self.inputs
        if unit.kind == "prompt":
            prompt = rollout.pending_prompt
            inputs.opened.append(None if prompt is None else PromptApplied(prompt.parts, prompt.transition))
            if prompt is not None and self.next_prompt is not None:
                self.prompt_serial, self.next_prompt = self.next_prompt.serial, None
        elif unit.kind == "encode" and rollout.sigma == 1.0 and rollout.pending_image is not None:
            inputs.image = rollout.pending_image
            if self.next_image is not None:
                self.image_serial, self.next_image = self.next_image.serial, None
                self.image_chunk = rollout.chunk

    def _learn(self, unit: Unit, took: float) -> None:
        key = unit.cost_key
        self.costs.observe(unit.kind, took, key)
        if unit.kind != "encode" or (isinstance(key, tuple) and key[:1] == ("context",)):  # of which a turn needs one
            self.governor.forecast.keys[unit.kind] = key

    def _close_chunk(self, chunk: int, frame: int, frames: Pixels) -> ChunkMade:
        current, inputs, now = self.current, self.inputs, self.clock()
        assert current is not None
        report = self.governor.close_chunk(now, current.steps)
        made = ChunkMade(
            self.session,
            chunk,
            frame,
            frames,
            tuple(current.sigmas),
            took=now - current.began,
            cycle=now - self.free_since,
            budget=current.plan.deadline - current.began,
            late=report.late_s,
            made_at=now,
            prompt_serial=self.prompt_serial,
            image_serial=self.image_serial,
            replaces_queue=current.replaces_queue,
            opened=tuple(inputs.opened),
            shot=inputs.image,
            rebuilt=inputs.rebuilt,
        )
        self.mirror.on_sent(chunk, len(frames), replaces=current.replaces_queue)
        self.current, self.inputs, self.free_since = None, ChunkInputs(), now
        return made


def monotonic() -> float:
    """The clock all processes of the host share."""
    return time.monotonic()
