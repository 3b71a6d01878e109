"""Who is in the fleet and which session is where: a state machine, without clocks, sockets or a database.

All it knows can be learned again from the workers' heartbeats and the state store, so that it may be started anew at
any time. Times are seconds on the clock of whoever calls; nothing of a worker's clock is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from .placement import ASKED, LEASE_S, NoPlace, PlaceRequest, WorkerView, candidates, why_not

RESERVED_S = 5.0  # a placement counts for so long before a heartbeat names its session


class Fenced(Exception):
    """The lease is over: the worker registers again under a new epoch."""


@dataclass(frozen=True)
class Report:
    """A heartbeat. sessions: id -> epoch of those that run. For the shares see `WorkerView`."""

    load: float
    session_load: float | None
    step_load: float
    sessions: Mapping[str, int]
    max_sessions: int
    ready: bool
    draining: bool
    state_healthy: bool
    model: str
    weights: str
    pid: int = 0


@dataclass(frozen=True)
class Place:
    """Where a session is. worker: None while it waits to be placed again. since: when that began."""

    worker: str | None
    epoch: int
    since: float


@dataclass(frozen=True)
class Orphan:
    """A session without a worker, and who may take it, best first."""

    session: str
    epoch: int
    asked: tuple[WorkerView, ...]


@dataclass
class _Worker:
    view: WorkerView
    healthy: bool = True  # its state store
    reserved: dict[str, tuple[float, float]] = field(default_factory=dict)  # ticket or session -> load, until


class Directory:
    """`rng`: draws the workers that are compared."""

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng or Random()
        self._workers: dict[str, _Worker] = {}
        self._places: dict[str, Place] = {}
        self._epochs: dict[str, int] = {}  # newest lease of each worker
        self._tickets = 0
        self.counts: dict[str, int] = {"placed": 0, "full": 0, "hand_overs": 0, "dead_workers": 0}

    # --- workers

    def register(self, worker: str, url: str, model: str, weights: str, now: float, least_epoch: int = 0) -> int:
        """A lease for a worker that starts, or whose lease is over; returns its epoch, above `least_epoch`, the one it
        had. Sessions that an earlier life of it had are placed again."""
        if worker in self._workers:
            self.gone(worker, now)
        epoch = max(self._epochs.get(worker, 0), least_epoch) + 1
        self._epochs[worker] = epoch
        view = WorkerView(worker, url, model, weights, ready=False, seen_at=now, epoch=epoch)
        self._workers[worker] = _Worker(view)
        return epoch

    def heartbeat(self, worker: str, epoch: int, report: Report, now: float) -> None:
        """Raises Fenced for a lease that is over or unknown, as after a restart of the directory."""
        known = self._workers.get(worker)
        if known is None or known.view.epoch != epoch:
            raise Fenced(worker)
        known.reserved = {
            key: kept for key, kept in known.reserved.items() if kept[1] > now and key not in report.sessions
        }
        known.healthy = report.state_healthy
        extra = sum(load for load, _ in known.reserved.values())
        known.view = replace(
            known.view,
            model=report.model, weights=report.weights, load=report.load + extra, session_load=report.session_load,
            step_load=report.step_load, sessions=len(report.sessions) + len(known.reserved),
            max_sessions=report.max_sessions, ready=report.ready, draining=known.view.draining or report.draining,
            seen_at=now, pid=report.pid,
        )  # fmt: skip
        for session, at in report.sessions.items():
            place = self._places.get(session)
            if place is None or at >= place.epoch:  # a lower one is about to notice that it lost the session
                self._places[session] = Place(worker, at, place.since if place and place.worker == worker else now)
        for session, place in list(self._places.items()):
            ended = place.worker == worker and session not in report.sessions and session not in known.reserved
            if ended and not known.view.draining and report.ready:
                del self._places[session]

    def draining(self, worker: str) -> None:
        """No session more for it. Raises KeyError for a worker that is not known."""
        known = self._workers[worker]
        known.view = replace(known.view, draining=True)

    def gone(self, worker: str, now: float) -> list[str]:
        """The worker runs nothing any more: its sessions wait to be placed again. Returns them."""
        if self._workers.pop(worker, None) is None:
            return []
        lost = [session for session, place in self._places.items() if place.worker == worker]
        for session in lost:
            self._places[session] = Place(None, self._places[session].epoch, now)
        return lost

    def expire(self, now: float) -> list[str]:
        """Workers whose lease is over are gone; returns their ids."""
        dead = [name for name, known in self._workers.items() if now - known.view.seen_at > LEASE_S]
        for name in dead:
            self.counts["dead_workers"] += 1
            self.gone(name, now)
        return dead

    # --- sessions

    def candidates(self, request: PlaceRequest, now: float) -> tuple[str, list[WorkerView]] | NoPlace:
        """A ticket, and whom to ask in which order. The first one's place is reserved for the ticket."""
        views = self.views
        asked = candidates(views, request, self._rng, ASKED, now=now)
        if not asked:
            self.counts["full"] += 1
            return why_not(views, request, now)
        self._tickets += 1
        ticket = f"ticket {self._tickets}"
        self._reserve(asked[0].id, ticket, request, now)
        return ticket, asked

    def placed(self, ticket: str, worker: str, session: str, request: PlaceRequest, now: float) -> None:
        """The worker took the session."""
        self.release(ticket)
        self.counts["placed"] += 1
        if worker in self._workers:
            self._reserve(worker, session, request, now)
            self._places[session] = Place(worker, 0, now)

    def release(self, ticket: str) -> None:
        """Nobody took it, or it has its session now."""
        for known in self._workers.values():
            if (kept := known.reserved.pop(ticket, None)) is not None:
                view = known.view
                known.view = replace(view, load=max(0.0, view.load - kept[0]), sessions=max(0, view.sessions - 1))

    def where(self, session: str) -> WorkerView | Literal["moving"] | None:
        """Its worker; "moving" while it waits to be placed again; None for a session that is not known."""
        place = self._places.get(session)
        if place is None:
            return None
        known = self._workers.get(place.worker or "")
        return "moving" if known is None else known.view

    def found(self, session: str, epoch: int, now: float) -> None:
        """A record in the store of which no worker speaks: it waits to be placed."""
        self._places.setdefault(session, Place(None, epoch, now))

    def orphans(self, now: float) -> list[Orphan]:
        """Sessions that wait, in the order in which they lost their worker, and whom to ask for each."""
        waiting = sorted((place.since, name) for name, place in self._places.items() if place.worker is None)
        views = self.views
        return [
            Orphan(name, self._places[name].epoch, tuple(candidates(views, PlaceRequest(), self._rng, now=now)))
            for _, name in waiting
        ]

    def adopted(self, session: str, worker: str, epoch: int, now: float) -> None:
        """The worker continues the session."""
        self.counts["hand_overs"] += 1
        if worker in self._workers:
            self._reserve(worker, session, PlaceRequest(), now)
        self._places[session] = Place(worker, epoch, now)

    def forget(self, session: str) -> None:
        """It is over, or cannot be continued."""
        self._places.pop(session, None)

    # --- for operators

    @property
    def views(self) -> list[WorkerView]:
        return [known.view for known in self._workers.values()]

    @property
    def unhealthy(self) -> list[str]:
        """Workers that cannot write their sessions down: hand-over of those is off."""
        return [name for name, known in self._workers.items() if not known.healthy]

    @property
    def moving(self) -> list[str]:
        return [session for session, place in self._places.items() if place.worker is None]

    def _reserve(self, worker: str, key: str, request: PlaceRequest, now: float) -> None:
        known = self._workers[worker]
        view = known.view
        load = (view.session_load or 0.0) + view.step_load * (request.floor - 1)
        known.reserved[key] = (load, now + RESERVED_S)
        known.view = replace(view, load=view.load + load, sessions=view.sessions + 1)
