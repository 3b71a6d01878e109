"""The quicker blocks of training compute what diffusers' own do, forwards and backwards."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from models.checkpoint.random_weights import random_bundle
from models.training.network.attention import DenseSelfAttention, FoldedCrossAttention, causal_mask
from models.training.network.blocks import modulate_by_frame


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_equal_to_the_blocks_of_diffusers(chunks: int) -> None:
    plain = random_bundle("tiny").transformer.requires_grad_(True)
    quick = copy.deepcopy(plain)
    for block in (*plain.blocks, *quick.blocks):
        block.attn1.set_processor(DenseSelfAttention())
        block.attn2.set_processor(FoldedCrossAttention())
    modulate_by_frame(quick)
    config = plain.config
    partition = (1, *[3] * (chunks - 1))
    far = max(0, chunks - config.full_chunk_limit)
    torch.manual_seed(0)
    side = 2 * config.compressed_patch_size[1]
    clean = torch.randn(2, sum(partition), config.in_channels, side, side)
    full = sum(partition[far:])
    text = torch.randn(2, 5, config.text_dim)
    tokens = (side // config.patch_size[1]) ** 2
    coarse = (side // config.compressed_patch_size[1]) ** 2
    mask = causal_mask(partition, far, tokens, coarse, clean=chunks > 1)
    t = torch.rand(2, sum(partition)) * 1000
    extra = {}
    if chunks > 1:
        extra = {"clean_hidden_states": clean[:, -full:], "clean_timestep": torch.zeros(2, full)}
    results = []
    for transformer in (plain, quick):
        out = transformer(
            hidden_states=clean,
            timestep=t,
            r_timestep=t * 0.5,
            encoder_hidden_states=text,
            chunk_partition=list(partition),
            attention_mask=mask,
            return_dict=False,
            **extra,
        )[0]
        out.square().mean().backward()
        results.append((out.detach(), {n: p.grad for n, p in transformer.named_parameters() if p.grad is not None}))
    (out, grads), (other, others) = results
    assert torch.allclose(out, other, rtol=1e-4, atol=1e-5)
    assert grads.keys() == others.keys()
    worst = max(float((grads[n] - others[n]).norm() / (grads[n].norm() + 1e-8)) for n in grads)
    assert worst < 1e-4
    assert np.isfinite(worst)
