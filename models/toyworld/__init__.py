"""The procedural toy world: training clips of the embedded model, and the ground truth of `farcast eval`.

A scene is one object (shape, colour, size) with one motion on one background, and captions of it. As clips are drawn by
this code, generated video can be measured against the truth.
"""

from models.toyworld.captions import EXAMPLES, caption, vocabulary_card
from models.toyworld.motion import Track, simulate
from models.toyworld.render import render
from models.toyworld.scene import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES, Scene, random_scene

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "EXAMPLES",
    "MOTIONS",
    "SHAPES",
    "SIZES",
    "Scene",
    "Track",
    "caption",
    "random_scene",
    "render",
    "simulate",
    "vocabulary_card",
]
