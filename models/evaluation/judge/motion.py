"""Classifies the motion: every motion of the world is fitted to the measured track, the least error wins.

Fits are made in windows shorter than the clip, each with its own parameters, so that an object that changes its speed a
little is still recognised. Constants are those of `models.toyworld.motion`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WINDOW = 25  # frames
BEAT = 0.1  # amplitude in shares: of the radius when it pulses (0.35), of the width when it spins (0.35)
FAST = 0.041  # half-pictures a frame: between drifting (0.032) and bouncing (0.052)
_ROOMS = 72  # phases tried along a bouncing path
_SPEEDS = np.linspace(0.0, 0.08, 41)


def find_motion(x: Array, y: Array, width: Array, radius: Array) -> tuple[str, dict[str, float]]:
    """The motion's name, "still" when there is none, and the values it was decided on. Arrays (T,), T >= 8."""
    frames = len(x)
    roam = math.sqrt(float(_spread(x) ** 2 + _spread(y) ** 2))
    beat, turn = beating(radius / max(float(np.median(radius)), 1e-6)), beating(width)
    facts = {"roam": roam, "beat": beat, "turn": turn}
    if roam < 0.55 * 0.024 * min(frames, 30) / math.sqrt(12) + 0.012:
        if max(beat, turn) < BEAT:
            return "still", facts
        return ("pulsing" if beat > turn else "spinning"), facts
    costs = {"orbiting": 0.0, "swinging": 0.0, "travelling": 0.0}
    speeds = []
    starts = range(0, max(1, frames - WINDOW + 1), 12)
    for start in starts:
        part = slice(start, start + WINDOW)
        costs["orbiting"] += orbit(x[part], y[part])
        costs["swinging"] += swing(x[part], y[part])
        cost, speed = travel(x[part], y[part], float(np.median(radius)))
        costs["travelling"] += cost
        speeds.append(speed)
    facts |= {name: cost / len(starts) for name, cost in costs.items()} | {"speed": float(np.median(speeds))}
    best = min(costs, key=lambda name: costs[name])
    if best == "travelling":
        best = "bouncing" if facts["speed"] > FAST else "drifting"
    return best, facts


def _spread(values: Array) -> float:
    """Standard deviation without the two most distant values, which may be outliers."""
    middle = np.median(values)
    kept = np.sort(np.abs(values - middle))[: max(2, len(values) - 2)]
    return float(np.sqrt(np.mean(kept**2)))


def _waves(values: Array, rates: Array, *, centred: bool) -> tuple[Array, Array]:
    """Least squares of a + b cos wt + c sin wt (a = 0 if centred) for every rate: rms error (R,), amplitude (R,)."""
    time = np.arange(len(values))
    errors, sizes = [], []
    for rate in rates:
        columns = [np.cos(rate * time), np.sin(rate * time)] + ([] if centred else [np.ones(len(time))])
        basis = np.stack(columns, 1)
        fit, *_ = np.linalg.lstsq(basis, values, rcond=None)
        errors.append(float(np.sqrt(np.mean((values - basis @ fit) ** 2))))
        sizes.append(float(math.hypot(fit[0], fit[1])))
    return np.array(errors), np.array(sizes)


def beating(values: Array) -> float:
    """Amplitude of oscillation at the rates of pulsing and spinning; 0 if it explains less than half the variance."""
    errors, sizes = _waves(values, np.linspace(0.2, 0.42, 12), centred=False)
    best = int(errors.argmin())
    return float(sizes[best]) if errors[best] ** 2 < 0.5 * float(np.var(values)) else 0.0


def orbit(x: Array, y: Array) -> float:
    """Rms error of the best circle about the middle of the picture at constant speed."""
    time = np.arange(len(x))
    place = x + 1j * y
    best = math.inf
    for rate in np.linspace(0.09, 0.18, 19):
        for way in (rate, -rate):
            wave = np.exp(1j * way * time)
            arm = np.mean(place * wave.conj())
            arm *= min(max(abs(arm), 0.28), 0.58) / max(abs(arm), 1e-9)
            best = min(best, float(np.sqrt(np.mean(np.abs(place - arm * wave) ** 2))))
    return best


def swing(x: Array, y: Array) -> float:
    """Rms error of the best swing from side to side at one height."""
    errors, sizes = _waves(x, np.linspace(0.12, 0.22, 21), centred=True)
    allowed = np.where((sizes > 0.25) & (sizes < 0.65), errors, np.inf)
    flat = float(np.std(y))
    return float(np.sqrt(min(float(allowed.min()), 1.0) ** 2 + flat**2))


def travel(x: Array, y: Array, radius: float) -> tuple[float, float]:
    """Rms error of the best straight path off the walls, and its speed in half-pictures a frame."""
    room = max(0.2, 1.0 - radius)
    (error_x, speed_x), (error_y, speed_y) = _bounce(x, room), _bounce(y, room)
    return math.hypot(error_x, error_y), math.hypot(speed_x, speed_y)


def _bounce(values: Array, room: float) -> tuple[float, float]:
    """The same along one axis: a path that goes straight on, folded at the walls."""
    time = np.arange(len(values))

    def nearest(speeds: Array, starts: Array) -> tuple[float, float, float]:
        way = starts[None, :, None] + speeds[:, None, None] * time
        folded = np.abs((way + room) % (4 * room) - 2 * room) - room
        errors = np.sqrt(np.mean((folded - values) ** 2, -1))
        i, j = np.unravel_index(int(errors.argmin()), errors.shape)
        return float(errors[i, j]), float(speeds[i]), float(starts[j])

    grain = 4 * room / _ROOMS
    _, speed, start = nearest(_SPEEDS, np.arange(_ROOMS, dtype=np.float64) * grain)
    fine: Array = np.clip(speed + np.linspace(-0.002, 0.002, 9), 0, None)
    error, speed, _ = nearest(fine, start + np.linspace(-1, 1, 13) * grain)
    return error, speed
