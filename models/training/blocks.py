"""The transformer's blocks for training: one modulation a frame instead of one a token, equal and a fifth quicker.

The diffusers module repeats the six modulation vectors of every frame over its tokens, adds each block's table to that,
and differentiates through all of it. Here they stay one a frame and broadcast. Windows whose far chunks are coarse have
frames of two lengths and go on as they were.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def modulate_by_frame(transformer: Any) -> None:
    """Change `transformer` (AnyFlowFARTransformer3DModel) in place; parameters and results stay as they are."""
    embedder = transformer.condition_embedder
    by_token, train = embedder.forward_timestep, transformer._forward_train
    even = True

    def forward_timestep(timestep: Tensor, delta: Tensor, text: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        if not even or timestep.shape[1] == 0:
            return by_token(timestep, delta, text, tokens)  # type: ignore[no-any-return]
        embedding, modulation = by_token(timestep, delta, text, 1)
        return embedding.repeat_interleave(tokens, 1), modulation

    def forward_train(hidden_states: Tensor, chunk_partition: list[int], *args: Any, **kwargs: Any) -> Any:
        nonlocal even
        even = len(chunk_partition) <= transformer.config.full_chunk_limit
        return train(hidden_states, chunk_partition, *args, **kwargs)

    embedder.forward_timestep = forward_timestep
    transformer._forward_train = forward_train
    for block in transformer.blocks:
        block.forward = MethodType(_block, block)


def _block(
    block: Any,
    x: Tensor,
    text: Tensor,
    modulation: Tensor,
    rotary: Any,
    mask: Tensor,
    kv_cache: object = None,
    kv_cache_flag: object = None,
) -> Tensor:
    """x: (B, L, D); modulation: (B, n, 6, D), each for the next L / n tokens."""
    batch, length, width = x.shape
    frames = (batch, modulation.shape[1], length // modulation.shape[1], width)
    shift, scale, gate, shift_2, scale_2, gate_2 = (block.scale_shift_table + modulation)[:, :, :, None].unbind(2)
    y = F.layer_norm(x, (width,), eps=block.norm1.eps).view(frames)
    y = torch.addcmul(shift, y, 1 + scale).view_as(x)
    y = block.attn1(hidden_states=y, rotary_emb=rotary, attention_mask=mask)
    x = torch.addcmul(x.view(frames), y.view(frames), gate).view_as(x)
    x = x + block.attn2(hidden_states=block.norm2(x), encoder_hidden_states=text)
    y = F.layer_norm(x, (width,), eps=block.norm3.eps).view(frames)
    y = block.ffn(torch.addcmul(shift_2, y, 1 + scale_2).view_as(x))
    return torch.addcmul(x.view(frames), y.view(frames), gate_2).view_as(x)
