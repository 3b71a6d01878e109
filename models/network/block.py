"""One layer of AnyFlow-FAR, in the two halves that its self-attention leaves, over weights collected once.

Pure functions of tensors: `models.network.execution` compiles them. Between the halves lies the K/V store, which
belongs to the caller (`models.network.transformer`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Weights(NamedTuple):
    """A block's weights, those of its linear maps as (weight, bias)."""

    qkv: tuple[Tensor, Tensor]
    norm_q: Tensor
    norm_k: Tensor
    out: tuple[Tensor, Tensor]
    norm_cross: tuple[Tensor, Tensor] | None
    cross_q: tuple[Tensor, Tensor]
    cross_norm_q: Tensor
    cross_out: tuple[Tensor, Tensor]
    ffn_in: tuple[Tensor, Tensor]
    ffn_out: tuple[Tensor, Tensor]


def project(
    x: Tensor, rope: Tensor, modulation: Tensor, weights: Weights, heads: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """First part of a layer: x (B, S, d) to its queries, keys (both rotated) and values, (B, S, heads, dim) each."""
    shift, scale = modulation[0], modulation[1]
    h = F.layer_norm(x.float(), x.shape[-1:], scale, shift, eps).to(x.dtype)
    q, k, v = F.linear(h, *weights.qkv).split(x.shape[-1], dim=-1)
    q, k = rms(q, weights.norm_q, eps), rms(k, weights.norm_k, eps)
    q, k, v = (part.unflatten(2, (heads, -1)) for part in (q, k, v))
    return rotate(q, rope), rotate(k, rope), v


def finish(
    x: Tensor,
    seen: Tensor,
    modulation: Tensor,
    weights: Weights,
    keys: Tensor,
    values: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """The rest of a layer. seen: what its attention gathered; keys, values, bias: of the prompt, in this layer."""
    size, (_, _, gate, ffn_shift, ffn_scale, ffn_gate) = x.shape[-1:], modulation.unbind()
    x = torch.addcmul(x.float(), F.linear(seen, *weights.out).float(), gate).to(x.dtype)

    h = x
    if weights.norm_cross is not None:
        h = F.layer_norm(x.float(), size, *weights.norm_cross, eps).to(x.dtype)
    q = rms(F.linear(h, *weights.cross_q), weights.cross_norm_q, eps).unflatten(2, keys.shape[-2:])
    x = x + F.linear(attend(q, keys, values, bias), *weights.cross_out)

    h = F.layer_norm(x.float(), size, ffn_scale, ffn_shift, eps).to(x.dtype)
    h = F.linear(F.gelu(F.linear(h, *weights.ffn_in), approximate="tanh"), *weights.ffn_out)
    return torch.addcmul(x.float(), h.float(), ffn_gate).to(x.dtype)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotary embedding. x: (B, S, heads, dim); rope: (S, 1, dim / 2, 2), cosine and sine."""
    pairs = x.float().unflatten(-1, (-1, 2))
    if not torch.compiler.is_compiling():  # one operation, where the compiler knows no complex numbers
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(rope)
        return torch.view_as_real(turned).flatten(-2).to(x.dtype)
    (even, odd), (cosine, sine) = pairs.unbind(-1), rope.unbind(-1)
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2).to(x.dtype)


def attend(q: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention over (B, S, heads, dim); returns (B, S, heads * dim)."""
    out = F.scaled_dot_product_attention(q.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), bias)
    return out.transpose(1, 2).flatten(2)


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def fuse(block: Any) -> Weights:
    """Collect a block's weights; to_q, to_k and to_v become views of one matrix, so nothing is stored twice."""
    attention, cross = block.attn1, block.attn2
    projections = (attention.to_q, attention.to_k, attention.to_v)
    weight = torch.cat([p.weight.detach() for p in projections])
    bias = torch.cat([p.bias.detach() for p in projections])
    for part, w, b in zip(projections, weight.chunk(3), bias.chunk(3), strict=True):
        part.weight.data, part.bias.data = w, b
    norm_cross = None
    if not isinstance(block.norm2, nn.Identity):
        norm_cross = (block.norm2.weight.detach().float(), block.norm2.bias.detach().float())
    return Weights(
        qkv=(weight, bias),
        norm_q=attention.norm_q.weight.detach(),
        norm_k=attention.norm_k.weight.detach(),
        out=_linear(attention.to_out[0]),
        norm_cross=norm_cross,
        cross_q=_linear(cross.to_q),
        cross_norm_q=cross.norm_q.weight.detach(),
        cross_out=_linear(cross.to_out[0]),
        ffn_in=_linear(block.ffn.net[0].proj),
        ffn_out=_linear(block.ffn.net[2]),
    )


def _linear(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.weight.detach(), layer.bias.detach()
