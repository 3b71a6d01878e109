"""The engine process: one loop that runs units of work, always for the session whose picture runs dry first.

It knows no asyncio, no sockets and no clients: commands come in through one pipe, events go out through it. Between any
two units it reads what has come, so a prompt never waits longer than one step.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import time
from functools import partial
from multiprocessing.connection import Connection
from typing import Protocol

from models.errors import FarcastError, ModelError
from stream.governor import CostModel, loads, pick

from .backend import Model
from .protocol import (
    Close,
    Command,
    EngineOptions,
    Event,
    LoadFailed,
    Open,
    PlayoutReport,
    Ready,
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
from .slot import Slot, monotonic

log = logging.getLogger("farcast.engine")

IDLE = 0.5  # seconds to sleep at most when there is nothing to do
SAVE_RATE = 8e6  # bytes a second of snapshots of one session; small ones are made after every chunk
SAVE_SHARE = 0.03  # of the time at most


class CrashMarker(Protocol):
    """Memory shared with the server: the session whose work is being done. The server reads it after a crash."""

    value: bytes


def main(pipe: Connection, options: EngineOptions, crash_marker: CrashMarker) -> None:
    """Entry point of the process. Ends when told to, or when the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle; it then closes the pipe
    logging.basicConfig(level=options.level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads must not keep a shared core busy
    began = time.monotonic()
    try:
        model = _load(options)
        pipe.send(Ready(model.facts, time.monotonic() - began))
        Scheduler(pipe, model, max_lead=options.max_lead, crash_marker=crash_marker).run()
    except FarcastError as error:
        pipe.send(LoadFailed(error.code, str(error)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the server is gone, and so is everybody this process worked for
    except MemoryError:
        log.error("The engine is out of memory.")
        raise SystemExit(1) from None


def _load(options: EngineOptions) -> Model:
    module, _, name = options.factory.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ModelError(
            f"The engine needs a package that is not installed ({error.name}). Install farcast-server.",
            code="not_installed",
        ) from error
    extra = {name: value for name in ("decoder", "lora") if (value := getattr(options, name))}
    model: Model = factory(options.model, options.device, options.threads, options.execution, **extra)
    return model


class Scheduler:
    """All sessions of the device."""

    def __init__(self, pipe: Connection, model: Model, *, max_lead: float, crash_marker: CrashMarker) -> None:
        self.pipe = pipe
        self.crash_marker = crash_marker
        self.model = model
        self.max_lead = max_lead
        self.costs = CostModel()
        self.slots: dict[str, Slot] = {}
        self.saved_at: dict[str, float] = {}  # when the next snapshot may be made
        self.running = True

    def run(self) -> None:
        while self.running:
            now = monotonic()
            waits = {slot: slot.wait(now) for slot in self.slots.values()}
            ready = [slot for slot, wait in waits.items() if wait <= 0]
            self.read(0.0 if ready else min([IDLE, *waits.values()]))
            if not self.running:
                return
            now = monotonic()
            slot = pick([s for s in ready if s.session in self.slots], deadline=partial(Slot.deadline, now=now))
            if slot is not None and slot.wait(now) <= 0:
                self.step(slot)

    def step(self, slot: Slot) -> None:
        """One unit of work for one session. An error of the model ends that session, not the engine."""
        self.crash_marker.value = slot.session.encode()
        if slot.current is None:
            self.share()  # a chunk is about to be planned: by what costs and dials are now
        try:
            for event in slot.run():
                self.send(event)
            self.save(slot)
        except (EOFError, OSError, MemoryError):
            raise
        except Exception as error:
            log.exception("session %s is lost", slot.session)
            self.lose(slot.session, error)

    def lose(self, session: str, error: Exception) -> None:
        self.slots.pop(session, None)
        self.saved_at.pop(session, None)
        code = getattr(error, "code", "model_failed")
        text = str(error) if isinstance(error, FarcastError) else "The model failed on this session. Start a new one."
        self.send(SessionLost(session, code, text))

    def save(self, slot: Slot) -> None:
        """A snapshot between two chunks, often enough to lose little, rarely enough to cost little."""
        now = monotonic()
        if slot.in_chunk or now < self.saved_at.get(slot.session, 0.0):
            return
        chunk = slot.rollout.chunk
        blob = self.model.save(slot.rollout)
        if blob is None:
            self.saved_at[slot.session] = float("inf")
            return
        done = monotonic()
        self.saved_at[slot.session] = done + max(len(blob) / SAVE_RATE, (done - now) / SAVE_SHARE)
        self.send(Saved(slot.session, chunk, blob))

    def send(self, event: Event) -> None:
        self.pipe.send(event)

    # --- commands

    def read(self, timeout: float) -> None:
        """Everything that has come, waiting up to `timeout` seconds for the first."""
        while self.running and self.pipe.poll(timeout):
            self.apply(self.pipe.recv())
            timeout = 0.0

    def apply(self, command: Command) -> None:
        if isinstance(command, Shutdown):
            self.running = False
        elif isinstance(command, Open):
            self.open(command)
        elif (slot := self.slots.get(command.session)) is None:
            return  # closed or lost in the meantime; the server knows
        elif isinstance(command, Close):
            del self.slots[command.session]
            self.saved_at.pop(command.session, None)
            self.share()
        elif isinstance(command, PlayoutReport):
            slot.mirror.on_report(command)
        elif isinstance(command, SetPaused):
            slot.hold(command.on)
            self.share()
        else:
            self.change(slot, command)

    def change(self, slot: Slot, command: SetPrompt | SetDial | SetImage | Rewind) -> None:
        self.crash_marker.value = slot.session.encode()
        try:
            if isinstance(command, SetPrompt):
                events = slot.set_prompt(command)
            elif isinstance(command, SetDial):
                events = slot.set_dial(command)
            elif isinstance(command, SetImage):
                events = slot.set_image(command)
            else:
                events = slot.rewind(command)
        except FarcastError as error:
            events = [Refused(slot.session, command.serial, error.code, str(error))]
        except (EOFError, OSError, MemoryError):
            raise
        except Exception as error:
            log.exception("session %s is lost", slot.session)
            self.lose(slot.session, error)
            return
        for event in events:
            self.send(event)

    def open(self, request: Open) -> None:
        self.crash_marker.value = request.session.encode()
        try:
            rollout = self.model.load(request.snapshot) if request.snapshot else self.model.open(request)
            self.slots[request.session] = Slot(
                request, rollout, self.model.facts, self.costs, max_lead=self.max_lead, clock=monotonic
            )
        except FarcastError as error:
            self.send(SessionLost(request.session, error.code, str(error)))
        except (EOFError, OSError, MemoryError):
            raise
        except Exception as error:
            log.exception("session %s cannot be opened", request.session)
            self.lose(request.session, error)
        self.share()

    def share(self) -> None:
        """The device is shared by the sessions that run, so that the least served has as many steps as can be had."""
        active = [slot for slot in self.slots.values() if not slot.held]
        dials = [slot.governor.dial for slot in active]
        shares = loads(self.costs, dials, chunk_seconds=self.model.facts.chunk_seconds)
        for slot, load in zip(active, shares, strict=True):
            slot.load = load
