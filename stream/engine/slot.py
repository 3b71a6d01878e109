"""One session inside the engine: when it may run, and its units of work.

A slot knows no pipe and no other slot. `launch` gives the device one unit of work, `complete` returns the events that
follow when it is done; the scheduler decides whose unit comes next by `deadline`, among those whose `wait` is zero.
"""

from __future__ import annotations

import time

from models.errors import FarcastError
from stream.types import Pixels

from .backend import PendingPrompt, Unit
from .chunk import ChunkInProgress, ChunkInputs
from .device_queue import Flight
from .protocol import (
    ChunkMade,
    Event,
    Measured,
    PromptApplied,
)
from .slot_state import SlotState


class Slot(SlotState):
    """The work of one session."""

    # --- what the scheduler asks

    def hold(self, on: bool) -> None:
        """Stop making chunks, or go on."""
        self.held, self.mirror.running = on, not on

    @property
    def in_chunk(self) -> bool:
        """A chunk is begun, or made and not appended yet."""
        return self.current is not None or self.rollout.next().kind == "append"

    def wait(self, now: float) -> float:
        """Seconds until this slot may run; infinite while it is held."""
        if self.lead(now) > 0.0:
            self.dry_since = None
        elif self.dry_since is None:
            self.dry_since = now
        if self.held:
            return float("inf")
        if self.in_chunk or self.replace_queue:
            return 0.0
        room = self.governor.may_start(now, self.lead(now))
        if room > 0:
            self.free_since = now
        return room

    def deadline(self, now: float) -> float:
        """When the picture runs dry without this slot's next chunk, or a prompt that waits is due.

        When it is dry already, since when: whoever waits longest is served first. A user's rewind throws away what
        there was, so it gives no precedence: the first chunk after it is due at the latency target.
        """
        if self.rewound:
            dry = self.rewound_at + self.governor.dial.latency_s
        elif self.current is not None:
            dry = self.current.plan.deadline
        else:
            dry = now + self.lead(now) if self.dry_since is None else self.dry_since
        return dry if self.due is None else min(dry, self.due)

    def release(self) -> None:
        """Free the rollout's memory, whoever still knows the slot. It cannot be used any more."""
        del self.rollout

    # --- work

    def run(self) -> list[Event]:
        """One unit of work, on a device of this slot alone that works at once."""
        events = self.launch()
        for flight in self.device.completed():
            events += self.complete(flight)
        return events

    def launch(self) -> list[Event]:
        """Give the device one unit of work. Whatever the model raises passes through: this session is then lost."""
        clock_now = self.clock()
        now = clock_now + self.device.busy(clock_now)  # when the device will begin with it
        unit = self.rollout.next()
        if self.current is None and unit.kind != "append":
            self.current = self._open_chunk(now)
        r: float | None = None
        if unit.kind == "step":
            assert self.current is not None
            current = self.current
            r = self.governor.next_r(now, self.rollout.sigma, current.steps, finish_early=current.finish_early)
            current.sigmas.append(r)
        before = self.rollout.pending_prompt, self.rollout.pending_image, self.rollout.sigma
        try:
            self.device.launch(self, self.rollout, unit, r)
        except FarcastError as error:
            return self.refuse(unit.kind, error.code, str(error))
        self._carry(unit, *before)
        return []

    def complete(self, flight: Flight) -> list[Event]:
        """The device has done a unit of this slot: learn what it cost; when it made frames, the chunk is made."""
        took, frames = flight.timing.seconds(), flight.timing.frames()
        self._learn(flight.unit, took)
        events: list[Event] = [Measured(flight.unit.kind, took)]
        if frames is not None:
            events += [self._close_chunk(flight.chunk, flight.frame, frames), *self._pass_deferred_prompt()]
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

    def _carry(self, unit: Unit, prompt: PendingPrompt | None, image: Pixels | None, sigma: float) -> None:
        """Note what the chunk in progress takes on with this unit. The rest: what was pending before it."""
        inputs = self.inputs
        if unit.kind == "prompt":
            inputs.opened.append(None if prompt is None else PromptApplied(prompt.parts, prompt.transition))
            if prompt is not None:
                self.in_force = self.asked
            if prompt is not None and self.next_prompt is not None:
                self.prompt_serial, self.next_prompt = self.next_prompt.serial, None
        elif unit.kind == "encode" and sigma == 1.0 and image is not None:
            inputs.image = image
            if self.next_image is not None:
                self.image_serial, self.next_image = self.next_image.serial, None
                self.image_chunk = self.rollout.chunk

    def _learn(self, unit: Unit, took: float) -> None:
        key = unit.cost_key
        self.costs.observe(unit.kind, took, key)
        if unit.kind != "encode" or (isinstance(key, tuple) and key[:1] == ("context",)):  # of which a turn needs one
            self.governor.forecast.keys[unit.kind] = key

    def _close_chunk(self, chunk: int, frame: int, frames: Pixels) -> ChunkMade:
        current, inputs, now = self.current, self.inputs, self.clock()
        assert current is not None
        report = self.governor.close_chunk(now, current.steps)
        made = current.made(
            inputs,
            frames,
            report,
            session=self.session,
            chunk=chunk,
            frame=frame,
            now=now,
            free_since=self.free_since,
            serials=(self.prompt_serial, self.image_serial),
        )
        self.mirror.on_sent(chunk, len(frames), replaces=current.replaces_queue)
        self.current, self.inputs, self.free_since, self.rewound = None, ChunkInputs(), now, False
        return made


def monotonic() -> float:
    """The clock all processes of the host share."""
    return time.monotonic()
