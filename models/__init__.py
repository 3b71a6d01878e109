"""A live, steerable video model as a library: checkpoints, rollouts, video files. Synchronous; no sockets, no asyncio.

    from models import Rollout, open_bundle, save_mp4, schedule

    bundle = open_bundle()  # the embedded model; or a folder, or a hub id
    sigmas = schedule(4, bundle.shift)  # four steps a chunk
    rollout = Rollout(bundle, prompt="a big red circle bouncing on a navy background", seed=1)
    chunks = [rollout.next_chunk(sigmas) for _ in range(3)]
    rollout.prompt("a small yellow star spinning on a black background")
    chunks += [rollout.next_chunk(sigmas) for _ in range(3)]
    save_mp4("star.mp4", chunks, bundle.fps)

open_bundle, random_bundle: a checkpoint, opened (`models.checkpoint`). Rollout: one endless video, a chunk at a time,
with prompts and images at any chunk (`models.rollout`). generate: a clip of a given length. schedule: the noise levels
of a number of steps. save_mp4: chunks of frames, uint8 (n, H, W, 3), to an MP4 file (`models.media`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.checkpoint.bundle import open_bundle
    from models.checkpoint.random_weights import random_bundle
    from models.media.write import save_mp4
    from models.rollout.flowmap import schedule
    from models.rollout.generate import generate
    from models.rollout.rollout import Rollout

__all__ = ["Rollout", "generate", "open_bundle", "random_bundle", "save_mp4", "schedule"]

_MODULES = {
    "open_bundle": "models.checkpoint.bundle",
    "random_bundle": "models.checkpoint.random_weights",
    "Rollout": "models.rollout.rollout",
    "generate": "models.rollout.generate",
    "schedule": "models.rollout.flowmap",
    "save_mp4": "models.media.write",
}


def __getattr__(name: str) -> Any:
    """Loaded at first use, so that `import models.errors` needs no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'models' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
