"""Attention for training: the reference's masks on `scaled_dot_product_attention`, differentiable on every device.

The diffusers module uses flex attention, which has no backward on a CPU and pads queries and keys to a multiple of
128. These processors replace it in the same module: self-attention takes a dense boolean mask of shape (L, L), and
cross-attention folds the zero-padded text positions into one key, whose weight ln(count) stands for all of them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F


class DenseSelfAttention:
    """Self-attention under a dense mask (L, L), True where a query attends to a key."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: dict[str, torch.Tensor] | None = None,
        kv_cache: object = None,
        kv_cache_flag: object = None,
    ) -> torch.Tensor:
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        key = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        if rotary_emb is not None:
            query, key = rotate(query, rotary_emb["query"]), rotate(key, rotary_emb["key"])
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class FoldedCrossAttention:
    """Cross-attention over (B, n + 1, d) text: n real or masked positions, and last the one that stands for `padding`.

    `bias` (B, 1, 1, n + 1) is set by the trainer before each forward pass: 0 for real positions, -inf for those past a
    caption's end, and ln(512 - real) for the last.
    """

    _attention_backend = None
    _parallel_config = None

    def __init__(self) -> None:
        self.bias: torch.Tensor | None = None

    def __call__(
        self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: object
    ) -> torch.Tensor:
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        key = attn.norm_k(attn.to_k(encoder_hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        value = attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        bias = None if self.bias is None else self.bias.expand(-1, attn.heads, query.shape[2], -1)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def rotate(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotary embedding in single precision: x (B, H, L, D), turns complex (1, 1, L, D / 2)."""
    pairs = torch.view_as_complex(x.float().unflatten(3, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns.to(torch.complex64)).flatten(3).type_as(x)


def fold_text(states: torch.Tensor, mask: torch.Tensor, positions: int = 512) -> tuple[torch.Tensor, torch.Tensor]:
    """Text states (B, n, d) and mask (B, n) to states (B, n + 1, d) with a zero row last, and the bias for it."""
    real = mask.sum(1, keepdim=True)
    states = torch.cat([states * mask[..., None], states.new_zeros(len(states), 1, states.shape[2])], dim=1)
    bias = torch.zeros(mask.shape, dtype=states.dtype, device=states.device).masked_fill(mask == 0, -math.inf)
    bias = torch.cat([bias, (positions - real).to(states.dtype).log()], dim=1)
    return states, bias[:, None, None, :]


def causal_mask(partition: tuple[int, ...], far: int, full_tokens: int, far_tokens: int, clean: bool) -> torch.Tensor:
    """Attention mask of a training pass over [far chunks | noisy full chunks | clean copies of those], (L, L) bool.

    Chunks attend to earlier ones only (FAR, arXiv 2503.19325). A noisy chunk attends to itself and to the clean copies
    of earlier full chunks; clean chunks to clean chunks up to themselves; all to the far chunks before them.
    """
    order = range(len(partition))
    chunk = [c for c in order[:far] for _ in range(partition[c] * far_tokens)]
    full = [c for c in order[far:] for _ in range(partition[c] * full_tokens)]
    kind = [0] * len(chunk) + [1] * len(full) + ([2] * len(full) if clean else [])
    index = torch.tensor(chunk + full + (full if clean else []))
    kinds = torch.tensor(kind)
    q, k = index[:, None], index[None, :]
    q_kind, k_kind = kinds[:, None], kinds[None, :]
    allowed = q >= k
    allowed &= ~((q_kind != 1) & (k_kind == 1))  # only noisy chunks attend to noisy chunks
    allowed &= ~((q_kind == 1) & (k_kind == 1) & (q != k))
    allowed &= ~((q_kind == 1) & (k_kind == 2) & (q == k))
    return allowed
