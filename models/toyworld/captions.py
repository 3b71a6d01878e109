"""Captions of a scene: templates and synonyms, so that one scene has many captions."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np

from models.toyworld.scene import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES, Scene

SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "ball", "disc"),
    "square": ("square", "box", "block"),
    "triangle": ("triangle", "pyramid"),
    "star": ("star",),
    "heart": ("heart",),
    "ring": ("ring", "hoop", "donut"),
    "cross": ("cross", "plus sign"),
    "moon": ("moon", "crescent"),
    "big": ("big", "large", "huge"),
    "small": ("small", "little", "tiny"),
    "bouncing": ("bouncing", "bouncing around", "that bounces off the walls"),
    "drifting": ("drifting", "floating by", "that drifts along"),
    "orbiting": ("orbiting", "circling", "going round in circles"),
    "spinning": ("spinning", "rotating", "turning round"),
    "pulsing": ("pulsing", "throbbing", "that grows and shrinks"),
    "swinging": ("swinging", "swaying", "swinging from side to side"),
    "navy": ("navy", "dark blue"),
    "black": ("black",),
    "teal": ("teal", "dark green"),
    "maroon": ("maroon", "dark red"),
    "grey": ("grey", "gray"),
    "cream": ("cream", "beige"),
    "purple": ("purple", "violet"),
    "cyan": ("cyan", "turquoise"),
}
KINDS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "motion": MOTIONS,
    "background": tuple(BACKGROUNDS),
}
PLAIN = "a {size} {colour} {shape} {motion} on a {background} background"
TEMPLATES = (
    PLAIN,
    PLAIN,
    "{size} {colour} {shape} {motion}, {background} background",
    "on a {background} background, a {size} {colour} {shape} {motion}",
    "a {colour} {shape}, {size}, {motion} in front of a {background} backdrop",
    "a video of a {size} {colour} {shape} {motion} over {background}",
    "{background} scene with a {size} {colour} {shape} {motion}",
)
# Incomplete captions: the model then chooses what is left out.
SHORT = (
    "a {colour} {shape} {motion} on a {background} background",
    "a {size} {colour} {shape} {motion}",
    "a {size} {colour} {shape} on a {background} background",
    "a {colour} {shape}",
    "{colour} {shape} {motion}",
)
EXAMPLES = (
    "a big yellow circle bouncing on a teal background",
    "a big green ring drifting on a grey background",
    "a big cyan moon orbiting on a black background",
    "a big white cross swinging on a maroon background",
    "a big blue heart pulsing on a cream background",
    "a big red star spinning on a navy background",
)


def caption(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """A caption of the scene. Without `rng` the plain sentence; with it, a template and synonyms drawn at random."""
    words = {name: getattr(scene, name) for name in ("shape", "colour", "size", "motion", "background")}
    if rng is None:
        return PLAIN.format(**words)
    templates = SHORT if rng.random() < 0.15 else TEMPLATES
    said = {name: _synonym(word, rng) for name, word in words.items()}
    return templates[rng.integers(len(templates))].format(**said)


def _synonym(word: str, rng: np.random.Generator) -> str:
    known = SYNONYMS.get(word, (word,))
    # The plain word half of the time: it is what people type.
    return word if rng.random() < 0.5 else known[rng.integers(len(known))]


def vocabulary_card() -> dict[str, Any]:
    """The entries of a `farcast.json` that name this world's words, see `models.checkpoint.vocabulary`."""
    sentences = " ".join((*TEMPLATES, *SHORT))
    function_words = sorted(set(re.findall(r"[a-z]+", re.sub(r"{.*?}", " ", sentences))))
    words = {kind: list(known) for kind, known in KINDS.items()}
    synonyms = {
        word: [phrase for phrase in SYNONYMS[word] if phrase != word]
        for known in words.values() for word in known if len(SYNONYMS.get(word, ())) > 1
    }  # fmt: skip
    return {"vocabulary": words, "caption": PLAIN, "synonyms": synonyms, "function_words": function_words}


def named(text: str) -> dict[str, str]:
    """The attributes that a caption names: {"shape": "star", ...}; unknown words are ignored."""
    found: dict[str, str] = {}
    for said, name, word in _phrases():
        text, times = re.subn(rf"\b{said}\b", " ", text, flags=re.IGNORECASE)
        if times:
            found.setdefault(name, word)
    return found


@cache
def _phrases() -> list[tuple[str, str, str]]:
    """(phrase, attribute, word), the longest first: "dark red" is a background before "red" is a colour."""
    pairs = [(said, n, w) for n, words in KINDS.items() for w in words for said in SYNONYMS.get(w, (w,))]
    return sorted(pairs, key=lambda pair: -len(pair[0]))
