"""The dial: the one control between "answer me now" and "make it good"."""

from __future__ import annotations

import math
from dataclasses import dataclass

LATENCY_MS = (200.0, 30_000.0)
STEPS = (1, 50)  # the most steps AnyFlow's on-policy training used


@dataclass(frozen=True)
class Dial:
    """What a user asks of one session.

    latency_ms: bound on prompt-to-pixel time, 200..30000 milliseconds.
    floor, ceiling: fewest and most steps a chunk may get, 1..50.
    steps: a fixed step count; when given, nothing else decides how many steps a chunk gets.
    Raises GovernorError on anything else.
    """

    latency_ms: float = 1500.0
    floor: int = 1
    ceiling: int = 32
    steps: int | None = None

    def __post_init__(self) -> None:
        latency = _number("latency_ms", self.latency_ms)
        low, high = LATENCY_MS
        if not low <= latency <= high:
            raise GovernorError(f"latency_ms must be between {low:.0f} and {high:.0f}, got {self.latency_ms!r}")
        floor, ceiling = _count("floor", self.floor), _count("ceiling", self.ceiling)
        if floor > ceiling:
            raise GovernorError(f"floor must not be above ceiling, got floor {floor} and ceiling {ceiling}")
        if self.steps is not None:
            _count("steps", self.steps)

    @property
    def latency_s(self) -> float:
        """The latency target in seconds."""
        return self.latency_ms / 1000.0

    @property
    def least(self) -> int:
        """Fewest steps a chunk may get: the fixed count, or the floor."""
        return self.floor if self.steps is None else self.steps

    @property
    def most(self) -> int:
        """Most steps a chunk may get: the fixed count, or the ceiling."""
        return self.ceiling if self.steps is None else self.steps


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise GovernorError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _count(name: str, value: object) -> int:
    low, high = STEPS
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GovernorError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
    return value


class GovernorError(ValueError):
    """A dial or a setting that makes no sense. The message says what to send instead."""

    code = "invalid_dial"
