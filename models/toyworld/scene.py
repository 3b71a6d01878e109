"""Scenes of the toy world: its vocabulary, colours and sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "cross", "moon")
MOTIONS = ("bouncing", "drifting", "orbiting", "spinning", "pulsing", "swinging")

# sRGB, 0..255. Far apart in hue, so that a viewer and the analyser can distinguish them.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (230, 48, 48),
    "orange": (246, 140, 32),
    "yellow": (250, 218, 50),
    "green": (56, 190, 80),
    "cyan": (60, 214, 226),
    "blue": (56, 104, 242),
    "purple": (160, 76, 222),
    "white": (240, 240, 240),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "navy": (22, 32, 86),
    "black": (14, 14, 18),
    "teal": (14, 92, 92),
    "maroon": (98, 22, 42),
    "grey": (112, 116, 124),
    "cream": (236, 222, 190),
}
# Radius of the object as a fraction of half the picture's side.
SIZES: dict[str, float] = {"small": 0.4, "big": 0.6}


@dataclass(frozen=True)
class Scene:
    """One object, its motion and its background, each named by a word of the vocabulary."""

    shape: str
    colour: str
    size: str
    motion: str
    background: str

    def __post_init__(self) -> None:
        for word, known in (
            (self.shape, SHAPES),
            (self.colour, COLOURS),
            (self.size, SIZES),
            (self.motion, MOTIONS),
            (self.background, BACKGROUNDS),
        ):
            if word not in known:
                raise ValueError(f"the toy world has no {word!r}; it knows {', '.join(known)}")


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene drawn uniformly over every combination of the vocabulary."""
    return Scene(
        shape=SHAPES[rng.integers(len(SHAPES))],
        colour=tuple(COLOURS)[rng.integers(len(COLOURS))],
        size=tuple(SIZES)[rng.integers(len(SIZES))],
        motion=MOTIONS[rng.integers(len(MOTIONS))],
        background=tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))],
    )
