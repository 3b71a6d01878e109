"""Where a new session runs: pure functions over what the workers last said of themselves.

Best of a few: some workers are drawn at random and ordered by load (Mitzenmacher, "The power of two choices in
randomized load balancing", 2001), so that the work of a placement does not grow with the fleet, and a load that is a
heartbeat old does not send everybody to the same worker. A worker's own admission has the last word: a refusal means
that the next one is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from stream.governor.scheduling import CAPACITY

DRAWN = 4  # workers that are compared
ALL_BELOW = 16  # a fleet of up to so many is compared whole
NOISE = 0.05  # share of the device: smaller differences of measured load say nothing, and the session counts decide
LEASE_S = 4.0  # a worker that was silent for so long is taken for dead
ASKED = 3  # workers that are asked for one session, at most


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What the directory knows of one worker.

    load: share of the device that its sessions need at their floors; session_load: share that one more session of one
    step would take, None while nothing is measured; step_load: what each further step adds. memory_free: bytes, None
    where it is not known. seen_at: seconds on the directory's clock when it last sent a heartbeat. epoch: of its lease.
    pid: of its server, on its machine.
    """

    id: str
    url: str
    model: str
    weights: str
    load: float = 0.0
    session_load: float | None = None
    step_load: float = 0.0
    memory_free: int | None = None
    sessions: int = 0
    max_sessions: int = 4
    ready: bool = True
    draining: bool = False
    seen_at: float = 0.0
    epoch: int = 0
    pid: int = 0


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """model, weights: None = any. floor: steps below which the session never goes. memory: bytes that it needs."""

    model: str | None = None
    weights: str | None = None
    floor: int = 1
    memory: int = 0


Health = Literal["ok", "full", "draining", "loading", "sick", "other_model"]


def health(worker: WorkerView, request: PlaceRequest, now: float) -> Health:
    """Whether the worker can be asked, and else why not. A silent worker is sick, whatever it said before."""
    if request.model not in (None, worker.model) or request.weights not in (None, worker.weights):
        return "other_model"
    if now - worker.seen_at > LEASE_S:
        return "sick"
    if worker.draining:
        return "draining"
    if not worker.ready:
        return "loading"
    if worker.sessions >= worker.max_sessions:
        return "full"
    if worker.memory_free is not None and worker.memory_free < request.memory:
        return "full"
    # One session alone is always admitted, as the server does (`stream.governor.scheduling.admits`).
    if worker.sessions and after(worker, request) > CAPACITY:
        return "full"
    return "ok"


def after(worker: WorkerView, request: PlaceRequest) -> float:
    """The worker's load with this session."""
    return worker.load + (worker.session_load or 0.0) + worker.step_load * (request.floor - 1)


def order(worker: WorkerView, request: PlaceRequest) -> tuple[int, float]:
    """Who is asked first: least load, in steps of NOISE, then the smallest part of its places taken."""
    return int(after(worker, request) / NOISE), worker.sessions / worker.max_sessions


def candidates(
    view: Sequence[WorkerView], request: PlaceRequest, rng: Random, k: int = ASKED, *, now: float
) -> list[WorkerView]:
    """Up to `k` workers to ask, the least loaded first; empty when none can be asked.

    From a fleet of more than ALL_BELOW workers DRAWN are compared; where none of them can be asked twice as many are
    drawn, and so on up to all: whoever gets an empty list knows that there is no place.
    """
    drawn = DRAWN
    while True:
        whole = len(view) <= max(ALL_BELOW, 2 * drawn)
        looked = view if whole else rng.sample(view, drawn)
        found = [worker for worker in looked if health(worker, request, now) == "ok"]
        if found or whole:
            break
        drawn *= 2
    rng.shuffle(found)  # equal loads: not always the same one
    found.sort(key=lambda worker: order(worker, request))
    return found[:k]


@dataclass(frozen=True)
class NoPlace:
    """Why there is none. retry_after: seconds after which to ask again."""

    code: Literal["full", "no_worker", "no_model", "loading"]
    message: str
    retry_after: int | None


def why_not(view: Iterable[WorkerView], request: PlaceRequest, now: float) -> NoPlace:
    """The answer when `candidates` is empty. A fleet whose workers are all silent is not full."""
    states = [health(worker, request, now) for worker in view]
    if states and all(state == "other_model" for state in states):
        return NoPlace("no_model", f"No worker of this fleet has the model {request.model!r}.", None)
    if "full" in states:
        return NoPlace("full", "All workers are full. Try again when a session has ended.", 10)
    if "loading" in states or "draining" in states:
        return NoPlace("loading", "The workers are starting. Try again in a moment.", 5)
    return NoPlace("no_worker", "No worker answers just now. Try again in a moment.", 5)


Outcome = Literal["placed", "full", "sick", "refused"]
FULL = frozenset(("full", "busy", "loading", "draining", "shutdown"))


def outcome(status: int | None, code: str = "") -> Outcome:
    """What a worker's answer to a creation means. status: None when it did not answer; code: of the problem document.

    "refused" is the request's own fault or a limit of its user, and no other worker would say otherwise.
    """
    if status is None:
        return "sick"
    if status < 300:
        return "placed"
    if status == 503 and code in FULL:
        return "full"
    return "sick" if status >= 500 else "refused"


def no_place_after(outcomes: Sequence[Outcome]) -> NoPlace:
    """The answer when every candidate was asked and none took the session."""
    if "full" in outcomes:
        return NoPlace("full", "All workers are full. Try again when a session has ended.", 10)
    return NoPlace("no_worker", "No worker answers just now. Try again in a moment.", 5)
