"""The kinds of causal video models that can be opened. Adding one is one `register(Family(...))`.

A family is found by the class of the transformer in a checkpoint's `model_index.json`. The VAE and the text encoder are
Wan's in all of them. Where the forward pass differs from AnyFlow's, `network` is a subclass of `StreamingTransformer`
that overrides what does: how a noise level is embedded (`embed_times`), the rotary tables (`rope`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.errors import ModelError
from models.network.execution import Eager
from models.network.transformer import StreamingTransformer


@dataclass(frozen=True)
class Family:
    """What distinguishes one kind of checkpoint from another. Class names are those of diffusers.

    network: makes the streaming passes over the transformer; None = bidirectional, which only `generate` can run.
    sigmas: from the scheduler's config to the fixed noise levels of a distilled model, 1 down to 0, between which it
    re-noises (as Self-Forcing, arXiv 2506.08009); None = a flow map, which takes any number of steps.
    partition, near_chunks: from the transformer's config to the latent frames of each chunk of the longest video it was
    trained on, and how many chunks of context it sees at full resolution.
    """

    name: str
    transformer: str
    pipeline: str
    scheduler: str
    network: Callable[[Any, Eager], StreamingTransformer] | None
    partition: Callable[[Any], tuple[int, ...]]
    near_chunks: Callable[[Any], int]
    sigmas: Callable[[Any], tuple[float, ...]] | None = None


FAMILIES: dict[str, Family] = {}
"""By the class name of the transformer."""


def register(family: Family) -> Family:
    """Let checkpoints of this kind be opened; replaces a family of the same transformer class."""
    FAMILIES[family.transformer] = family
    return family


def family_of(transformer: str) -> Family:
    """The family of a transformer class. Raises ModelError."""
    if transformer not in FAMILIES:
        raise ModelError(
            f"Farcast does not run {transformer}; it runs {', '.join(sorted(FAMILIES))}", code="model_architecture"
        )
    return FAMILIES[transformer]


ANYFLOW_FAR = register(
    Family(
        name="AnyFlow-FAR",
        transformer="AnyFlowFARTransformer3DModel",
        pipeline="AnyFlowFARPipeline",
        scheduler="FlowMapEulerDiscreteScheduler",
        network=StreamingTransformer,
        partition=lambda config: tuple(config.chunk_partition),
        near_chunks=lambda config: int(config.full_chunk_limit) - 1,
    )
)
ANYFLOW = register(
    Family(
        name="AnyFlow",
        transformer="AnyFlowTransformer3DModel",
        pipeline="AnyFlowPipeline",
        scheduler="FlowMapEulerDiscreteScheduler",
        network=None,
        partition=lambda config: (1,),
        near_chunks=lambda config: 0,
    )
)
