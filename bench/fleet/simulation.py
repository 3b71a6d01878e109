"""Placement simulated: thousands of workers, sessions that come at a rate and go, workers that fail and come back.

Two kinds of worker, of which one is twice as fast, and sessions of three floors: a count of sessions does not say how
much of a device is taken. The directory sees a departure with the delay of a heartbeat, and a placement at once.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from stream.fleet.placement import ASKED, PlaceRequest, WorkerView, candidates
from stream.governor.scheduling import CAPACITY

HEARTBEAT_S = 1.0
LIFETIME_S = 900.0  # mean of a session, exponentially distributed
FLOORS = (1, 2, 4)
STEP_LOAD = 0.04  # share of a slow device that one step of a session takes; half of it on a fast one
FILLED = 0.75  # of the fleet's capacity, on average
DOWN_S = 60.0  # until a failed worker is back
MAX_SESSIONS = 40

Policy = Callable[["Fleet", PlaceRequest], list[WorkerView]]


@dataclass(frozen=True)
class Figures:
    """micros: a placement, mean, the policy's own time. spread: standard deviation of the workers' loads, and p99: the
    99th percentile, both as a share of the device, averaged over the samples after the first lifetime. refusals: of the
    first worker asked, a session. lost: sessions for which no worker was found."""

    policy: str
    placements: int
    micros: float
    spread: float
    p99: float
    mean: float
    refusals: float
    full: int
    hand_overs: int
    lost: int
    loads: list[float] = field(repr=False)


@dataclass
class Fleet:
    """The directory's views and, beside them, the loads that are true now. `now`: seconds of the simulation."""

    views: list[WorkerView]
    loads: list[float]
    counts: list[int]
    rng: Random
    fewest: list[tuple[int, int]]  # a heap of (sessions, worker), with entries that are out of date
    now: float = 0.0

    def seen(self, at: int, load: float, sessions: int) -> None:
        """The directory's view of a worker changes."""
        old = self.views[at]
        self.views[at] = WorkerView(
            old.id, "", "m", "w", load, old.session_load, old.step_load, None, sessions,
            MAX_SESSIONS, old.ready, False, float("inf"),
        )
        heapq.heappush(self.fewest, (sessions, at))


def ours(fleet: Fleet, request: PlaceRequest) -> list[WorkerView]:
    """What the directory does."""
    return candidates(fleet.views, request, fleet.rng, now=fleet.now)


def at_random(fleet: Fleet, request: PlaceRequest) -> list[WorkerView]:
    """Any workers, whatever their load."""
    return [worker for worker in fleet.rng.sample(fleet.views, ASKED) if worker.ready]


def least_sessions(fleet: Fleet, request: PlaceRequest) -> list[WorkerView]:
    """The workers with the fewest sessions, exactly."""
    found: list[tuple[int, int]] = []
    while fleet.fewest and len(found) < ASKED:
        count, at = heapq.heappop(fleet.fewest)
        view = fleet.views[at]
        if view.sessions == count and view.ready and (count, at) not in found:
            found.append((count, at))
    for entry in found:
        heapq.heappush(fleet.fewest, entry)
    return [fleet.views[at] for _, at in found]


POLICIES: dict[str, Policy] = {"best of a few": ours, "random": at_random, "least sessions": least_sessions}


