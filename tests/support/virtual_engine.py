"""The engine's slots and the server's queues under one virtual clock, with messages that take their time between them.

Everything that decides is the real code: Slot, Governor, InHand, Playout, and the worker's order. Only the model, the
pipe and the clock are made up.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from stream.engine.protocol import (
    ChunkMade,
    DialTaken,
    DropFrom,
    Event,
    ModelFacts,
    Open,
    PlayoutReport,
    Rewind,
    Rewound,
    SetDial,
    SetImage,
    SetPrompt,
    Superseded,
)
from stream.engine.slot import Slot
from stream.governor import CostModel, loads, pick
from stream.governor.dial import DialSetting
from stream.types import Pixels
from stream.video.playout import Playout
from tests.support.fake_backend import FakeModel, FakeTake, FakeUnit

COSTS = {"prompt": 0.004, "encode": 0.024, "step": 0.015, "decode": 0.14, "append": 0.028, "rewind": 0.001}
FPS = 16.0


class TimedTake(FakeTake):
    """A fake take whose units cost virtual time. `parted`: the codec's state goes back so many chunks."""

    def __init__(self, model: FakeModel, text: str, spend: Callable[[str], None], back: int) -> None:
        super().__init__(model, text)
        self.spend, self.back = spend, back
        self.told = text
        self.texts: list[str] = []  # in force for each chunk made
        self.changed = False

    @property
    def cheap_rewind_from(self) -> int:  # type: ignore[override]
        return max(0, self.chunk - self.back)

    def next(self) -> FakeUnit:
        unit = super().next()
        return FakeUnit("encode") if unit.kind == "step" and self.changed else unit

    def run(self, unit: FakeUnit, *, r: float | None = None) -> Pixels | None:
        self.spend(unit.kind)
        if unit.kind == "encode" and self.changed:
            self.changed = False
            return None
        if unit.kind == "prompt":
            self.told, self.changed = self.wanted or "", self.chunk > 0
        if unit.kind == "append":
            del self.texts[self.chunk :]
            self.texts.append(self.told)
        return super().run(unit, r=r)

    def rewind(self, chunk: int) -> None:
        self.spend("rewind")
        if chunk < self.chunk:
            self.told = self.texts[chunk] if chunk < len(self.texts) else self.told
        super().rewind(chunk)


@dataclass(frozen=True)
class Frame:
    index: int
    chunk: int
    serial: int
    steps: int


@dataclass
class Desk:
    """The server's side of one session."""

    slot: Slot
    playout: Playout[Frame]
    heard: int = 0
    made: list[ChunkMade] = field(default_factory=list)
    shown: list[tuple[float, Frame]] = field(default_factory=list)
    replaced: set[int] = field(default_factory=set)  # prompts
    asked: dict[int, float] = field(default_factory=dict)
    dials: list[DialTaken] = field(default_factory=list)
    cuts: int = 0  # events of each kind
    rewinds: int = 0
    paused: bool = False

    def latency(self, serial: int) -> float | None:
        """From the asking for a prompt to its first frame."""
        return next((at - self.asked[serial] for at, frame in self.shown if frame.serial == serial), None)


