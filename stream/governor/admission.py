"""May one more session come in? Decided by the measured cost of everybody's floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream.governor.costs import CostModel

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
