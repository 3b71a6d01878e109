"""One session inside the engine: its take, its governor, what has been shown of it, and the changes that wait.

A slot knows no pipe and no other slot. `run` does one unit of work and says what came of it; the worker decides whose
unit runs next by `deadline`, among those whose `wait` is zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from stream.governor import ChunkPlan, CostModel, Dial, EngineSnapshot, Governor, plan_prompt
from stream.governor.dial import DialSetting
from stream.governor.prompt_policy import DELIVERY_S, GOES_BACK, REPLACES
from stream.types import Pixels

from .backend import RequestRefused, RolloutBackend, Unit
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
OPENINGS = 2  # times a chunk may be opened, before a flood of prompts keeps it from ever being begun

Clock = Callable[[], float]


def governor_dial(setting: DialSetting) -> Dial:
    return Dial(setting.latency_ms, setting.floor, setting.ceiling, setting.steps)


class Slot:
    """`load`: by how much the other sessions stretch this one's work (1 = alone); set by the worker."""

    def __init__(
        self, request: Open, take: RolloutBackend, facts: ModelFacts, costs: CostModel, *, max_lead: float, clock: Clock
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
        self.inhand = PlayoutMirror(request.session, facts.fps)
        self.sigmas: list[float] = []
        self.asked = request.asked  # the prompt asked for last
        self.opened: list[PromptApplied | None] = []  # see ChunkMade; of the chunk in progress
        self.shot: Pixels | None = None  # likewise
        self.rebuilt = take.rebuilt  # likewise
        self.prompt_serial = request.prompt_serial  # carried by the chunk in progress
        self.image_serial = request.image_serial
        self.next_prompt: SetPrompt | None = None  # not carried by a chunk yet
        self.kept_back = False  # nor given to the take
        self.next_image: SetImage | None = None
        self.hurry = False  # finish the chunk in progress with the next step
        self.cut = False  # the chunk that will carry the prompt replaces what is queued ...
        self.cutting = False  # ... and the one in progress is that chunk
        self.shot_from = 0  # the chunk of the last picture, which must be shown once
        self.due: float | None = None  # when the next chunk should be seen, because a prompt waits for it
        self.restarted = False  # once a chunk, or a flood of prompts would keep it from ever being finished
        self.free_since = clock()  # when the previous chunk ended, moved on while waiting for room
        self.began = 0.0

    # --- what the worker asks

    def lead(self, now: float) -> float:
        """Seconds of video that are made and not yet shown."""
        return self.inhand.frames(now) / self.facts.fps

    def hold(self, on: bool) -> None:
        """Stop making chunks, or go on."""
        self.held, self.inhand.running = on, not on

    def wait(self, now: float) -> float:
        """Seconds until this slot may run; infinite while it is held."""
        if self.held:
            return float("inf")
        if self.plan is not None or self.take.next().kind == "append" or self.cut:
            return 0.0
        lead = self.lead(now)
        room = self.governor.may_start(now, lead)
        if lead > 0.0:  # the bound on memory holds whatever the dial says
            room = max(room, lead + self.facts.chunk_seconds - self.max_lead)
        if room > 0:
            self.free_since = now
        return room

    def deadline(self, now: float) -> float:
        """When the picture runs dry without this slot's next chunk, or a prompt that waits is due."""
        dry = now + self.lead(now) if self.plan is None else self.plan.deadline
        return dry if self.due is None else min(dry, self.due)

    # --- changes

    def set_prompt(self, change: SetPrompt) -> list[Event]:
        """Raises the model's error for a prompt it refuses."""
        if self.plan is not None and (self.restarted or len(self.opened) >= OPENINGS):
            self.kept_back = True
        else:
            self.take.prompt(change.asked, transition=change.transition)
            self.kept_back, self.asked = False, change.asked
        events: list[Event] = []
        if self.next_prompt is not None:
            events.append(Superseded(self.session, self.next_prompt.serial))
        self.next_prompt = change
        return events + self._turn(change.at)

    def _give(self) -> list[Event]:
        """The chunk is done: the prompt that was kept back from it may come in force."""
        change = self.next_prompt
        if not self.kept_back or change is None:
            return []
        self.kept_back = False
        try:
            self.take.prompt(change.asked, transition=change.transition)
        except RequestRefused as error:
            self.next_prompt = None
            return [Refused(self.session, change.serial, error.code, str(error))]
        self.asked = change.asked
        return []

    def set_dial(self, change: SetDial) -> list[Event]:
        """Raises GovernorError for a dial that makes no sense."""
        self.governor.set_dial(governor_dial(change.dial))
        return [DialTaken(self.session, change.serial, self.take.chunk, self.take.frame)]

    def new_shot(self, change: SetImage) -> list[Event]:
        self.take.image(change.image)
        self.next_image = change
        return self._turn(change.at)

    def rewind(self, change: Rewind) -> list[Event]:
        """Raises the model's error when the chunk is not there any more. The prompt asked for last stays in force."""
        self._rewind(change.chunk)
        self.take.prompt(self.asked)
        refusals = self._give()
        self._abandon()
        self.hurry = self.restarted = self.cut = False
        self.inhand.clear()
        return [*refusals, Rewound(self.session, change.serial, self.take.chunk, self.take.frame)]

    def _turn(self, at: float) -> list[Event]:
        """Something asked for `at` is to be seen soon: what becomes of what is made, and of what is being made?"""
        now = self.clock()
        if self.held or not self.inhand.report.playing:
            return []
        dial, frame_s = self.governor.dial, 1 / self.facts.fps
        keep = self._keep(now)
        turn = plan_prompt(
            self._moment(now, at, None if keep is None else keep[1]),
            self.costs,
            dial,
            chunk_seconds=self.facts.chunk_seconds,
            budget=self.governor.budget,
            load=self.load,
            frame_s=frame_s,
            can_rewind=keep is not None,
            can_restart=not self.restarted,
            keys=self.governor.forecast.keys,
        )
        self.cut = turn.queue in REPLACES
        self.due = at + dial.latency_s - DELIVERY_S - (frame_s if self.cut else 0.0)
        if turn.chunk == "finish":
            self.hurry = True
        elif turn.chunk == "restart" and self.plan is not None:
            self.restarted = True
            self.take.restart_chunk()
            self._abandon()
        if turn.queue in GOES_BACK and keep is not None:
            return self._go_back(keep[0], now)
        return []

    def _moment(self, now: float, at: float, kept: float | None) -> EngineSnapshot:
        """kept: frames that must still be shown when all that can be taken back is."""
        fps, unit = self.facts.fps, self.take.next()
        shown_left = (self.inhand.rest(now) if kept is None else kept) / fps
        done = len(self.sigmas) - 1
        left = self.plan.steps - done if self.plan is not None and self.take.sigma > 0.0 else 0
        busy = self.costs.estimate("append", 0.9, unit.cost_key) * self.load if unit.kind == "append" else 0.0
        return EngineSnapshot(
            elapsed=max(0.0, now - at),
            shown_left=shown_left,
            queued=max(0.0, self.lead(now) - shown_left),
            busy=busy,
            in_progress=self.plan is not None,
            done=done if self.plan is not None else 0,
            left=max(0, left),
        )

    def _keep(self, now: float) -> tuple[int, float] | None:
        """The last chunk to be shown, and the frames to be shown up to its end, if the rest were taken back."""
        return self.inhand.keep(now, MARGIN, max(self.take.cheap_rewind_from - 1, self.shot_from))

    def _go_back(self, chunk: int, now: float) -> list[Event]:
        """To the end of `chunk`; what was made after it will not be shown."""
        self._rewind(chunk + 1)
        if self.next_prompt is None:  # the one in force may have come after that chunk
            self.take.prompt(self.asked)
        refusals = self._give()
        self.costs.observe("rewind", self.clock() - now)
        self.inhand.forget(chunk + 1)
        self._abandon()
        return [*refusals, DropFrom(self.session, self.take.chunk, self.take.frame)]

    def _rewind(self, chunk: int) -> None:
        """Take the take back, and note what of its memory that makes anew."""
        same, begun = chunk == self.take.chunk, self.take.sigma < 1.0
        deep = chunk < self.take.cheap_rewind_from or (same and self.rebuilt == "all")
        self.take.rewind(chunk)
        if not same or begun:
            self.rebuilt = "all" if deep else "context"
        if not same:  # a picture that this chunk has taken stays with it
            self.shot = None
        self.opened.clear()

    def _abandon(self) -> None:
        """The chunk in progress is not to be finished as it was begun."""
        if self.plan is not None:
            self.governor.drop_chunk()
            self.plan, self.free_since = None, self.clock()

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
        self._carry(unit)
        chunk, frame = self.take.chunk, self.take.frame
        frames = self.take.run(unit, r=r)
        took = self.clock() - now
        self._learn(unit, took)
        events: list[Event] = [Measured(unit.kind, took)]
        if frames is not None:
            events += [self._close_chunk(chunk, frame, frames), *self._give()]
        return events

    def _open_chunk(self, now: float) -> None:
        first = self.take.chunk == 0 or self.next_image is not None  # one frame, see Rollout
        self.plan = self.governor.open_chunk(
            now,
            self.lead(now),
            load=self.load,
            frames_seconds=1 / self.facts.fps if first else None,
            playing=self.inhand.report.playing,
            due=self.due,
            before=("prompt", "encode") if self.next_prompt or self.next_image else (),
        )
        self.due = None
        self.sigmas, self.hurry, self.began = [1.0], False, now
        self.cutting, self.cut = self.cut, False

    def _carry(self, unit: Unit) -> None:
        """What the chunk in progress takes on with this unit: the prompt or the picture asked for last."""
        if unit.kind == "prompt":
            self.opened.append(self.take.opens)
            if self.opened[-1] is not None and self.next_prompt is not None:
                self.prompt_serial, self.next_prompt = self.next_prompt.serial, None
        elif unit.kind == "encode" and self.take.sigma == 1.0 and self.take.shot is not None:
            self.shot = self.take.shot
            if self.next_image is not None:
                self.image_serial, self.next_image = self.next_image.serial, None
                self.shot_from = self.take.chunk

    def _learn(self, unit: Unit, took: float) -> None:
        key = unit.cost_key
        self.costs.observe(unit.kind, took, key)
        if unit.kind != "encode" or (isinstance(key, tuple) and key[:1] == ("context",)):  # of which a turn needs one
            self.governor.forecast.keys[unit.kind] = key

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
            cut=self.cutting,
            opened=tuple(self.opened),
            shot=self.shot,
            rebuilt=self.rebuilt,
        )
        self.opened, self.shot, self.rebuilt = [], None, ""
        self.inhand.made(chunk, len(frames), replaces=self.cutting)
        self.plan, self.free_since, self.restarted = None, now, False
        return made


def monotonic() -> float:
    """The clock all processes of the host share."""
    return time.monotonic()
