"""A clip of a given length, offline: a rollout whose chunks all take the same steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from models.checkpoint.bundle import Bundle
from models.errors import RequestError
from models.rollout import flowmap
from models.rollout.bidirectional import generate_whole
from models.rollout.kv_cache import window
from models.rollout.rollout import Rollout

MAX_FRAMES = 1_000_000


def generate(
    bundle: Bundle,
    *,
    prompt: str,
    frames: int = 81,
    steps: int | None = None,
    seed: int = 0,
    image: Image.Image | None = None,
    video: np.ndarray | None = None,
    video_fps: float | None = None,
    guidance: float | None = None,
    negative: str = "",
    changes: Sequence[tuple[int, str]] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[np.ndarray]:
    """Yield uint8 (n, H, W, 3), chunk after chunk, until `frames` pixel frames are made; the last one is cut to fit.

    A bidirectional checkpoint makes the whole clip at once (`models.rollout.bidirectional`), from text only.
    steps: a chunk; None takes 4, or the count of a model that runs at fixed noise levels.
    guidance: None takes the bundle's own. negative: prompt of the second pass, where guidance is above 1.
    changes: (frame, prompt), frames rising: the prompt is in force from the chunk that holds this pixel frame.
    progress(frames made, frames asked for) is called after every chunk. Arguments are checked before the first chunk.
    """
    if isinstance(frames, bool) or not isinstance(frames, int) or not 1 <= frames <= MAX_FRAMES:
        raise RequestError(f"frames is {frames!r}; it must be a whole number from 1 to {MAX_FRAMES}")
    sigmas = flowmap.schedule_for(bundle, steps)
    if not bundle.streams:
        if changes or negative:
            raise RequestError(f"{bundle.name} takes one prompt for a whole clip; changes need a FAR checkpoint")
        if image is not None or video is not None:
            raise RequestError(f"{bundle.name} makes video from text alone; an image or a clip needs a FAR checkpoint")
        scale = bundle.guidance if guidance is None else guidance
        whole = generate_whole(bundle, prompt=prompt, frames=frames, steps=len(sigmas) - 1, seed=seed, guidance=scale)
        return _counted(whole, frames, progress)
    partition, context_frames = as_trained(bundle, frames)
    rollout = Rollout(
        bundle,
        prompt=prompt,
        seed=seed,
        image=image,
        clip=video,
        clip_fps=video_fps,
        guidance=guidance,
        negative=negative,
        partition=partition,
        context_frames=context_frames,
    )
    for _, text in changes:
        rollout.check_prompt(text)
    return _counted(_chunks(rollout, sigmas, changes), frames, progress)


def _chunks(rollout: Rollout, sigmas: Sequence[float], changes: Sequence[tuple[int, str]]) -> Iterator[np.ndarray]:
    waiting, ahead = deque(changes), rollout.bundle.chunk_frames * rollout.bundle.frames_per_latent
    while True:
        due = None
        while waiting and (waiting[0][0] <= rollout.frame or (rollout.frame and waiting[0][0] < rollout.frame + ahead)):
            due = waiting.popleft()[1]
        if due is not None:
            rollout.prompt(due)
        yield rollout.next_chunk(sigmas)


def as_trained(bundle: Bundle, frames: int) -> tuple[tuple[int, ...], int | None]:
    """Chunks and context for a clip no longer than the model was trained on: the reference's, with nothing dropped.

    Longer ones use the window of a live stream: (), None.
    """
    latents = 1 - (1 - frames) // bundle.frames_per_latent
    if latents > sum(bundle.partition):
        return (), None
    full, rest = divmod(latents - 1, bundle.chunk_frames)
    partition = (1, *[bundle.chunk_frames] * full, *([rest] if rest else []))
    return partition, max(window(bundle).context_frames, latents - partition[-1])


def _counted(
    chunks: Iterator[np.ndarray], frames: int, progress: Callable[[int, int], None] | None
) -> Iterator[np.ndarray]:
    made = 0
    while made < frames:
        chunk = next(chunks)[: frames - made]
        made += len(chunk)
        if progress is not None:
            progress(made, frames)
        yield chunk
