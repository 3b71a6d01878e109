"""The context: what the chunk in progress can see of the past, as keys and values in one store.

Finished chunks lie in the store in time order, `far` ones coarse, the `near` ones (the last two) in full, then room for
the chunk in progress. The model lets a chunk see every chunk up to itself, which in this order is a prefix of the
store. So:

- a chunk that becomes far is encoded once, coarse, and under one prompt its K/V then never change: append-only;
- the older near chunk saw the chunk before it in full when it was the newest and now sees it coarse: encoded again;
- the newest chunk is encoded for the first time.

These are the three encodes of an append, done in one pass (`encode`). When the window is full, the oldest chunk after
the sink (chunk 0, never dropped) leaves and the rest are re-based to lower positions, so no position ever leaves the
range the model was trained on and there is no last frame. The modes differ in what they then do:

- "exact": the far chunks left are encoded again, since they had seen the chunk that left. The store is then always what
  the reference makes of the window's latents. Five encodes, three of them coarse; the cost stays constant.
- "rolling": their K/V are kept and rotated to the new positions, as every rolling cache does.
- "cheap": as rolling, and the older near chunk keeps the K/V it had as the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from models.errors import RequestError
from models.network.block import rotate
from models.network.transformer import PromptKV, Segment, StreamingTransformer

if TYPE_CHECKING:
    from models.checkpoint.bundle import Bundle

AppendMode = Literal["exact", "rolling", "cheap"]


@dataclass(frozen=True)
class WindowConfig:
    """Sizes a context is made for. height and width are the latent's; frames are latent frames."""

    height: int
    width: int
    chunk_frames: int  # the most frames a chunk has
    near_chunks: int  # chunks kept in full
    context_frames: int  # most frames of context: sink + far + near


