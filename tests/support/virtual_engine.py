"""The engine's slots and the server's queues under one virtual clock, with messages that take their time between them.

Everything that decides is the real code: Slot, Governor, PlayoutMirror, Playout, and the scheduler's order. The model,
the pipe and the clock are simulated.
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
    Refused,
    Rewind,
    Rewound,
    SetDial,
    SetImage,
    SetPrompt,
    Superseded,
)
from stream.engine.slot import Slot
from stream.governor import CostModel, Dial, loads, pick
from stream.types import Pixels
from stream.video.playout import Playout
from tests.support.fake_backend import FakeModel, FakeRollout, FakeUnit

COSTS = {"prompt": 0.004, "encode": 0.024, "step": 0.015, "decode": 0.14, "append": 0.028, "rewind": 0.001}
FPS = 16.0


class TimedRollout(FakeRollout):
    """A fake rollout whose units cost virtual time. back: the decoder's state is kept for so many chunks."""

    def __init__(self, model: FakeModel, text: str, spend: Callable[[str], None], back: int) -> None:
        super().__init__(model, text)
        self.spend, self.back = spend, back
        self.text = text
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
            self.text, self.changed = self.wanted or "", self.chunk > 0
        if unit.kind == "append":
            del self.texts[self.chunk :]
            self.texts.append(self.text)
        return super().run(unit, r=r)

    def rewind(self, chunk: int) -> None:
        self.spend("rewind")
        if chunk < self.chunk:
            self.text = self.texts[chunk] if chunk < len(self.texts) else self.text
        super().rewind(chunk)


@dataclass(frozen=True)
class Frame:
    index: int
    chunk: int
    serial: int
    steps: int


@dataclass
class SimulatedSession:
    """One session: its slot in the engine, and the queue on the server's side."""

    slot: Slot
    playout: Playout[Frame]
    received: int = 0
    made: list[ChunkMade] = field(default_factory=list)
    shown: list[tuple[float, Frame]] = field(default_factory=list)
    replaced: set[int] = field(default_factory=set)  # prompts
    asked: dict[int, float] = field(default_factory=dict)
    dials: list[DialTaken] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    cuts: int = 0  # events of each kind
    rewinds: int = 0
    paused: bool = False

    def latency(self, serial: int) -> float | None:
        """From the asking for a prompt to its first frame."""
        return next((at - self.asked[serial] for at, frame in self.shown if frame.serial == serial), None)


