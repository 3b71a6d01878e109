"""One session inside the engine: its take, its governor, what has been shown of it, and the changes that wait.

A slot knows no pipe and no other slot. `run` does one unit of work and says what came of it; the worker decides whose
unit runs next by `deadline`, among those whose `wait` is zero.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from stream.governor import ChunkPlan, CostModel, Dial, Governor, Moment, decide
from stream.governor.turn import DELIVERY_S

from .messages import (
    ChunkMade,
    Cut,
    DialSetting,
    DialTaken,
    Event,
    Measured,
    ModelFacts,
    NewShot,
    Open,
    Pixels,
    Rewind,
    Rewound,
    SetDial,
    SetPrompt,
    Shown,
    Superseded,
)
from .model import Take

Clock = Callable[[], float]


def governor_dial(setting: DialSetting) -> Dial:
    return Dial(setting.latency_ms, setting.floor, setting.ceiling, setting.steps)


class Slot:
    """`load`: by how much the other sessions stretch this one's work (1 = alone); set by the worker."""

    def __init__(
        self, request: Open, take: Take, facts: ModelFacts, costs: CostModel, *, max_lead: float, clock: Clock
    ) -> None:
        self.session = request.session
        self.take = take
        self.facts = facts
        self.clock = clock
        self.costs = costs
        self.load = 1.0
        self.held = False
        self.max_lead = max_lead
        self.governor = Governor(
            governor_dial(request.dial), costs, chunk_seconds=facts.chunk_seconds, shift=facts.shift
        )
        self.plan: ChunkPlan | None = None
        self.sent = 0  # frames handed to the server
        self.ends: deque[tuple[int, int]] = deque()  # (frames sent, chunk) at the end of each chunk not played out yet
        self.shown = Shown(request.session, 0, 0.0, facts.fps)
        self.sigmas: list[float] = []
        self.text = request.prompt  # asked for last
        self.prompt_serial = request.prompt_serial  # carried by the chunk in progress
        self.image_serial = request.image_serial
        self.next_prompt: SetPrompt | None = None  # given to the take, not carried by a chunk yet
        self.next_image: NewShot | None = None
        self.hurry = False  # finish the chunk in progress with the next step
        self.cut = False  # the next chunk replaces what is queued
        self.due: float | None = None  # when the next chunk should be seen, because a prompt waits for it
        self.restarted = False  # once a chunk, or a flood of prompts would keep it from ever being finished
        self.free_since = clock()  # when the previous chunk ended, moved on while waiting for room
        self.began = 0.0

    # --- what the worker asks

    def lead(self, now: float) -> float:
        """Seconds of video that are made and not yet shown."""
        return (self.sent - self.played(now)) / self.facts.fps

    def played(self, now: float) -> int:
        """Frames that have left the server's queue by now; between two of its reports they leave by the clock."""
        done = self.shown.frames
        if done and not self.held:
            done += int((now - self.shown.at) * self.shown.fps)
        return min(done, self.sent)

    def wait(self, now: float) -> float:
        """Seconds until this slot may run; infinite while it is held."""
        if self.held:
            return float("inf")
        if self.plan is not None or self.take.next().kind == "append":
            return 0.0
        if self.cut:
            return 0.0
        lead = self.lead(now)
        room = self.governor.may_start(now, lead)
        if self.sent:  # the bound on memory holds whatever the dial says
            room = max(room, lead + self.facts.chunk_seconds - self.max_lead)
        if room > 0:
            self.free_since = now
        return room

    def deadline(self, now: float) -> float:
        """When the picture runs dry without this slot's next chunk."""
        if self.plan is not None:
            return self.plan.deadline
        dry = now + self.lead(now)
        return dry if self.due is None else min(dry, self.due)  # a prompt that waits is due too

    # --- changes

    def set_prompt(self, change: SetPrompt) -> list[Event]:
        """Raises the model's error for a prompt it refuses."""
        self.take.prompt(change.text, transition=change.transition)
        events: list[Event] = []
        if self.next_prompt is not None:
            events.append(Superseded(self.session, self.next_prompt.serial))
        self.next_prompt, self.text = change, change.text
        return events + self._turn(change.at)

    def set_dial(self, change: SetDial) -> list[Event]:
        """Raises GovernorError for a dial that makes no sense."""
        self.governor.set_dial(governor_dial(change.dial))
        return [DialTaken(self.session, change.serial, self.take.chunk, self.take.frame)]

    def new_shot(self, change: NewShot) -> list[Event]:
        self.take.image(change.image)
        self.next_image = change
        return self._turn(change.at)

    def rewind(self, change: Rewind) -> list[Event]:
        """Raises the model's error when the chunk is not there any more. The prompt asked for last stays in force."""
        self.take.rewind(change.chunk)
        self.take.prompt(self.text)
        self.plan, self.hurry, self.restarted = None, False, False
        return [Rewound(self.session, change.serial, self.take.chunk, self.take.frame)]

    def _turn(self, at: float) -> list[Event]:
        """Something asked for `at` is to be seen soon: what becomes of what is made, and of what is being made?"""
        now = self.clock()
        if self.held or not self.sent:
            return []
        dial = self.governor.dial
        moment = self._moment(now, at)
        turn = decide(
            moment,
            self.costs,
            dial,
            chunk_seconds=self.facts.chunk_seconds,
            budget=self.governor.budget,
            load=self.load,
            can_rewind=self.take.quick_rewind,
        )
        self.due = at + dial.latency_s - DELIVERY_S
        if turn.chunk == "finish" and self.plan is not None:
            self.hurry = True
        elif turn.chunk == "restart" and self.plan is not None and self.take.sigma > 0.0:
            if self.restarted:
                self.hurry = True
            else:
                self.restarted, self.plan = True, None
                self.take.restart_chunk()
        if turn.queue == "cut":
            self.cut = True
        elif turn.queue == "drop" and self.plan is None:
            return self._drop(now)
        return []

    def _moment(self, now: float, at: float) -> Moment:
        lead = self.lead(now)
        end = next((sent for sent, _ in self.ends if sent > self.played(now)), self.sent)
        shown_left = min(lead, max(0, end - self.played(now)) / self.facts.fps)
        busy = self.plan is not None
        done = len(self.sigmas) - 1 if busy else 0
        left = self.plan.steps - done if self.plan is not None and self.take.sigma > 0.0 else 0
        return Moment(
            elapsed=max(0.0, now - at),
            shown_left=shown_left,
            queued=lead - shown_left,
            in_progress=busy,
            done=done,
            left=max(0, left),
        )

    def _drop(self, now: float) -> list[Event]:
        """Go back to the end of the chunk on screen; what was made after it will not be shown."""
        margin = self.played(now) + 2  # frames on their way while this is decided
        keep = next(((sent, chunk) for sent, chunk in self.ends if sent >= margin), None)
        if keep is None or keep[0] == self.sent:
            return []
        self.take.rewind(keep[1] + 1)
        return [Cut(self.session, self.take.chunk, self.take.frame)]

    # --- work

    def run(self) -> list[Event]:
        """One unit of work. Whatever the model raises passes through: this session is then lost."""
        now = self.clock()
        unit = self.take.next()
        if self.plan is None and unit.kind != "append":
            self._open_chunk(now)
        r: float | None = None
        if unit.kind == "step":
            assert self.plan is not None
            done = len(self.sigmas) - 1
            r = self.governor.next_r(now, self.take.sigma, done, hurry=self.hurry)
            self.sigmas.append(r)
        chunk, frame = self.take.chunk, self.take.frame
        frames = self.take.run(unit, r=r)
        took = self.clock() - now
        self.costs.observe(unit.kind, took, unit.cost_key)
        events: list[Event] = [Measured(unit.kind, took)]
        if frames is not None:
            events.append(self._close_chunk(chunk, frame, frames))
        return events

    def _open_chunk(self, now: float) -> None:
        first = self.take.chunk == 0 or self.next_image is not None  # one frame, see Rollout
        self.plan = self.governor.open_chunk(
            now,
            self.lead(now),
            load=self.load,
            frames_seconds=1 / self.facts.fps if first else None,
            playing=self.shown.frames > 0,
            due=self.due,
            before=("prompt", "encode") if self.next_prompt or self.next_image else (),
        )
        self.due = None
        self.sigmas, self.hurry, self.began = [1.0], False, now
        if self.next_prompt is not None:
            self.prompt_serial, self.next_prompt = self.next_prompt.serial, None
        if self.next_image is not None:
            self.image_serial, self.next_image = self.next_image.serial, None

    def _close_chunk(self, chunk: int, frame: int, frames: Pixels) -> ChunkMade:
        assert self.plan is not None
        now = self.clock()
        report = self.governor.close_chunk(now, len(self.sigmas) - 1)
        made = ChunkMade(
            self.session,
            chunk,
            frame,
            frames,
            tuple(self.sigmas),
            took=now - self.began,
            cycle=now - self.free_since,
            budget=self.plan.deadline - self.began,
            late=report.late_s,
            made_at=now,
            prompt_serial=self.prompt_serial,
            image_serial=self.image_serial,
            cut=self.cut,
        )
        self.sent += len(frames)
        while self.ends and self.ends[0][0] <= self.played(now):
            self.ends.popleft()
        self.ends.append((self.sent, chunk))
        self.plan, self.free_since, self.restarted, self.cut = None, now, False, False
        return made


def monotonic() -> float:
    """The clock all processes of the host share."""
    return time.monotonic()