def window(bundle: Bundle, context_frames: int | None = None) -> WindowConfig:
    """The window of a stream: sink + as many far chunks as leave a state the model was trained in, + near + current.

    For the published checkpoints that is 1 + 9 + 6 latent frames of context and 3 in progress, of 21 trained.
    """
    chunk, near, sink = bundle.chunk_frames, bundle.near_chunks, bundle.first_chunk_frames
    if context_frames is None:
        far = max(0, (sum(bundle.partition) - sink - near * chunk - chunk) // chunk)
        context_frames = sink + (far + near) * chunk
    _, height, width = bundle.latent_shape
    return WindowConfig(height, width, chunk, near, context_frames)


@dataclass(frozen=True)
class _Chunk:
    latents: Tensor  # (1, F, C, H, W)
    encoded: bool = False

    @property
    def frames(self) -> int:
        return self.latents.shape[1]


@dataclass(frozen=True)
class _Place:
    """Where a chunk is: far or near, its first frame in the window, its tokens in the store."""

    far: bool
    frame: int
    segment: Segment


class KVCache:
    """Window of finished chunks and the store of their K/V, for `batch` rows (2 under guidance)."""

    def __init__(
        self, network: StreamingTransformer, geometry: WindowConfig, *, batch: int = 1, mode: str = "exact"
    ) -> None:
        if mode not in get_args(AppendMode):
            raise RequestError(f"append mode is {mode!r}; it must be one of {', '.join(get_args(AppendMode))}")
        self.network = network
        self.geometry = geometry
        self.batch = batch
        self.mode = mode
        self.chunks: list[_Chunk] = []
        self.full_tokens, self.far_tokens = (  # tokens a frame
            (geometry.height // ph) * (geometry.width // pw) for ph, pw in (network.patch, network.far_patch)
        )
        near = geometry.near_chunks * geometry.chunk_frames
        tokens = (geometry.context_frames - near) * self.far_tokens + (near + geometry.chunk_frames) * self.full_tokens
        shape = (len(network.layers), batch, tokens, network.heads, network.head_dim)
        self.keys = torch.zeros(shape, dtype=network.dtype, device=network.device)
        self.values = torch.zeros_like(self.keys)
        frames = geometry.context_frames + geometry.chunk_frames
        self._full_rope = network.rope(frames, geometry.height, geometry.width)
        self._far_rope = network.rope(frames, geometry.height, geometry.width, far=True)
        self._backwards = torch.tensor([1.0, -1.0], device=network.device)

    # -- the window ----------------------------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        """Latent frames in the window."""
        return sum(chunk.frames for chunk in self.chunks)

    @property
    def stale(self) -> bool:
        """True when some chunk still has to be encoded."""
        return not all(chunk.encoded for chunk in self.chunks)

    def clear(self) -> None:
        """Forget everything: a new shot."""
        self.chunks = []

    def invalidate(self) -> None:
        """Nothing encoded is valid any more: the prompt changed."""
        self.chunks = [replace(chunk, encoded=False) for chunk in self.chunks]

    def load(self, window: Sequence[Tensor]) -> None:
        """Start from these finished chunks, none of them encoded."""
        self.chunks = [_Chunk(latents) for latents in window]

    def load_store(self, keys: Tensor, values: Tensor, encoded: Sequence[bool]) -> None:
        """Take K/V saved before, for the chunks already loaded."""
        self.keys.copy_(keys)
        self.values.copy_(values)
        self.chunks = [replace(chunk, encoded=done) for chunk, done in zip(self.chunks, encoded, strict=True)]

    def push(self, latents: Tensor) -> None:
        """A chunk is finished: (1, F, C, H, W). Slides the window; `encode` must follow before the next step."""
        before = self._places()
        old = list(zip(self.chunks, before, strict=True))
        chunks = [*self.chunks, _Chunk(latents)]
        dropped = 0
        while sum(chunk.frames for chunk in chunks) > self.geometry.context_frames and len(chunks) > 2:
            dropped += chunks.pop(1).frames
            old.pop(1)
        self.chunks = chunks
        moves = []
        for index, ((chunk, was), now) in enumerate(zip(old, self._places(), strict=False)):
            keep = chunk.encoded and self._survives(was, now, slid=dropped > 0 and index > 0)
            chunks[index] = replace(chunk, encoded=keep)
            if keep and was.segment.at != now.segment.at:
                moves.append((was, now))
        self._move(moves)

    def _survives(self, was: _Place, now: _Place, *, slid: bool) -> bool:
        if was.far and now.far:
            return not slid or self.mode != "exact"
        return self.mode == "cheap" and not was.far and not now.far

    def _move(self, moves: list[tuple[_Place, _Place]]) -> None:
        """Carry K/V to their new place, keys rotated by as many frames as the window slid.

        Nothing ever moves to a later place, so in time order no move overwrites what another has still to read; and a
        layer at a time, or a copy of gigabytes would be needed.
        """
        for was, now in moves:
            assert now.segment.at < was.segment.at, (was, now)
            here = slice(was.segment.at, was.segment.at + was.segment.length)
            there = slice(now.segment.at, now.segment.at + now.segment.length)
            back = None
            if was.frame != now.frame:  # at row 0, column 0 only time turns
                back = self._full_rope[was.frame - now.frame, 0] * self._backwards
                back = back.expand(was.segment.length, 1, -1, -1)
            for keys, values in zip(self.keys, self.values, strict=True):
                keys[:, there] = keys[:, here].clone() if back is None else rotate(keys[:, here], back)
                values[:, there] = values[:, here].clone()

    def _places(self) -> list[_Place]:
        places, frame, at = [], 0, 0
        first_near = len(self.chunks) - self.geometry.near_chunks
        for index, chunk in enumerate(self.chunks):
            far = index < first_near
            segment = Segment(at, chunk.frames * (self.far_tokens if far else self.full_tokens))
            places.append(_Place(far, frame, segment))
            frame, at = frame + chunk.frames, at + segment.length
        return places

    # -- keys and values -----------------------------------------------------------------------------------------

    def encode(self, prompt: PromptKV) -> None:
        """Bring the store up to date under `prompt`: one pass over every chunk that is not encoded."""
        tokens, ropes, segments = [], [], []
        for chunk, place in zip(self.chunks, self._places(), strict=True):
            if not chunk.encoded:
                tokens.append(self.network.embed(chunk.latents, far=place.far))
                ropes.append(self._rope(place.frame, chunk.frames, far=place.far))
                segments.append(place.segment)
        if segments:
            x = torch.cat(tokens, dim=1).expand(self.batch, -1, -1)
            self.network.write(x, segments, torch.cat(ropes), prompt, self)
            self.chunks = [replace(chunk, encoded=True) for chunk in self.chunks]

    def current(self, frames: int) -> tuple[Segment, Tensor]:
        """Place and rotary table for a chunk of `frames` in progress, right after the context."""
        places = self._places()
        at = places[-1].segment.at + places[-1].segment.length if places else 0
        return Segment(at, frames * self.full_tokens), self._rope(self.frames, frames, far=False)

    def pending_tokens(self) -> int:
        """How many tokens the next `encode` will take: its cost."""
        places = zip(self.chunks, self._places(), strict=True)
        return sum(place.segment.length for chunk, place in places if not chunk.encoded)

    def _rope(self, frame: int, frames: int, *, far: bool) -> Tensor:
        table = self._far_rope if far else self._full_rope
        return table[frame : frame + frames].flatten(0, 1).unsqueeze(1)

    def clone(self) -> KVCache:
        """An independent copy; the latents, never written to, are shared."""
        twin = object.__new__(KVCache)
        twin.__dict__.update(self.__dict__)
        twin.chunks, twin.keys, twin.values = list(self.chunks), self.keys.clone(), self.values.clone()
        return twin
