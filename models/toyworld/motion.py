"""Simulates the motion of an object, one state a frame, without end and across changes of the scene.

Coordinates are in half-picture units: x and y run from -1 (left, top) to 1 (right, bottom). The state carries over when
the scene changes, so a prompt that changes in the middle of a clip never makes the object jump.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.toyworld.scene import SIZES, Scene

ORBIT_RADIUS = 0.42
SWING_REACH = 0.45
PULSE_DEPTH = 0.35
SPIN = 0.14  # radians a frame: half a turn, after which an object looks the same again, takes 22 frames
EDGE = 0.3  # width seen from the side, as a share of the width from the front
DRIFT, BOUNCE = 0.032, 0.052  # half-pictures a frame


@dataclass(frozen=True)
class Track:
    """The state of the object in every frame of a clip: the ground truth of the evaluation."""

    scenes: tuple[Scene, ...]
    x: NDArray[np.float64]  # (T,) half-picture units
    y: NDArray[np.float64]  # (T,)
    tilt: NDArray[np.float64]  # (T,) radians
    width: NDArray[np.float64]  # (T,) apparent width as a share of that from the front: less than 1 when turned
    radius: NDArray[np.float64]  # (T,) half-picture units


@dataclass
class _Body:
    x: float
    y: float
    tilt: float  # radians, rotation in the picture plane
    turned: float  # radians about its upright axis; 0 = seen from the front
    phase: float  # of pulsing, swinging and orbiting
    heading: float  # of bouncing and drifting, radians
    turn: float  # +1 or -1: direction of an orbit
    pace: float  # a factor on every speed, 0.85 .. 1.15
    radius: float
    shown: float  # radius as drawn

    @property
    def width(self) -> float:
        """Apparent width of an ellipsoid that is `EDGE` times as thick as it is wide."""
        return math.hypot(math.cos(self.turned), EDGE * math.sin(self.turned))


def simulate(cuts: Sequence[tuple[int, Scene]], frames: int, rng: np.random.Generator) -> Track:
    """Simulate scenes one after another. `cuts` holds (first frame, scene), the first at frame 0.

    Raises ValueError when the first cut is not at frame 0.
    """
    if not cuts or cuts[0][0] != 0:
        raise ValueError("the first scene must start at frame 0")
    body = _start(cuts[0][1], rng)
    rows: list[tuple[float, ...]] = []
    scenes: list[Scene] = []
    pending = list(cuts)
    scene = cuts[0][1]
    for frame in range(frames):
        if pending and pending[0][0] == frame:
            scene = pending.pop(0)[1]
            _aim(body, scene)
        _move(body, scene)
        rows.append((body.x, body.y, body.tilt, body.width, body.shown))
        scenes.append(scene)
    return Track(tuple(scenes), *np.array(rows, dtype=np.float64).T)


def _start(scene: Scene, rng: np.random.Generator) -> _Body:
    radius = SIZES[scene.size]
    room = max(0.0, 0.95 - radius)
    body = _Body(
        x=float(rng.uniform(-room, room)),
        y=float(rng.uniform(-room, room)),
        tilt=float(rng.uniform(-0.25, 0.25)),
        turned=0.0,
        phase=float(rng.uniform(0, 2 * math.pi)),
        heading=float(rng.uniform(0, 2 * math.pi)),
        turn=float(rng.choice([-1.0, 1.0])),
        pace=float(rng.uniform(0.85, 1.15)),
        radius=radius,
        shown=radius,
    )
    if scene.motion == "orbiting":
        body.x, body.y = ORBIT_RADIUS * math.cos(body.phase), ORBIT_RADIUS * math.sin(body.phase)
    elif scene.motion in ("spinning", "pulsing"):
        body.x, body.y = body.x * 0.6, body.y * 0.6
    elif scene.motion == "swinging":
        body.x, body.y = SWING_REACH * math.sin(body.phase), body.y * 0.6
    return body


def _aim(body: _Body, scene: Scene) -> None:
    """Set the phase of the scene's motion so that the object does not jump."""
    body.radius = SIZES[scene.size]
    if scene.motion == "orbiting":
        body.phase = math.atan2(body.y, body.x)
    elif scene.motion == "swinging":
        body.phase = math.asin(max(-1.0, min(1.0, body.x / SWING_REACH)))


def _move(body: _Body, scene: Scene) -> None:
    body.shown += (body.radius - body.shown) * 0.35  # a change of size takes a few frames
    if scene.motion != "spinning":
        body.turned = 0.65 * math.remainder(body.turned, math.pi)  # back to the front, the shorter way
    if scene.motion == "bouncing":
        _travel(body, BOUNCE)
    elif scene.motion == "drifting":
        _travel(body, DRIFT)
    elif scene.motion == "orbiting":
        body.phase += 0.13 * body.pace * body.turn
        reach = math.hypot(body.x, body.y)
        reach += (ORBIT_RADIUS - reach) * 0.12
        body.x, body.y = reach * math.cos(body.phase), reach * math.sin(body.phase)
    elif scene.motion == "spinning":
        body.turned += SPIN * body.pace
    elif scene.motion == "pulsing":
        body.phase += 0.32 * body.pace
        body.shown = body.radius * (1.0 + PULSE_DEPTH * math.sin(body.phase))
    elif scene.motion == "swinging":
        body.phase += 0.17 * body.pace
        body.x += (SWING_REACH * math.sin(body.phase) - body.x) * 0.5


def _reflect(value: float, room: float) -> tuple[float, bool]:
    if value > room:
        return max(-room, 2 * room - value), True
    if value < -room:
        return min(room, -2 * room - value), True
    return value, False


def _travel(body: _Body, speed: float) -> None:
    """Move in a straight line at `speed` half-pictures a frame, reflected at the walls."""
    room = 1.0 - body.radius
    body.x, flip_x = _reflect(body.x + speed * body.pace * math.cos(body.heading), room)
    body.y, flip_y = _reflect(body.y + speed * body.pace * math.sin(body.heading), room)
    if flip_x:
        body.heading = math.pi - body.heading
    if flip_y:
        body.heading = -body.heading
