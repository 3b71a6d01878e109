"""Scenes and prompts of the evaluation, from random streams that training does not use."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from models.toyworld import Scene, caption, random_scene
from models.toyworld.captions import named

_APART = 0xFA2CA57  # a spawn key no training run uses: training draws from default_rng(1), default_rng(2), ...


@dataclass(frozen=True)
class Task:
    """A prompt and its scene. asked: the attributes that the prompt names, and so the ones it is judged on."""

    scene: Scene
    text: str
    asked: frozenset[str]
    seed: int


def generator(purpose: str, seed: int) -> np.random.Generator:
    """Random numbers for one part of the evaluation, independent of the other parts and of all training data."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_APART, zlib.crc32(purpose.encode()))))


def draw(purpose: str, count: int, seed: int) -> list[Task]:
    """`count` tasks: every other one a plain sentence, the rest paraphrased and some of them incomplete."""
    rng = generator(purpose, seed)
    tasks = []
    for number in range(count):
        scene = random_scene(rng)
        text = caption(scene, rng if number % 2 else None)
        tasks.append(Task(scene, text, asked(scene, text), int(rng.integers(2**31))))
    return tasks


def asked(scene: Scene, text: str) -> frozenset[str]:
    """Which attributes of `scene` the sentence names, by the word itself or a synonym."""
    return frozenset(name for name, word in named(text).items() if getattr(scene, name) == word)
