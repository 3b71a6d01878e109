"""A transformer and its text encoder with the passes of training.

`causal`: all chunks of a window at once, each noisy one over clean copies of those before it (FAR, arXiv 2503.19325).
`bidirectional`: all frames attend to all frames, for score networks of whole clips (AnyFlow, arXiv 2605.13724).
`encode_context` and `chunk_velocity`: as at run time; the context becomes keys and values, then only the chunk in
progress runs.

All use the diffusers module's own layers under other masks, so one set of weights serves all of them.
Latents are (B, F, C, h, w), noise levels (B, F) in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from models.training.network.adapters import TrainedOnly
from models.training.network.attention import DenseSelfAttention, FoldedCrossAttention, causal_mask, fold_text, rotate
from models.training.network.blocks import modulate_by_frame

ContextKV = list[tuple[Tensor, Tensor]]  # keys and values of every layer, (B, heads, tokens, dim) each


@dataclass(frozen=True)
class Text:
    """Captions as cross-attention takes them: states (B, n + 1, d) and bias (B, 1, 1, n + 1), see `fold_text`."""

    states: Tensor
    bias: Tensor

    def __getitem__(self, rows: Any) -> Text:
        return Text(self.states[rows], self.bias[rows])

    def detach(self) -> Text:
        """Without the gradient into the text encoder."""
        return Text(self.states.detach(), self.bias)

    def expand(self, batch: int) -> Text:
        """One caption for `batch` rows."""
        return Text(self.states.expand(batch, -1, -1), self.bias.expand(batch, -1, -1, -1))


class StreamingSelfAttention(DenseSelfAttention):
    """Self-attention of one layer that attends to cached keys and values (`past`) and can keep its own (`made`)."""

    def __init__(self) -> None:
        self.past: tuple[Tensor, Tensor] | None = None
        self.keep = False
        self.made: tuple[Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: dict[str, Tensor] | None = None,
        kv_cache: object = None,
        kv_cache_flag: object = None,
    ) -> Tensor:
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        key = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        assert rotary_emb is not None
        query, key = rotate(query, rotary_emb["query"]), rotate(key, rotary_emb["key"])
        if self.past is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(self.past, (key, value), strict=True))
        if self.keep:
            self.made = (key, value)
        mask = None if attention_mask is None or attention_mask.numel() == 1 else attention_mask
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Network:
    """Weights and passes; holds nothing of any batch between two calls.

    checkpoint: recompute the activations of every block in the backward pass, for large models.
    adapters: only trainable parameters of the transformer are saved and averaged, and the text encoder is frozen.
    unconditional: text that stands for a dropped caption (""): the unconditional prediction is the one under it.
    """

    def __init__(
        self, transformer: Any, text_encoder: Any, tokenizer: Any, *, checkpoint: bool = False, adapters: bool = False,
        unconditional: str = "",
    ) -> None:  # fmt: skip
        self.transformer, self.text_encoder, self.tokenizer = transformer, text_encoder, tokenizer
        self.adapters, self.unconditional = adapters, unconditional
        if not adapters:
            modulate_by_frame(transformer)
        self.cross = FoldedCrossAttention()
        self.attention = [StreamingSelfAttention() for _ in transformer.blocks]
        for block, own in zip(transformer.blocks, self.attention, strict=True):
            block.attn1.set_processor(own)
            block.attn2.set_processor(self.cross)
            if checkpoint:
                block.forward = self._checkpointed(block.forward, own)
        self._masks: dict[tuple[object, ...], Tensor] = {}

    @property
    def device(self) -> torch.device:
        return self.transformer.patch_embedding.weight.device  # type: ignore[no-any-return]

    def _checkpointed(self, forward: Callable[..., Tensor], own: StreamingSelfAttention) -> Callable[..., Tensor]:
        """`forward` of a block, computed twice; the second time with the caption and context it had the first time."""

        def run(*args: Any) -> Tensor:
            bias, past, keep = self.cross.bias, own.past, own.keep

            def again(*inner: Any) -> Tensor:
                now = self.cross.bias, own.past, own.keep
                self.cross.bias, own.past, own.keep = bias, past, keep
                try:
                    return forward(*inner)
                finally:
                    self.cross.bias, own.past, own.keep = now

            return forward(*args) if not torch.is_grad_enabled() else recompute(again, *args, use_reentrant=False)

        return run

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What a stage saves, by name."""
        if self.adapters:
            return {"transformer": TrainedOnly(self.transformer)}
        return {"transformer": self.transformer, "text_encoder": self.text_encoder}

    @property
    def near(self) -> int:
        """How many chunks a pass takes at full resolution."""
        return int(self.transformer.config.full_chunk_limit)

    def encode(self, captions: Sequence[str]) -> Text:
        """Captions to text, differentiable into the text encoder where that is trained; "" is a dropped caption."""
        texts = [caption or self.unconditional for caption in captions]
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=512, return_tensors="pt")
        ids, mask = tokens.input_ids.to(self.device), tokens.attention_mask.to(self.device)
        states = self.text_encoder(ids, mask).last_hidden_state.to(self.transformer.patch_embedding.weight.dtype)
        return Text(*fold_text(states, mask))

    # -- whole windows -------------------------------------------------------------------------------------------

    def causal(self, clean: Tensor, z: Tensor, t: Tensor, r: Tensor, partition: Sequence[int], text: Text) -> Tensor:
        """u (B, full, C, h, w) of the last `full` frames z of a window with clean latents `clean` (B, F, C, h, w).

        partition: frames of every chunk. Chunks before the last `near` ones are far: coarse, and taken as clean.
        """
        full, frames = z.shape[1], clean.shape[1]
        far = frames - full
        several = len(partition) > 1
        extra: dict[str, Any] = {}
        if several:
            extra = {"clean_hidden_states": clean[:, far:], "clean_timestep": torch.zeros_like(t)}
        still = t.new_zeros(len(z), far)
        self.cross.bias = text.bias
        return self.transformer(  # type: ignore[no-any-return]
            hidden_states=torch.cat([clean[:, :far], z], dim=1),
            timestep=torch.cat([still, t * 1000], dim=1),
            r_timestep=torch.cat([still, r * 1000], dim=1),
            encoder_hidden_states=text.states,
            chunk_partition=list(partition),
            attention_mask=self._causal_mask(tuple(partition), z.shape[3:], several),
            return_dict=False,
            **extra,
        )[0]

    def bidirectional(self, z: Tensor, t: Tensor, r: Tensor, text: Text) -> Tensor:
        """u (B, F, C, h, w), every frame attending to every frame, all at full resolution."""
        self.cross.bias = text.bias
        return self.transformer(  # type: ignore[no-any-return]
            hidden_states=z,
            timestep=t * 1000,
            r_timestep=r * 1000,
            encoder_hidden_states=text.states,
            chunk_partition=[z.shape[1]],
            attention_mask=self._no_mask(),
            return_dict=False,
        )[0]

    def _causal_mask(self, partition: tuple[int, ...], size: Sequence[int], clean: bool) -> Tensor:
        key = ("causal", partition, tuple(size), clean)
        if key not in self._masks:
            far = max(0, len(partition) - self.near)
            full_tokens, far_tokens = self._tokens(size)
            self._masks[key] = causal_mask(partition, far, full_tokens, far_tokens, clean).to(self.device)
        return self._masks[key]

    def _no_mask(self) -> Tensor:
        # A 1 x 1 mask stands for none: given None, the module builds a causal mask itself.
        return self._masks.setdefault(("all",), torch.ones(1, 1, dtype=torch.bool, device=self.device))

    def _tokens(self, size: Sequence[int]) -> tuple[int, int]:
        """Tokens of a full and of a far frame."""
        config = self.transformer.config
        full, far = (
            (size[0] // patch[1]) * (size[1] // patch[2]) for patch in (config.patch_size, config.compressed_patch_size)
        )
        return full, far

    # -- chunk by chunk ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode_context(self, past: Tensor, partition: Sequence[int], text: Text) -> ContextKV:
        """Keys and values of finished chunks (B, F, C, h, w), for the chunk that comes next; detached.

        All but the last `near` - 1 are coarse, and all are at t = r = 0, as at run time (`models.rollout.kv_cache`).
        """
        far = max(0, len(partition) - self.near + 1)
        split = sum(partition[:far])
        full_tokens, far_tokens = self._tokens(past.shape[3:])
        parts, ropes = [], []
        if far:
            parts.append(_tokens_of(self.transformer.far_patch_embedding, past[:, :split]))
            ropes.append(self._rope(0, split, past.shape[3:], coarse=True))
        parts.append(_tokens_of(self.transformer.patch_embedding, past[:, split:]))
        ropes.append(self._rope(split, past.shape[1] - split, past.shape[3:]))
        lengths = [n * (far_tokens if c < far else full_tokens) for c, n in enumerate(partition)]
        index = torch.arange(len(lengths), device=self.device).repeat_interleave(
            torch.tensor(lengths, device=self.device)
        )
        still = past.new_zeros(len(past), 1)
        self._blocks(
            torch.cat(parts, 1), still, still, torch.cat(ropes, 2), text, keep=True, mask=index[:, None] >= index
        )
        context = [own.made for own in self.attention]
        for own in self.attention:
            own.made = None
        return context  # type: ignore[return-value]

    def chunk_velocity(self, z: Tensor, t: Tensor, r: Tensor, text: Text, context: ContextKV, first: int) -> Tensor:
        """u (B, F, C, h, w) of the chunk in progress z, which starts at frame `first` of its window; t, r: (B,)."""
        x = _tokens_of(self.transformer.patch_embedding, z)
        rope = self._rope(first, z.shape[1], z.shape[3:])
        x, embedded = self._blocks(x, t[:, None], r[:, None], rope, text, past=context)
        shift, scale = (self.transformer.scale_shift_table + embedded[:, :1]).chunk(2, dim=1)
        x = (self.transformer.norm_out(x.float()) * (1 + scale) + shift).type_as(x)
        patch = self.transformer.config.patch_size[1]
        return self.transformer._unpack_latent_sequence(  # type: ignore[no-any-return]
            self.transformer.proj_out(x), z.shape[1], z.shape[3], z.shape[4], patch
        )

    def _blocks(
        self, x: Tensor, t: Tensor, r: Tensor, rope: Tensor, text: Text, *, past: ContextKV | None = None,
        keep: bool = False, mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Tokens (B, S, d) through every layer, all at one (t, r) a row, (B, 1); with the embedding of (t, r)."""
        module = self.transformer
        embedder = module.condition_embedder
        delta = r if embedder.deltatime_type == "r" else t - r
        embedded, projected = embedder.forward_timestep(t * 1000, delta * 1000, text.states, 1)
        time = projected.unflatten(2, (6, -1))  # (B, 1, 6, d): the same for all tokens
        words = embedder.text_embedder(text.states)
        self.cross.bias = text.bias
        rotary = {"query": rope, "key": rope}
        for layer, (block, own) in enumerate(zip(module.blocks, self.attention, strict=True)):
            own.past, own.keep = (None if not past else past[layer]), keep
            x = block(x, words, time, rotary, mask)
        for own in self.attention:
            own.past, own.keep = None, False
        return x, embedded

    def _rope(self, first: int, frames: int, size: Sequence[int], *, coarse: bool = False) -> Tensor:
        config, rope = self.transformer.config, self.transformer.rope
        patch = config.compressed_patch_size if coarse else config.patch_size
        make = rope._forward_compressed_frame if coarse else rope._forward_full_frame
        table = make(first + frames, size[0] // patch[1], size[1] // patch[2], self.device)
        return table[first:].flatten(0, 2)[None, None]  # type: ignore[no-any-return]


def _tokens_of(embedding: Any, latents: Tensor) -> Tensor:
    """(B, F, C, h, w) to (B, tokens, d)."""
    return embedding(latents.transpose(1, 2)).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]
