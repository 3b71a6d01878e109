"""Nothing grows with the age of a stream."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from bench.engine.timing import resident_bytes
from models.checkpoint.bundle import Bundle
from models.rollout import history
from models.rollout.kv_cache import AppendMode, KVCache, window
from models.rollout.rollout import Rollout
from models.vae.base import VAEState

CHUNKS = 2000


class Blind:
    """A decoder that looks at nothing: what is tested here is everything else."""

    memory = 3

    def start(self) -> VAEState:
        return VAEState([None])

    def decode(self, state: VAEState, latents: Tensor) -> Tensor:
        frames = latents.shape[1] * 4 - (0 if state.started else 3)
        state.cache, state.started = [latents.clone()], True
        return torch.zeros(frames, 2, 2, 3, dtype=torch.uint8)


@pytest.mark.slow
def test_two_thousand_chunks_leave_memory_and_positions_where_they_were(bundle: Bundle) -> None:
    decoder: Any = Blind()
    rollout = Rollout(replace(bundle, width=32, height=32, tiny_decoder=decoder), prompt="a red star")
    context, trained = rollout.state.cache, sum(bundle.partition)
    place, memory = context.keys.data_ptr(), 0
    while rollout.chunk < CHUNKS:
        unit = rollout.next()
        if unit.kind == "step":
            assert context.frames + rollout.state.latent_frames <= trained
            segment, rope = context.current(rollout.state.latent_frames)
            assert segment.at + segment.length <= context.keys.shape[2]
            assert len(rope) == segment.length
        rollout.run(unit)
        if rollout.chunk == CHUNKS // 10 and not memory:
            memory = resident_bytes(bundle.device)
    assert resident_bytes(bundle.device) < 1.05 * memory
    assert context.keys.data_ptr() == place
    assert len(rollout.state.history.records) == history.KEPT
    assert sum(record.decoder is not None for record in rollout.state.history.records) == history.STATES_KEPT
    assert rollout.frame == 1 + 12 * (CHUNKS - 1)


@pytest.mark.parametrize("mode", get_args(AppendMode))
def test_the_window_holds_for_chunks_of_any_length(bundle: Bundle, mode: str) -> None:
    geometry, random = window(bundle), Random(0)
    context = KVCache(bundle.network, geometry, mode=mode)
    for _ in range(300):
        context.push(torch.zeros(1, random.randint(1, 3), *bundle.latent_shape))
        for chunk in context.chunks:
            object.__setattr__(chunk, "encoded", True)  # as `encode` would leave it, without the network's work
        places = context._places()
        assert context.frames <= geometry.context_frames
        assert [place.frame for place in places] == [
            sum(c.frames for c in context.chunks[:i]) for i in range(len(places))
        ]
        assert all(a.segment.at + a.segment.length == b.segment.at for a, b in pairwise(places))
        assert [place.far for place in places[-2:]] == [False] * len(places[-2:])
        segment, _ = context.current(geometry.chunk_frames)
        assert segment.at + segment.length <= context.keys.shape[2]
