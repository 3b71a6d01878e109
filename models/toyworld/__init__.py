"""The procedural toy world: the small universe the embedded model is trained on and judged against.

A scene is one object (shape, colour, size), one motion that goes on for ever, one background, and a caption in words.
Because the world is drawn by this code there is a truth to measure generated video against.
"""

from models.toyworld.captions import EXAMPLES, caption
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
]
