"""AnyFlow-FAR's forward pass for streaming, over the weights of the diffusers module.

It does not know what a chunk means or which ones to keep: it gets tokens, a place in a K/V store for each run of them,
and computes what diffusers' `AnyFlowFARTransformer3DModel` computes, with one difference (DESIGN section 3): the zero
keys that its padding adds are not attended, as in NVIDIA's own code. What makes it quick: every chunk attends a prefix
of one preallocated store, so no mask and no concatenation; Q, K and V come from one product; all tokens of a pass share
one (t, r), so a layer needs one modulation vector; and the prompt's keys are computed once, its padding folded to one.

Everything that changes from call to call is a tensor argument of `_layers` (t and r as their modulation), so compiled
layers and CUDA graphs serve every step count; `models.network.execution` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.network.block import attend, finish, fuse, project, rms
from models.network.execution import Eager

TEXT_POSITIONS = 512  # the reference pads every prompt to this many positions and attends all of them
_MODULATIONS_KEPT = 256


@dataclass(frozen=True)
class Segment:
    """`length` consecutive tokens of a pass whose K/V go to `at` in the store. They see keys [0, at + length)."""

    at: int
    length: int


@dataclass(frozen=True)
class Modulation:
    """What (t, r) does to the layers. blocks: (layers, 6, d) as shift, 1 + scale, gate, twice; head: (2, d)."""

    blocks: Tensor
    head: Tensor


@dataclass(frozen=True)
class PromptKV:
    """A prompt as every layer sees it. keys, values: (layers, batch, T, heads, dim); bias: (batch, 1, 1, T)."""

    keys: Tensor
    values: Tensor
    bias: Tensor


class Store(Protocol):
    """Where keys (already rotated) and values live: (layers, batch, tokens, heads, dim) each."""

    keys: Tensor
    values: Tensor


class StreamingTransformer:
    """Forward passes over one `AnyFlowFARTransformer3DModel`. Holds weights only, nothing of any rollout.

    execution: how passes run, plainly by default. text_multiple there rounds prompts up, so that few shapes occur.
    """

    def __init__(self, module: Any, execution: Eager | None = None) -> None:
        config = module.config
        self.module = module
        self.execution = execution or Eager()
        self.layers = [fuse(block) for block in module.blocks]
        self.heads: int = config.num_attention_heads
        self.head_dim: int = config.attention_head_dim
        self.width = self.heads * self.head_dim
        self.eps: float = config.eps
        self.patch: tuple[int, int] = tuple(config.patch_size[1:])
        self.far_patch: tuple[int, int] = tuple(getattr(config, "compressed_patch_size", config.patch_size)[1:])
        self.dtype: torch.dtype = module.patch_embedding.weight.dtype
        self.device: torch.device = module.patch_embedding.weight.device
        self._tables = torch.stack([block.scale_shift_table[0].detach().float() for block in module.blocks])
        self._modulations: dict[tuple[float, float], Modulation] = {}

    # -- what a pass is given ------------------------------------------------------------------------------------

    @torch.no_grad()
    def modulation(self, t: float, r: float) -> Modulation:
        """The vectors for going from noise level t to r (sigmas in 0..1). A small cache keeps the usual ones."""
        found = self._modulations.get((t, r))
        if found is not None:
            return found
        embedded, projected = self.embed_times(t, r)
        blocks = self._tables + projected.view(1, 6, -1).float()
        head = self.module.scale_shift_table[0].float() + embedded.view(1, -1).float()
        blocks[:, 1] += 1
        blocks[:, 4] += 1
        made = Modulation(blocks, torch.stack([head[0], 1 + head[1]]))
        if len(self._modulations) >= _MODULATIONS_KEPT:
            self._modulations.clear()
        self._modulations[t, r] = made
        return made

    def embed_times(self, t: float, r: float) -> tuple[Tensor, Tensor]:
        """Embedding of a step from noise level t to r, and its projection: d and 6 d numbers."""
        embedder = self.module.condition_embedder
        time = torch.full((1, 1), t * 1000.0, dtype=torch.float64, device=self.device)
        delta = torch.full_like(time, (r if embedder.deltatime_type == "r" else t - r) * 1000.0, dtype=torch.float32)
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        embedded, projected = embedder.forward_timestep(time, delta.double(), like, token_per_frame=1)
        return embedded, projected

    def rope(self, frames: int, height: int, width: int, *, far: bool = False) -> Tensor:
        """Rotary table of latents of this size, by the module's own code: (frames, tokens a frame, dim / 2, 2)."""
        ph, pw = self.far_patch if far else self.patch
        rope = self.module.rope
        make = rope._forward_compressed_frame if far else rope._forward_full_frame
        table = make(frames, height // ph, width // pw, self.device)
        return torch.view_as_real(table.flatten(1, 2).to(torch.complex64)).contiguous()

    @torch.no_grad()
    def prompt_kv(self, embeddings: Sequence[Tensor]) -> PromptKV:
        """Keys and values of one prompt a batch row; embeddings: (tokens, text_dim) each, without their padding.

        The reference attends TEXT_POSITIONS keys, of which all but `tokens` are the same (embedded zeros). n equal keys
        with equal values are one key whose score is raised by ln(n), exactly.
        """
        width = max(len(embedding) for embedding in embeddings) + 1
        width = -(-width // self.execution.text_multiple) * self.execution.text_multiple
        text = torch.zeros(len(embeddings), width, embeddings[0].shape[1], dtype=self.dtype, device=self.device)
        bias = torch.full((len(embeddings), 1, 1, width), -math.inf, dtype=self.dtype, device=self.device)
        for row, embedding in enumerate(embeddings):
            tokens = len(embedding)
            text[row, :tokens] = embedding.to(text)
            bias[row, ..., :tokens] = 0.0
            if tokens < TEXT_POSITIONS:
                bias[row, ..., tokens] = math.log(TEXT_POSITIONS - tokens)
        text = self.module.condition_embedder.text_embedder(text)
        keys, values = [], []
        for block in self.module.blocks:
            attention = block.attn2
            keys.append(
                rms(attention.to_k(text), attention.norm_k.weight, self.eps).unflatten(2, (self.heads, -1))
            )
            values.append(attention.to_v(text).unflatten(2, (self.heads, -1)))
        return PromptKV(torch.stack(keys), torch.stack(values), bias)

    def embed(self, latents: Tensor, *, far: bool = False) -> Tensor:
        """Latents (B, F, C, H, W) to tokens (B, F * h * w, d), with the coarse patches when `far`."""
        conv = self.module.far_patch_embedding if far and self.far_patch != self.patch else self.module.patch_embedding
        ph, pw = self.far_patch if far else self.patch
        batch, frames, channels, height, width = latents.shape
        patches = latents.reshape(batch, frames, channels, height // ph, ph, width // pw, pw)
        patches = patches.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, -1, channels * ph * pw)
        return F.linear(patches.to(self.dtype), conv.weight.view(self.width, -1), conv.bias)

    # -- the pass ------------------------------------------------------------------------------------------------

    def write(self, x: Tensor, segments: Sequence[Segment], rope: Tensor, prompt: PromptKV, store: Store) -> None:
        """Clean tokens x (B, S, d) of finished chunks into the store; the last layer stops at its keys and values."""
        self._pass(x, tuple(segments), rope, self.modulation(0.0, 0.0), prompt, store, None)

    def velocity(
        self, x: Tensor, segment: Segment, rope: Tensor, modulation: Modulation, prompt: PromptKV, store: Store,
        shape: Sequence[int],
    ) -> Tensor:  # fmt: skip
        """Mean velocity u(x_t, t, r) of the chunk in progress as (B, F, C, H, W) = (B, *shape); x: its tokens."""
        u = self._pass(x, (segment,), rope, modulation, prompt, store, tuple(shape))
        assert u is not None
        return u

    def _pass(
        self, x: Tensor, segments: tuple[Segment, ...], rope: Tensor, modulation: Modulation, prompt: PromptKV,
        store: Store, shape: tuple[int, ...] | None,
    ) -> Tensor | None:  # fmt: skip
        """A pass whose values are all in the tensors given and whose shapes are all in `segments` and `shape`."""

        def run(x: Tensor, rope: Tensor, blocks: Tensor, head: Tensor, *of_prompt: Tensor) -> Tensor | None:
            x = self._layers(x, segments, rope, blocks, PromptKV(*of_prompt), store, to_the_end=shape is not None)
            return None if shape is None else self._head(x, head, shape)

        tensors = (x, rope, modulation.blocks, modulation.head, prompt.keys, prompt.values, prompt.bias)
        return self.execution.run(run, tensors, store, (segments, shape))

    def _head(self, x: Tensor, head: Tensor, shape: Sequence[int]) -> Tensor:
        shift, scale = head
        x = F.layer_norm(x.float(), (self.width,), scale, shift, self.eps).to(self.dtype)
        x = self.module.proj_out(x)
        frames, channels, height, width = shape
        ph, pw = self.patch
        x = x.reshape(len(x), frames, height // ph, width // pw, ph, pw, channels)
        return x.permute(0, 1, 6, 2, 4, 3, 5).reshape(len(x), frames, channels, height, width)

    def _layers(
        self, x: Tensor, segments: Sequence[Segment], rope: Tensor, modulations: Tensor, prompt: PromptKV,
        store: Store, *, to_the_end: bool,
    ) -> Tensor:  # fmt: skip
        last = len(self.layers) - 1
        to_qkv, after_attention = self.execution.compiled(project), self.execution.compiled(finish)
        for index, weights in enumerate(self.layers):
            modulation = modulations[index]
            q, k, v = to_qkv(x, rope, modulation, weights, self.heads, self.eps)
            keys, values = store.keys[index], store.values[index]
            row = 0
            for segment in segments:
                keys[:, segment.at : segment.at + segment.length] = k[:, row : row + segment.length]
                values[:, segment.at : segment.at + segment.length] = v[:, row : row + segment.length]
                row += segment.length
            if index == last and not to_the_end:
                return x
            seen = _attend_prefixes(q, keys, values, segments)
            keys, values = prompt.keys[index], prompt.values[index]
            x = after_attention(x, seen, modulation, weights, keys, values, prompt.bias, self.eps)
        return x


def _attend_prefixes(q: Tensor, keys: Tensor, values: Tensor, segments: Sequence[Segment]) -> Tensor:
    if len(segments) == 1:
        end = segments[0].at + segments[0].length
        return attend(q, keys[:, :end], values[:, :end])
    parts, row = [], 0
    for segment in segments:
        end = segment.at + segment.length
        parts.append(attend(q[:, row : row + segment.length], keys[:, :end], values[:, :end]))
        row += segment.length
    return torch.cat(parts, dim=1)