class VirtualEngine:
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
        self.sessions: dict[str, SimulatedSession] = {}
        self.serials = itertools.count(1)
        self._order = itertools.count()
        self._mail: list[tuple[float, int, Callable[[], None]]] = []
        self._inbox: list[Callable[[], list[Event]]] = []  # what the engine reads between two units
        self._last = {True: 0.0, False: 0.0}

    # --- what users do

    def open(self, name: str = "s", dial: Dial | None = None) -> SimulatedSession:
        request = Open(name, "red", 0, dial or Dial())
        rollout = TimedRollout(self.model, "red", self.spend, self.back)
        slot = Slot(request, rollout, self.facts, self.shared, max_lead=6.0, clock=lambda: self.now)
        session = self.sessions[name] = SimulatedSession(slot, Playout(FPS, min_fps=8.0, capacity=200))
        return session

    def leave(self, name: str = "s") -> None:
        del self.sessions[name]

    def prompt(self, text: str, name: str = "s") -> int:
        serial = next(self.serials)
        session = self.sessions[name]
        session.asked[serial] = self.now
        self._to_engine(partial(session.slot.set_prompt, SetPrompt(name, serial, text, 0, self.now)), session)
        return serial

    def dial(self, dial: Dial, name: str = "s") -> int:
        serial = next(self.serials)
        session = self.sessions[name]
        self._to_engine(partial(session.slot.set_dial, SetDial(name, serial, dial)), session)
        return serial

    def picture(self, pixels: Pixels, name: str = "s") -> int:
        serial = next(self.serials)
        session = self.sessions[name]
        self._to_engine(partial(session.slot.set_image, SetImage(name, serial, pixels, self.now)), session)
        return serial

    def rewind(self, chunk: int, name: str = "s") -> int:
        serial = next(self.serials)
        session = self.sessions[name]

        def back() -> list[Event]:
            earliest, latest = session.slot.rollout.cheap_rewind_from, session.slot.rollout.chunk
            return session.slot.rewind(Rewind(name, serial, min(max(chunk, earliest), latest)))

        self._to_engine(back, session)
        return serial

    def pause(self, on: bool, name: str = "s") -> None:
        session = self.sessions[name]
        if on:
            session.playout.pause()
        elif session.paused:
            session.playout.resume()
            self._report(session)
        session.paused = on

        def hold() -> list[Event]:
            session.slot.hold(on)
            return []

        self._to_engine(hold, session)

    # --- time

    def spend(self, kind: str) -> None:
        """The device works; the server's side goes on meanwhile."""
        self.until(self.now + self.costs.get(kind, 0.0) * self.noise())

    def until(self, end: float) -> None:
        """Let frames leave and messages arrive, in order."""
        while True:
            due = {name: when for name, d in self.sessions.items() if (when := d.playout.due()) is not None}
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
                self._tick(self.sessions[name])
        self.now = max(self.now, end)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> VirtualEngine:
        """The engine's loop, for so long, or until something holds between two units (which must come in time)."""
        end = self.now + seconds
        while self.now < end:
            if until is not None and until():
                return self
            self.read()
            for session in self.sessions.values():
                if (rewind := session.slot.waiting_rewind(self.now)) is not None:
                    self.answer(session.slot.rewind(rewind), session)
            waits = {d.slot.session: d.slot.wait(self.now) for d in self.sessions.values()}
            ready = [self.sessions[name].slot for name, wait in waits.items() if wait <= 0.0]
            slot = pick(ready, deadline=lambda s: s.deadline(self.now))
            if slot is None:
                self.until(min([end, self.now + 0.01, *(self.now + wait for wait in waits.values())]))
                continue
            if slot.current is None:
                self.share()
            self.answer(slot.run(), self.sessions[slot.session])
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
        active = [session.slot for session in self.sessions.values() if not session.slot.held]
        shares = loads(self.shared, [s.governor.dial for s in active], chunk_seconds=self.facts.chunk_seconds)
        for slot, load in zip(active, shares, strict=True):
            slot.load = load

    # --- messages

    def _to_engine(self, command: Callable[[], list[Event]], session: SimulatedSession) -> None:
        self._post(True, lambda: self._inbox.append(lambda: self.answer(command(), session) or []))

    def answer(self, events: list[Event], session: SimulatedSession) -> None:
        for event in events:
            self._post(False, partial(self._on_event, session, event))

    def _post(self, inward: bool, action: Callable[[], None]) -> None:
        at = self._last[inward] = max(self.now + self.delay(), self._last[inward])
        heapq.heappush(self._mail, (at, next(self._order), action))

    def _on_event(self, session: SimulatedSession, event: Event) -> None:
        session.received += isinstance(event, ChunkMade | DropFrom | Rewound)
        if isinstance(event, ChunkMade):
            if event.replaces_queue:
                session.playout.clear()
            session.made.append(event)
            count = len(event.frames)
            serial, steps = event.prompt_serial, event.steps
            session.playout.push([Frame(event.frame + i, event.chunk, serial, steps) for i in range(count)])
        elif isinstance(event, DropFrom):
            session.cuts += 1
            session.playout.clear(lambda frame: frame.chunk >= event.chunk)
            self._report(session)
        elif isinstance(event, Rewound):
            session.rewinds += 1
            session.playout.clear()
            self._report(session)
        elif isinstance(event, Superseded):
            session.replaced.add(event.serial)
        elif isinstance(event, Refused):
            session.refused.append(event)
        elif isinstance(event, DialTaken):
            session.dials.append(event)

    def _tick(self, session: SimulatedSession) -> None:
        due = session.playout.tick(self.now)
        if due is not None:
            session.shown.append((self.now, due.item))
            self._report(session)

    def _report(self, session: SimulatedSession) -> None:
        playout = session.playout
        playing = playout.consumed > 0
        report = PlayoutReport(session.slot.session, session.received, len(playout), self.now, playout.rate, playing)

        def read() -> list[Event]:
            session.slot.mirror.on_report(report)
            return []

        self._to_engine(read, session)
