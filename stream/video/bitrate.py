"""Which viewer gets which encoding, and at how many bits a second. Pure.

A codec has one encoding while its viewers' networks are alike: at the rate of the slowest, which costs the others
little. A viewer that can take much less than the best does not pull them down: it gets a second, lower encoding,
shared by all slow viewers of the codec. There is no third: what is too slow even for the floor of the lower one
loses pictures, and only its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from .encoder import default_bitrate

Key = TypeVar("Key", bound=Hashable)

SPLIT_BELOW = 0.6  # of the best viewer's rate: less is served separately
MERGE_ABOVE = 0.8  # ... until it can take so much
# Times the floor. Below the first the lower encoding has every second frame only, each at twice the bits.
HALF_RATE_BELOW = 1.7
FULL_RATE_ABOVE = 2.5

DOWN, UP = 0.88, 1.25  # a rate this much off what is wanted is worth an encoder made anew, which costs a keyframe
DOWN_PAUSE, UP_PAUSE = 1.0, 5.0  # seconds between two of those
TRIM = 0.04  # off by more than this is set right where it costs nothing


def limits(width: int, height: int, fps: float) -> Limits:
    """Fit for a moving picture of this size: 0.25 bits a pixel at most, 0.03 at least, from 60 kbit/s to 4 Mbit/s."""
    return Limits(min(500_000.0, max(60_000.0, 0.03 * width * height * fps)), default_bitrate(width, height, fps))


@dataclass(frozen=True)
class Plan:
    """`low`: the viewers of the lower encoding; a rate is None when nobody wants that encoding."""

    low: frozenset[Hashable]
    full_rate: float | None
    low_rate: float | None


def plan(rates: Mapping[Key, float], low_now: frozenset[Hashable], bounds: Limits, *, recorded: bool = False) -> Plan:
    """`rates`: what each viewer can take; `low_now`: who is on the lower encoding; `recorded`: a recording wants the
    full encoding at its best, whoever watches."""
    best = bounds.ceiling if recorded else max(rates.values(), default=bounds.ceiling)
    low = frozenset(
        key for key, rate in rates.items() if rate < best * (MERGE_ABOVE if key in low_now else SPLIT_BELOW)
    )
    full = [rate for key, rate in rates.items() if key not in low]
    slow = [rates[key] for key in rates if key in low]
    full_rate = bounds.clamp(min(full)) if full else bounds.ceiling if recorded else None
    return Plan(low, full_rate, bounds.clamp(min(slow)) if slow else None)


def at_half_rate(rate: float, bounds: Limits, now: bool) -> bool:
    """Whether the lower encoding leaves out every second frame; `now`: whether it does."""
    return rate < bounds.floor * (FULL_RATE_ABOVE if now else HALF_RATE_BELOW)


def worth_rebuilding(rate: float, wanted: float, since: float) -> bool:
    """Whether an encoder that cannot change its rate is made anew; `since`: seconds it has run."""
    if wanted < DOWN * rate:
        return since >= DOWN_PAUSE
    return wanted > UP * rate and since >= UP_PAUSE


@dataclass(frozen=True)
class Limits:
    """Bits per second between which an encoding may move."""

    floor: float
    ceiling: float

    def __post_init__(self) -> None:
        assert 0 < self.floor <= self.ceiling

    def clamp(self, rate: float) -> float:
        return min(self.ceiling, max(self.floor, rate))
