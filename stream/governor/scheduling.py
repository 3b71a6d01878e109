"""Sharing one device fairly: everybody gets the same number of steps, within what they asked for and can use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .costs import CostModel
from .dial import Dial
from .prompt_policy import DELIVERY_S


def loads(costs: CostModel, dials: Sequence[Dial], *, chunk_seconds: float) -> list[float]:
    """For each session the `load` to give its governor: 1 / its share of the device, at least 1.

    Max-min fair in steps: the least served session has as many as can be had. What a session cannot use, because of
    its ceiling, its fixed steps or a latency target that leaves no time for more, goes to the others; what is left when
    all have what they want is spread evenly, so that nobody is held back by a rounding. Before anything is measured
    everybody gets the same share.
    """
    count = len(dials)
    step = costs.quantile("step", 0.5)
    if count <= 1 or not step:
        return [float(max(1, count))] * count
    fixed = costs.estimate("decode", 0.5) + costs.estimate("append", 0.5)
    least = [(fixed + dial.least * step) / chunk_seconds for dial in dials]
    most = [max(low, _want(dial, costs, step, fixed) / chunk_seconds) for low, dial in zip(least, dials, strict=True)]
    shares = _fill(least, most)
    spare = (1.0 - sum(shares)) / count
    return [max(1.0, 1.0 / (share + max(0.0, spare))) for share in shares]


def _want(dial: Dial, costs: CostModel, step: float, fixed: float) -> float:
    """Seconds of device a chunk of this session can use at most."""
    quick = (dial.latency_s - DELIVERY_S - costs.estimate("decode", 0.5)) / step
    return fixed + (dial.most if dial.steps is not None else min(dial.most, max(dial.floor, quick))) * step


def _fill(least: Sequence[float], most: Sequence[float]) -> list[float]:
    """Raise all to one level, each between its least and its most, until the device is full."""
    if sum(least) >= 1.0:
        return [low / sum(least) for low in least]
    if sum(most) <= 1.0:
        return list(most)
    low, high = 0.0, 1.0
    for _ in range(40):
        level = (low + high) / 2.0
        total = sum(min(max(level, a), b) for a, b in zip(least, most, strict=True))
        low, high = (level, high) if total <= 1.0 else (low, level)
    return [min(max(low, a), b) for a, b in zip(least, most, strict=True)]


CAPACITY = 0.9  # share of the device that floors may take; the rest is for prompts, joins and noise


@dataclass(frozen=True)
class Admission:
    """ok, or the reason why not and the seconds after which to ask again."""

    ok: bool
    reason: str = ""
    retry_after: int = 0


def floor_load(costs: CostModel, floor: int, *, chunk_seconds: float, q: float = 0.75) -> float | None:
    """Share of the device that one session takes at its floor; None when nothing is known yet."""
    if costs.quantile("step", q) is None:
        return None
    work = floor * costs.estimate("step", q) + costs.estimate("decode", q) + costs.estimate("append", q)
    return work / chunk_seconds


def admits(
    costs: CostModel,
    floors: Sequence[int],
    *,
    chunk_seconds: float,
    max_sessions: int | None = None,
    capacity: float = CAPACITY,
    retry_after: int = 10,
) -> Admission:
    """floors: floor of every session that would then run, the new one included."""
    if max_sessions is not None and len(floors) > max_sessions:
        return Admission(False, f"all {max_sessions} places are taken", retry_after)
    loads = [floor_load(costs, floor, chunk_seconds=chunk_seconds) for floor in floors]
    total = sum(load or 0.0 for load in loads)
    if len(floors) > 1 and total > capacity:
        reason = f"{len(floors)} sessions would need {total:.0%} of the device at their floor, of {capacity:.0%}"
        return Admission(False, reason, retry_after)
    return Admission(True)


T = TypeVar("T")


def pick(sessions: Iterable[T], *, deadline: Callable[[T], float]) -> T | None:
    """The session whose deadline is nearest, None when there is none. Ties go to the first."""
    return min(sessions, key=deadline, default=None)
