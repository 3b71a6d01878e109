"""Windows of clips, the batches of a training step: chunk 0 of a clip (a start from a picture), then later chunks.

Half of the clips change scene at a chunk border, and a window carries the caption of its last chunk. So the model is
trained to continue under a new prompt from frames of the old one, and from a picture that it did not generate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.toyworld import caption
from models.training.data.toy_clips import LatentClips, load_clips, partition_of, training_scene
from models.training.run import rank_and_world

# Share of windows that leave out chunks after the first, as the sliding window of an endless stream does, and the least
# number of chunks for that: in a shorter window the first chunk is the start of the stream, and nothing is missing.
GAP, GAP_FROM = 0.35, 4


class Clips(Protocol):
    """Latents of clips in chunks of 1, 3, 3, ... latent frames, and their captions."""

    @property
    def latents(self) -> Tensor:
        """Normalised, (N, F, C, h, w), in any precision."""

    @property
    def chunks(self) -> int:
        """Chunks of every clip."""

    def caption(self, clip: int, chunk: int, rng: np.random.Generator) -> str:
        """A caption of that chunk, drawn from its paraphrases."""

    def same_scene(self, clip: int, chunk: int, other: int) -> bool:
        """True where one caption describes both chunks."""

    def prompt(self, rng: np.random.Generator) -> str:
        """A prompt as a user may write it."""


@dataclass(frozen=True)
class WorldClips:
    """Clips of the toy world, whose captions are drawn anew each time."""

    store: LatentClips

    @property
    def latents(self) -> Tensor:
        return self.store.latents

    @property
    def chunks(self) -> int:
        return self.store.scenes.shape[1]

    def caption(self, clip: int, chunk: int, rng: np.random.Generator) -> str:
        return caption(self.store.scene(clip, chunk), rng)

    def same_scene(self, clip: int, chunk: int, other: int) -> bool:
        return bool((self.store.scenes[clip, chunk] == self.store.scenes[clip, other]).all())

    def prompt(self, rng: np.random.Generator) -> str:
        return caption(training_scene(rng), rng)


@dataclass(frozen=True)
class CaptionedClips:
    """Clips that each have one caption."""

    latents: Tensor
    captions: Sequence[str]

    @property
    def chunks(self) -> int:
        return len(chunks_in(self.latents.shape[1]))

    def caption(self, clip: int, chunk: int, rng: np.random.Generator) -> str:
        return self.captions[clip]

    def same_scene(self, clip: int, chunk: int, other: int) -> bool:
        return True

    def prompt(self, rng: np.random.Generator) -> str:
        return self.captions[int(rng.integers(len(self.captions)))]


def chunks_in(frames: int) -> tuple[int, ...]:
    """Latent frames of the chunks of a clip: 1, then 3 each, and what is left."""
    full, rest = divmod(frames - 1, 3)
    return (1, *([3] * full), *([rest] if rest else []))


def open_clips(folder: Path, name: str) -> Clips | None:
    """The clips encoded as `NAME-PART.safetensors` in `folder`, with captions of their own or of the toy world."""
    paths = sorted(folder.glob(f"{name}-*.safetensors"))
    if not paths:
        return None
    texts = [path.with_suffix(".txt") for path in paths]
    if all(path.exists() for path in texts):
        captions = [line for path in texts for line in path.read_text(encoding="utf-8").splitlines()]
        return CaptionedClips(torch.cat([load_file(path)["latents"] for path in paths]), captions)
    return WorldClips(load_clips(*paths))


@dataclass(frozen=True)
class Window:
    """A batch of windows. captions: of the last chunk, "" where dropped. partition: latent frames of each chunk.

    clean: latents (B, F, C, h, w); context: the same as later chunks attend to them; noise: of the same shape.
    t, r: (B, full) noise levels of the frames at full resolution. weight: (B, F), 0 where the frame shows another scene
    than the caption says.
    """

    clean: Tensor
    context: Tensor
    noise: Tensor
    t: Tensor
    r: Tensor
    weight: Tensor
    captions: tuple[str, ...]
    partition: tuple[int, ...]

    @property
    def full(self) -> int:
        """Frames at full resolution, the last of the window."""
        return self.t.shape[1]


@dataclass(frozen=True)
class Levels:
    """How noise levels t >= r are drawn, before the schedule's shift.

    pairs: shares of rows with r = t (diffusion), with r = 0 (consistency), and with r anywhere between.
    of: the distribution of t. "uniform" on 0..1; "larger_of_two" uniforms, r then being the smaller (density 2 t: more
        noise, AnyFlow's published flow-map rows); "logit_normal", the sigmoid of a standard normal (SD3, arXiv
        2403.03206, section 3.1).
    per: "chunk" draws a pair for every chunk of a window, "window" one for all of it, as published.
    """

    shift: float
    pairs: tuple[float, float, float]
    of: str = "uniform"
    per: str = "chunk"

    def draw(self, rows: int, lengths: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """t, r (rows, frames), `lengths` frames a chunk. All pairs of a row are of one kind, diffusion rows first.

        Rows are counted over all processes, so that the shares hold however few rows one of them has.
        """
        rank, world = rank_and_world()
        places = (rows, len(lengths) if self.per == "chunk" else 1)
        if self.of == "logit_normal":
            upper = 1 / (1 + np.exp(-rng.standard_normal(places)))
            between = upper * rng.random(places)
        else:
            u, v = rng.random(places), rng.random(places)
            upper, between = (np.maximum(u, v), np.minimum(u, v)) if self.of == "larger_of_two" else (u, u * v)
        place = ((rank * rows + np.arange(rows)) / (world * rows))[:, None]
        diffusion, consistency, _ = self.pairs
        lower = np.where(place < diffusion, upper, np.where(place < diffusion + consistency, 0.0, between))
        t, r = (
            torch.from_numpy(self.shift * x / (1 + (self.shift - 1) * x)).float().expand(rows, len(lengths))
            for x in (upper, lower)
        )
        counts = torch.tensor(list(lengths))
        return t.repeat_interleave(counts, 1), r.repeat_interleave(counts, 1)


def draw_window(
    clips: Clips, chunks: int, batch: int, levels: Levels, rng: np.random.Generator, *, near: int,
    caption_dropout: float = 0.0, context_noise: float = 0.0, device: torch.device | None = None,
) -> Window:  # fmt: skip
    """A batch of windows of `chunks` chunks, of which the last `near` are at full resolution.

    context_noise: the most noise the context carries, in standard deviations; how much is drawn for every row.
    A shorter last chunk of the clips is seen in windows of all of their chunks only.
    """
    whole = chunks_in(clips.latents.shape[1])
    full = clips.chunks - (whole[-1] not in (1, 3))
    partition = whole if chunks == len(whole) else partition_of(chunks)
    rows, captions, weights = [], [], []
    for clip in rng.integers(len(clips.latents), size=batch):
        gap = GAP_FROM <= chunks <= full and rng.random() < GAP
        end = int(rng.integers(chunks - 1, full)) if gap else chunks - 1
        which = [0, *range(end - chunks + 2, end + 1)]
        starts = [max(0, 3 * c - 2) for c in which]
        frames = [f for start, length in zip(starts, partition, strict=True) for f in range(start, start + length)]
        rows.append(clips.latents[int(clip), frames].float())
        captions.append("" if rng.random() < caption_dropout else clips.caption(int(clip), end, rng))
        same = [float(clips.same_scene(int(clip), c, end)) for c in which]
        weights.append([a for a, length in zip(same, partition, strict=True) for _ in range(length)])
    clean = torch.stack(rows)
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
    context = clean
    if context_noise:
        spread = context_noise * rng.random((batch, 1, 1, 1, 1), dtype=np.float32)
        context = clean + torch.from_numpy(spread * rng.standard_normal(clean.shape, dtype=np.float32))
    t, r = levels.draw(batch, partition[-near:], rng)
    clean, context, noise, t, r, weight = (x.to(device) for x in (clean, context, noise, t, r, torch.tensor(weights)))
    return Window(clean, context, noise, t, r, weight, tuple(captions), partition)
