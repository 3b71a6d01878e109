"""The reference, for comparison only: diffusers' AnyFlow-FAR pipeline, as it is or with the padded keys dropped.

diffusers pads the queries to a multiple of 128 and, where it has no mask, attends the zero keys that this adds.
NVIDIA's code, which made the weights, does not. This processor is theirs without the padding, on dense-masked SDPA,
which a CPU runs several times faster than flex attention.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AnyFlowFARPipeline
from diffusers.models.transformers.transformer_anyflow_far import apply_rotary_emb
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.vae.causal_conv import unfold_causal_convs


class UnpaddedProcessor:
    """Causal self-attention of the reference over the real tokens alone."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, attention_mask: Any = None, rotary_emb: Any = None,
        kv_cache: Any = None, kv_cache_flag: Any = None,
    ) -> Tensor:  # fmt: skip
        dtype = hidden_states.dtype
        query = attn.norm_q(attn.to_q(hidden_states)).to(dtype).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        key = attn.norm_k(attn.to_k(hidden_states)).to(dtype).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        full, coarse = kv_cache["full_cache"], kv_cache["compressed_cache"]
        if kv_cache_flag["is_cache_step"]:
            split = kv_cache_flag["num_compressed_tokens"]
            for row, tensor in enumerate((key, value)):
                coarse[row, :, :, :split] = tensor[:, :, :split]
                full[row, :, :, : tensor.shape[2] - split] = tensor[:, :, split:]
        else:
            far, near = kv_cache_flag["num_cached_compressed_tokens"], kv_cache_flag["num_cached_full_tokens"]
            key = torch.cat([coarse[0, :, :, :far], full[0, :, :, :near], key], dim=2)
            value = torch.cat([coarse[1, :, :, :far], full[1, :, :, :near], value], dim=2)
        query = apply_rotary_emb(query, rotary_emb["query"])
        key = apply_rotary_emb(key, rotary_emb["key"])
        mask = None
        if attention_mask is not None:
            rows = torch.arange(query.shape[2], device=query.device)
            mask = attention_mask.mask_mod(None, None, rows[:, None], rows[None, :])
        out = F.scaled_dot_product_attention(query, key, value, mask)
        return attn.to_out[0](out.transpose(1, 2).flatten(2).type_as(query))  # type: ignore[no-any-return]


@contextmanager
def as_it_runs() -> Iterator[None]:
    """Without PyTorch's advice to compile flex attention: the stock pipeline is measured the way it runs by itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        yield


def pipeline(bundle: Bundle, *, stock: bool = False) -> Any:
    """The reference pipeline over the bundle's weights. stock: as diffusers ships it, padding, conv3d and all."""
    transformer, vae = copy.deepcopy(bundle.transformer), copy.deepcopy(bundle.vae)
    if stock:
        unfold_causal_convs(vae)
    else:
        for block in transformer.blocks:
            block.attn1.processor = UnpaddedProcessor()
    pipe: Any = AnyFlowFARPipeline(
        tokenizer=bundle.tokenizer, text_encoder=bundle.text_encoder, transformer=transformer, vae=vae,
        scheduler=copy.deepcopy(bundle.scheduler),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def reference_latents(
    bundle: Bundle, prompt: str, *, partition: Sequence[int], steps: int, noise: Tensor, given: Tensor | None = None,
    guidance: float = 1.0,
) -> Tensor:  # fmt: skip
    """Latents (B, F, C, H, W) of the reference from `noise` of that shape; `given` latents start the video."""
    batch = len(noise)
    video = pipeline(bundle)(
        prompt=[prompt] * batch, height=bundle.height, width=bundle.width,
        num_frames=(sum(partition) - 1) * bundle.frames_per_latent + 1, num_inference_steps=steps,
        guidance_scale=guidance, latents=noise.transpose(1, 2), video_latents=given, output_type="latent",
        chunk_partition=list(partition),
    ).frames  # fmt: skip
    return video.transpose(1, 2)  # type: ignore[no-any-return]