def simulate(name: str, workers: int, sessions: int, seed: int = 0) -> Figures:
    """`sessions` arrivals, as a Poisson process, on a fleet of `workers`."""
    rng, policy = Random(seed), POLICIES[name]
    speeds = [1.0 + at % 2 for at in range(workers)]
    views = [
        WorkerView(str(at), "", "m", "w", session_load=STEP_LOAD / speeds[at],
            step_load=STEP_LOAD / speeds[at], max_sessions=MAX_SESSIONS, seen_at=float("inf")) for at in range(workers)
    ]  # fmt: skip
    fleet = Fleet(views, [0.0] * workers, [0] * workers, Random(seed + 1), [(0, at) for at in range(workers)])
    mean_work = STEP_LOAD * sum(FLOORS) / len(FLOORS)
    rate = FILLED * CAPACITY * sum(speeds) / mean_work / LIFETIME_S  # arrivals a second
    duration = sessions / rate
    where: dict[int, tuple[int, int]] = {}  # session -> worker, floor
    hosted: list[set[int]] = [set() for _ in range(workers)]
    events: list[tuple[float, str, int]] = []
    for at in range(workers):  # one worker in ten fails once
        if rng.random() < 0.1:
            heapq.heappush(events, (rng.uniform(0.2, 0.95) * duration, "fail", at))
    spent = refusals = full = hand_overs = lost = placements = 0.0
    samples: list[tuple[float, float, float]] = []

    def place(session: int, floor: int) -> bool:
        nonlocal spent, refusals, placements
        request = PlaceRequest(floor=floor)
        began = time.perf_counter()
        asked = policy(fleet, request)
        spent += time.perf_counter() - began
        placements += 1
        for tried, view in enumerate(asked):
            at = int(view.id)
            work = floor * STEP_LOAD / speeds[at]
            room = not fleet.counts[at] or fleet.loads[at] + work <= CAPACITY
            if fleet.views[at].ready and room and fleet.counts[at] < MAX_SESSIONS:
                fleet.loads[at] += work
                fleet.counts[at] += 1
                where[session] = (at, floor)
                hosted[at].add(session)
                fleet.seen(at, view.load + work, view.sessions + 1)
                return True
            refusals += tried == 0
        return False

    arrival, session, sample_at = rng.expovariate(rate), 0, LIFETIME_S
    while session < sessions:
        if events and events[0][0] <= arrival:
            fleet.now, kind, number = heapq.heappop(events)
            if kind == "leave" and number in where:
                at, floor = where.pop(number)
                hosted[at].discard(number)
                fleet.loads[at] = max(0.0, fleet.loads[at] - floor * STEP_LOAD / speeds[at])
                fleet.counts[at] -= 1
                heapq.heappush(events, (fleet.now + rng.random() * HEARTBEAT_S, "heartbeat", at))
            elif kind == "heartbeat" and fleet.views[number].ready:
                fleet.seen(number, fleet.loads[number], fleet.counts[number])
            elif kind == "fail":
                _up(fleet, number, False)
                moving, hosted[number] = hosted[number], set()
                fleet.loads[number], fleet.counts[number] = 0.0, 0
                for moved in sorted(moving):
                    hand_overs += 1
                    floor = where.pop(moved)[1]
                    lost += not place(moved, floor)
                heapq.heappush(events, (fleet.now + DOWN_S, "back", number))
            elif kind == "back":
                _up(fleet, number, True)
            continue
        fleet.now = arrival
        if arrival >= sample_at:
            samples.append(_sample(fleet))
            sample_at += LIFETIME_S / 10
        full += not place(session, rng.choice(FLOORS))
        if session in where:
            heapq.heappush(events, (arrival + rng.expovariate(1 / LIFETIME_S), "leave", session))
        session += 1
        arrival += rng.expovariate(rate)
    samples = samples or [_sample(fleet)]
    spread, p99, mean = (float(np.mean([sample[part] for sample in samples])) for part in range(3))
    return Figures(
        name, int(placements), 1e6 * spent / placements, spread, p99, mean, refusals / placements, int(full),
        int(hand_overs), int(lost), sorted(fleet.loads[:: max(1, workers // 2000)]),
    )  # fmt: skip


def _up(fleet: Fleet, at: int, ready: bool) -> None:
    old = fleet.views[at]
    fleet.views[at] = WorkerView(
        old.id, "", "m", "w", 0.0, old.session_load, old.step_load, None, 0, MAX_SESSIONS, ready, False, float("inf")
    )
    heapq.heappush(fleet.fewest, (0, at))


def _sample(fleet: Fleet) -> tuple[float, float, float]:
    """Standard deviation, 99th percentile and mean of the loads of workers that run."""
    loads = np.array([load for load, view in zip(fleet.loads, fleet.views, strict=True) if view.ready])
    return float(loads.std()), float(np.quantile(loads, 0.99)), float(loads.mean())


def study(workers: int, sessions: int) -> list[Figures]:
    """Every policy on the same arrivals."""
    return [simulate(name, workers, sessions) for name in POLICIES]


def even(figures: Sequence[Figures]) -> float:
    """Standard deviation of ours over that of random placement."""
    by_name = {one.policy: one for one in figures}
    return by_name["best of a few"].spread / by_name["random"].spread
