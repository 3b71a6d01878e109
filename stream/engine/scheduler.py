"""One loop in the engine process that runs units of work, always for the session whose picture runs dry first.

It knows no asyncio, no sockets and no clients: commands come in through one pipe, events go out through it. Between any
two units it reads what has come, so a prompt never waits longer than one step; and no more of it than `COMMANDS`, so
that a flood of commands does not keep the device idle. A GPU is given the next unit shortly before it is done with the
last (`device_queue`); until then the loop waits for commands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection

from models.errors import FarcastError
from stream.governor import CostModel, loads, pick

from .backend import Model, Unit
from .device_queue import POLL_S, DeviceQueue, Flight
from .heartbeat import FIRST_S, HANG_FACTOR, HANG_S, Heartbeat
from .protocol import (
    Close,
    Command,
    Event,
    Open,
    PlayoutReport,
    Refused,
    Rewind,
    Saved,
    SessionLost,
    SetDial,
    SetImage,
    SetPaused,
    SetPrompt,
    Shutdown,
)
from .shedding import Shedding
from .slot import Slot, monotonic

log = logging.getLogger("farcast.engine")

COMMANDS = 64  # read between two units at most
IDLE = 0.5  # seconds to sleep at most when there is nothing to do
SAVE_RATE = 8e6  # bytes a second of snapshots of one session; small ones are made after every chunk
SAVE_SHARE = 0.03  # of the time at most


class Scheduler:
    """All sessions of the device. hang_s: the least time after which a unit of work counts as hung."""

    def __init__(
        self, pipe: Connection, model: Model, heartbeat: Heartbeat, *, max_lead: float, hang_s: float = HANG_S
    ) -> None:
        self.pipe = pipe
        self.model = model
        self.heartbeat = heartbeat
        self.max_lead = max_lead
        self.hang_s = hang_s
        self.costs = CostModel()
        self.device = DeviceQueue(model.timer(monotonic), self.costs, monotonic)
        self.slots: dict[str, Slot] = {}
        self.saved_at: dict[str, float] = {}  # when the next snapshot may be made
        self.shedding = Shedding()
        self.running = True

    def run(self) -> None:
        """Until `Shutdown`. Raises EOFError or OSError when the server is gone."""
        while self.running:
            self.collect()
            now = monotonic()
            waits = {slot: slot.wait(now) for slot in self.slots.values()}
            ready = [slot for slot, wait in waits.items() if wait <= 0]
            if not self.device.flights:  # else the beat of what was launched counts: it may hang
                self.heartbeat.beat("idle", limit=max(self.hang_s, 2 * IDLE))
            pause = self.device.wait(now) if ready else min([IDLE, *waits.values()])
            self.read(min(pause, POLL_S) if self.device.flights and not ready else pause)
            if not self.running:
                return
            self.collect()
            now = monotonic()
            if self.device.wait(now) > 0.0:
                continue
            for slot in list(self.slots.values()):
                if (rewind := slot.waiting_rewind(now)) is not None:
                    self.change(slot, rewind)
            ready = [slot for slot in ready if self.slots.get(slot.session) is slot]
            nearest = pick(ready, deadline=partial(Slot.deadline, now=now))
            if nearest is not None and nearest.wait(now) <= 0:
                self.step(nearest)

    def step(self, slot: Slot) -> None:
        """One unit of work for one session. An error of the model ends that session, not the engine."""
        if slot.current is None:
            self.share()  # a chunk is about to be planned: by what costs and dials are now
        unit = slot.rollout.next()
        self.heartbeat.beat(unit.kind, slot.session, limit=self.limit(unit))
        if self.guarded(slot.session, slot.launch, slot=slot, kind=unit.kind):
            self.collect()

    def collect(self) -> None:
        """What the device has done: the events of it, and snapshots of sessions that are between two chunks."""
        self._completed(self.device.completed())

    def _completed(self, flights: list[Flight]) -> None:
        for flight in flights:
            slot: Slot | None = flight.owner
            if slot is None or self.slots.get(slot.session) is not slot:
                continue  # it is gone
            if self.guarded(slot.session, partial(slot.complete, flight), slot=slot, kind=flight.unit.kind):
                self.save(slot)

    def limit(self, unit: Unit) -> float:
        """Seconds after which this unit counts as hung."""
        if not self.costs.known(unit.kind, unit.cost_key):
            return max(self.hang_s, FIRST_S)
        return max(self.hang_s, HANG_FACTOR * self.costs.estimate(unit.kind, 0.9, unit.cost_key))

    def guarded(
        self, session: str, work: Callable[[], list[Event]], *, slot: Slot | None = None, kind: str = ""
    ) -> bool:
        """Do it and send the events. Whatever the model raises ends this session, or makes room; False then."""
        short = False
        try:
            for event in work():
                self.send(event)
            return True
        except (EOFError, OSError):
            raise
        except Exception as error:
            short = self.model.out_of_memory(error)
            if not short:
                log.exception("session %s is lost", session)
                self.lose(session, error)
        if short:  # here, where nothing holds the tensors of the frames that failed any more
            self.make_room(session, slot, kind)
        return False

    def make_room(self, session: str, slot: Slot | None, kind: str) -> None:
        """Memory ran out in this session's work; see `shedding`."""
        log.error("out of memory in the work of session %s", session)
        change: SetPrompt | SetImage | None = None
        if slot is not None:
            change = {"prompt": slot.next_prompt, "encode": slot.next_image}.get(kind)
        if change is not None:  # not to be tried again when the session is opened again
            message = "The device has no memory for this now. Try again later."
            self.send(Refused(session, change.serial, "out_of_memory", message))
        held = {name for name, other in self.slots.items() if other.held}
        for event in self.shedding.on_out_of_memory(monotonic(), session, list(self.slots), held):
            self.drop(event.session, forget=isinstance(event, SessionLost))
            self.send(event)
        self.model.free_memory()
        self.share()

    def lose(self, session: str, error: Exception) -> None:
        self.drop(session)
        code = getattr(error, "code", "model_failed")
        text = str(error) if isinstance(error, FarcastError) else "The model failed on this session. Start a new one."
        self.send(SessionLost(session, code, text))

    def drop(self, session: str, *, forget: bool = True) -> None:
        """Let go of a slot. forget: the session does not come back."""
        if (slot := self.slots.pop(session, None)) is not None:
            self.device.forget(slot)
            slot.release()
        self.saved_at.pop(session, None)
        if forget:
            self.shedding.forget(session)

    def save(self, slot: Slot) -> None:
        """A snapshot between two chunks, often enough to lose little, rarely enough to cost little."""
        now = monotonic()
        if slot.in_chunk or now < self.saved_at.get(slot.session, 0.0):
            return
        chunk = slot.rollout.chunk
        self.heartbeat.beat("save", slot.session, limit=FIRST_S)

        def saved() -> list[Event]:
            blob = self.model.save(slot.rollout)
            if blob is None:
                self.saved_at[slot.session] = float("inf")
                return []
            done = monotonic()
            self.saved_at[slot.session] = done + max(len(blob) / SAVE_RATE, (done - now) / SAVE_SHARE)
            return [Saved(slot.session, chunk, blob)]

        self.guarded(slot.session, saved, slot=slot, kind="save")

    def send(self, event: Event) -> None:
        self.pipe.send(event)

    # --- commands

    def read(self, timeout: float) -> None:
        """What has come, waiting up to `timeout` seconds for the first. Of one session's rewinds the last counts."""
        commands: list[Command] = []
        while len(commands) < COMMANDS and self.pipe.poll(timeout):
            commands.append(self.pipe.recv())
            timeout = 0.0
        last = {command.session: command for command in commands if isinstance(command, Rewind)}
        for command in commands:
            if not isinstance(command, Rewind) or last[command.session] is command:
                self.apply(command)
            if not self.running:
                return

    def apply(self, command: Command) -> None:
        if isinstance(command, Shutdown):
            self.running = False
        elif isinstance(command, Open):
            self.open(command)
        elif (slot := self.slots.get(command.session)) is None:
            return  # closed or lost in the meantime; the server knows
        elif isinstance(command, Close):
            self.drop(command.session)
            self.share()
        elif isinstance(command, PlayoutReport):
            slot.mirror.on_report(command)
        elif isinstance(command, SetPaused):
            slot.hold(command.on)
            self.share()
        else:
            self.change(slot, command)

    def change(self, slot: Slot, command: SetPrompt | SetDial | SetImage | Rewind) -> None:
        self._completed(self.device.finish(slot))  # a chunk that is decoded is made, whatever is asked for now
        if self.slots.get(slot.session) is not slot:
            return
        self.heartbeat.beat("change", slot.session, limit=FIRST_S)

        def changed() -> list[Event]:
            try:
                if isinstance(command, SetPrompt):
                    return slot.set_prompt(command)
                if isinstance(command, SetDial):
                    return slot.set_dial(command)
                if isinstance(command, SetImage):
                    return slot.set_image(command)
                return slot.rewind(command)
            except FarcastError as error:
                return [Refused(slot.session, command.serial, error.code, str(error))]

        self.guarded(slot.session, changed, slot=slot, kind="change")

    def open(self, request: Open) -> None:
        self.heartbeat.beat("open", request.session, limit=FIRST_S)

        def opened() -> list[Event]:
            rollout = self.model.load(request.snapshot) if request.snapshot else self.model.open(request)
            self.slots[request.session] = Slot(
                request, rollout, self.model.facts, self.costs, max_lead=self.max_lead, clock=monotonic,
                device=self.device,
            )  # fmt: skip
            self.shedding.opened(request.session)
            return []

        self.guarded(request.session, opened)
        self.share()

    def share(self) -> None:
        """The device is shared by the sessions that run, so that the least served has as many steps as can be had."""
        active = [slot for slot in self.slots.values() if not slot.held]
        dials = [slot.governor.dial for slot in active]
        shares = loads(self.costs, dials, chunk_seconds=self.model.facts.chunk_seconds)
        for slot, load in zip(active, shares, strict=True):
            slot.load = load
