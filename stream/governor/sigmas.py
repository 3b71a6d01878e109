"""Noise levels a chunk passes through: the shifted linear schedule, and its tail from any level.

The flow map is trained for every pair 1 >= t >= r >= 0 (AnyFlow), so a schedule may be cut short or spread again from
wherever a chunk is. `models.rollout.flowmap.schedule` is the same formula; it is repeated here so that the governor
needs nothing of the model.
"""

from __future__ import annotations


def shifted(x: float, shift: float) -> float:
    """Linear time x in 0..1 to noise level: s x / (1 + (s - 1) x)."""
    return shift * x / (1.0 + (shift - 1.0) * x)


def unshifted(sigma: float, shift: float) -> float:
    """Inverse of `shifted`."""
    return sigma / (shift - (shift - 1.0) * sigma)


def tail(sigma: float, steps: int, shift: float) -> tuple[float, ...]:
    """steps + 1 noise levels from `sigma` down to exactly 0, evenly spaced in linear time, strictly decreasing."""
    assert steps >= 1, steps
    assert 0.0 < sigma <= 1.0, sigma
    start = unshifted(sigma, shift)
    return (sigma, *(shifted(start * (steps - i) / steps, shift) for i in range(1, steps)), 0.0)


def schedule(steps: int, shift: float) -> tuple[float, ...]:
    """steps + 1 noise levels from exactly 1 down to exactly 0."""
    return tail(1.0, steps, shift)