class World:
    """`delay`: seconds a message takes either way, asked anew for each; messages never overtake one another."""

    def __init__(
        self,
        *,
        costs: dict[str, float] | None = None,
        delay: Callable[[], float] = lambda: 0.0,
        noise: Callable[[], float] = lambda: 1.0,
        back: int = 4,
    ) -> None:
        self.now = 0.0
        self.costs = {**COSTS, **(costs or {})}
        self.delay, self.noise, self.back = delay, noise, back
        self.model = FakeModel(16, {})
        self.facts = ModelFacts("fake", 16, 16, FPS, 12)
        self.shared = CostModel()
        self.desks: dict[str, Desk] = {}
        self.serials = itertools.count(1)
        self._order = itertools.count()
        self._mail: list[tuple[float, int, Callable[[], None]]] = []
        self._inbox: list[Callable[[], list[Event]]] = []  # what the engine reads between two units
        self._last = {True: 0.0, False: 0.0}

    # --- what people do

    def open(self, name: str = "s", dial: DialSetting | None = None) -> Desk:
        request = Open(name, "red", 0, dial or DialSetting())
        take = TimedTake(self.model, "red", self.spend, self.back)
        slot = Slot(request, take, self.facts, self.shared, max_lead=6.0, clock=lambda: self.now)
        desk = self.desks[name] = Desk(slot, Playout(FPS, min_fps=8.0, capacity=200))
        return desk

    def leave(self, name: str = "s") -> None:
        del self.desks[name]

    def prompt(self, text: str, name: str = "s") -> int:
        serial = next(self.serials)
        desk = self.desks[name]
        desk.asked[serial] = self.now
        self._to_engine(partial(desk.slot.set_prompt, SetPrompt(name, serial, text, 0, self.now)), desk)
        return serial

    def dial(self, dial: DialSetting, name: str = "s") -> int:
        serial = next(self.serials)
        desk = self.desks[name]
        self._to_engine(partial(desk.slot.set_dial, SetDial(name, serial, dial)), desk)
        return serial

    def picture(self, pixels: Pixels, name: str = "s") -> int:
        serial = next(self.serials)
        desk = self.desks[name]
        self._to_engine(partial(desk.slot.new_shot, SetImage(name, serial, pixels, self.now)), desk)
        return serial

    def rewind(self, chunk: int, name: str = "s") -> int:
        serial = next(self.serials)
        desk = self.desks[name]

        def back() -> list[Event]:
            earliest, latest = desk.slot.take.cheap_rewind_from, desk.slot.take.chunk
            return desk.slot.rewind(Rewind(name, serial, min(max(chunk, earliest), latest)))

        self._to_engine(back, desk)
        return serial

    def pause(self, on: bool, name: str = "s") -> None:
        desk = self.desks[name]
        if on:
            desk.playout.pause()
        elif desk.paused:
            desk.playout.resume()
            self._report(desk)
        desk.paused = on

        def hold() -> list[Event]:
            desk.slot.hold(on)
            return []

        self._to_engine(hold, desk)

    # --- time

    def spend(self, kind: str) -> None:
        """The device works; the server's side goes on meanwhile."""
        self.until(self.now + self.costs.get(kind, 0.0) * self.noise())

    def until(self, end: float) -> None:
        """Let frames leave and messages arrive, in order."""
        while True:
            due = {name: when for name, d in self.desks.items() if (when := d.playout.due()) is not None}
            name = min(due, key=lambda n: due[n], default=None)
            frame_at = max(self.now, due[name]) if name is not None else float("inf")
            mail_at = self._mail[0][0] if self._mail else float("inf")
            if min(frame_at, mail_at) > end:
                break
            if mail_at <= frame_at:
                self.now = max(self.now, mail_at)
                heapq.heappop(self._mail)[2]()
            else:
                assert name is not None
                self.now = frame_at
                self._tick(self.desks[name])
        self.now = max(self.now, end)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> World:
        """The engine's loop, for so long, or until something holds between two units (which must come in time)."""
        end = self.now + seconds
        while self.now < end:
            if until is not None and until():
                return self
            self.read()
            waits = {d.slot.session: d.slot.wait(self.now) for d in self.desks.values()}
            ready = [self.desks[name].slot for name, wait in waits.items() if wait <= 0.0]
            slot = pick(ready, deadline=lambda s: s.deadline(self.now))
            if slot is None:
                self.until(min([end, self.now + 0.01, *(self.now + wait for wait in waits.values())]))
                continue
            if slot.plan is None:
                self.share()
            self.answer(slot.run(), self.desks[slot.session])
        assert until is None, "it did not come to that"
        return self

    def read(self) -> None:
        """The engine reads what has come."""
        self.until(self.now)
        for command in self._inbox[:]:
            del self._inbox[0]
            command()

    def settle(self) -> None:
        """Everything on its way arrives; the engine stands still meanwhile."""
        self.until(self.now + 0.2)
        self.read()

    def share(self) -> None:
        active = [desk.slot for desk in self.desks.values() if not desk.slot.held]
        shares = loads(self.shared, [s.governor.dial for s in active], chunk_seconds=self.facts.chunk_seconds)
        for slot, load in zip(active, shares, strict=True):
            slot.load = load

    # --- messages

    def _to_engine(self, command: Callable[[], list[Event]], desk: Desk) -> None:
        self._post(True, lambda: self._inbox.append(lambda: self.answer(command(), desk) or []))

    def answer(self, events: list[Event], desk: Desk) -> None:
        for event in events:
            self._post(False, partial(self._hear, desk, event))

    def _post(self, inward: bool, action: Callable[[], None]) -> None:
        at = self._last[inward] = max(self.now + self.delay(), self._last[inward])
        heapq.heappush(self._mail, (at, next(self._order), action))

    def _hear(self, desk: Desk, event: Event) -> None:
        desk.heard += isinstance(event, ChunkMade | DropFrom | Rewound)
        if isinstance(event, ChunkMade):
            if event.cut:
                desk.playout.clear()
            desk.made.append(event)
            count = len(event.frames)
            serial, steps = event.prompt_serial, event.steps
            desk.playout.push([Frame(event.frame + i, event.chunk, serial, steps) for i in range(count)])
        elif isinstance(event, DropFrom):
            desk.cuts += 1
            desk.playout.clear(lambda frame: frame.chunk >= event.chunk)
            self._report(desk)
        elif isinstance(event, Rewound):
            desk.rewinds += 1
            desk.playout.clear()
            self._report(desk)
        elif isinstance(event, Superseded):
            desk.replaced.add(event.serial)
        elif isinstance(event, DialTaken):
            desk.dials.append(event)

    def _tick(self, desk: Desk) -> None:
        due = desk.playout.tick(self.now)
        if due is not None:
            desk.shown.append((self.now, due.item))
            self._report(desk)

    def _report(self, desk: Desk) -> None:
        playout = desk.playout
        playing = playout.consumed > 0
        report = PlayoutReport(desk.slot.session, desk.heard, len(playout), self.now, playout.rate, playing)

        def read() -> list[Event]:
            desk.slot.inhand.heard(report)
            return []

        self._to_engine(read, desk)
