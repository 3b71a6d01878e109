"""All traces, all controllers, all targets: the figures behind `farcast bench governor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.stats import quantile
from stream.governor import Dial
from stream.governor.prompt_policy import DELIVERY_S

from . import traces
from .controllers import Controller, Farcast, Fixed, Paced, Reactive, Stepwise
from .offline_optimum import Optimum, optimum
from .sessions import Visit, serve
from .single_session import Run, play
from .traces import CHUNK_S, PROFILES, TRACES, Profile, Trace

TARGETS_MS = (500.0, 1000.0, 1500.0, 3000.0)
FIXED = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16)
DEVELOPMENT = (0, 1, 2)  # the seeds on which the rules were chosen
HELD_OUT = (101, 102, 103)  # the seeds on which they are judged


@dataclass(frozen=True)
class Cell:
    """One trace under one latency target: the optimum, and what every controller made of it."""

    target_ms: float
    trace: Trace
    best: Optimum
    runs: dict[str, Run] = field(default_factory=dict)


def cells(
    seeds: Sequence[int], chunks: int, targets: Sequence[float] = TARGETS_MS, fixed: Sequence[int] = FIXED
) -> Iterator[Cell]:
    """Every trace x profile x target x seed."""
    for target in targets:
        dial = Dial(latency_ms=target)
        for profile in PROFILES:
            for name in TRACES:
                for seed in seeds:
                    trace = traces.make(name, profile, seed, chunks)
                    controllers: list[Controller] = [Farcast(dial), Reactive(dial), Paced(dial), Stepwise(dial)]
                    controllers += [Fixed(dial, steps) for steps in fixed]
                    runs = {controller.name: play(trace, controller) for controller in controllers}
                    best = optimum(
                        trace,
                        max_lead=runs["farcast"].bound,
                        quick=dial.latency_s - DELIVERY_S,
                        floor=dial.floor,
                        ceiling=dial.ceiling,
                    )
                    yield Cell(target, trace, best, runs)


def summary(some: Iterable[Cell]) -> dict[str, Any]:
    """Figures of every controller over these cells.

    misses: share of chunks late, over the traces that can be played without a miss. steps_of_best: mean over those of
    mean steps / the clairvoyant's. changes_per_minute: of the number of steps, per minute of video. underruns_per_hour,
    held_s_per_hour: over all traces, also the impossible ones.
    """
    rows = list(some)
    figures: dict[str, Any] = {}
    for name in rows[0].runs:
        runs = [cell.runs[name] for cell in rows]
        fair = [(cell.runs[name], cell.best) for cell in rows if cell.best.feasible]
        minutes = sum(len(run.steps) for run in runs) * CHUNK_S / 60.0
        figures[name] = {
            "misses": _mean(run.miss_rate for run, _ in fair),
            "steps_of_best": _mean(run.mean_steps / best.mean_steps for run, best in fair),
            "mean_steps": _mean(run.mean_steps for run in runs),
            "changes_per_minute": round(sum(run.changes for run in runs) / minutes, 3),
            "underruns_per_hour": round(60.0 * sum(run.misses for run in runs) / minutes, 2),
            "held_s_per_hour": round(60.0 * sum(run.held_s for run in runs) / minutes, 2),
        }
    return {"runs": len(rows), "without_a_miss_possible": sum(cell.best.feasible for cell in rows), **figures}


def prompt_to_pixel(
    seeds: Sequence[int], targets: Sequence[float], profiles: Sequence[Profile] = PROFILES
) -> dict[str, Any]:
    """Seconds from a prompt to its first frame on screen, with the policy and without one, on the noisy trace.

    floor_s: what no policy can beat: a prompt encode, a context encode, one step and a decode at their medians, and the
    delivery; a unit that is running when the prompt comes adds to it.
    """
    figures: dict[str, Any] = {}
    for profile in profiles:
        floor = profile.prompt + profile.encode + profile.step + profile.decode + DELIVERY_S
        of: dict[str, Any] = {"floor_s": round(floor, 3)}
        for target in targets:
            of[f"{target:.0f} ms"] = {
                name: _prompts(profile, target, seeds, steer) for name, steer in (("policy", True), ("none", False))
            }
        figures[profile.name] = of
    return figures


def _prompts(profile: Profile, target: float, seeds: Sequence[int], steer: bool) -> dict[str, Any]:
    waits: list[float] = []
    late, chunks = 0, 0
    for seed in seeds:
        gaps = np.random.default_rng(seed).uniform(3.0, 9.0, 25)
        trace = traces.make("noisy", profile, seed, 320)
        visit = Visit(Dial(latency_ms=target), prompts=tuple(np.cumsum(gaps).tolist()), steer=steer)
        seat = serve(trace, [visit], [trace], seconds=float(gaps.sum()) + 10.0)[0]
        waits += [wait for wait, _ in seat.prompts]
        late, chunks = late + seat.run.misses, chunks + len(seat.run.steps)
    return {
        "prompts": len(waits),
        "p50_s": round(quantile(waits, 0.5), 3),
        "p90_s": round(quantile(waits, 0.9), 3),
        "misses": round(late / chunks, 4),
    }


def company(seed: int, profile: Profile = PROFILES[2]) -> dict[str, Any]:
    """Three sessions on one device, 30 s apart, then two leave: steps and misses of each over its life."""
    works = [traces.make("noisy", profile, seed + i, 400) for i in range(3)]
    dial = Dial()
    visits = [Visit(dial), Visit(dial, come=30.0, leave=120.0), Visit(dial, come=60.0, leave=90.0)]
    seats = serve(works[0], visits, works, seconds=150.0)
    return {
        "sessions": [
            {
                "come_s": seat.visit.come,
                "chunks": len(seat.run.steps),
                "misses": seat.run.misses,
                "mean_steps": round(seat.run.mean_steps, 2),
            }
            for seat in seats
        ],
        "first_session_mean_steps": {
            f"{count} on the device": _mean(
                steps
                for steps, at in zip(seats[0].run.steps, seats[0].run.opened, strict=False)
                if start + 5.0 <= at < start + 30.0
            )
            for count, start in (("1", 0.0), ("2", 30.0), ("3", 60.0), ("2 again", 90.0), ("1 again", 120.0))
        },
    }


def _mean(values: Iterable[float]) -> float:
    some = list(values)
    return round(sum(some) / len(some), 5) if some else 0.0
