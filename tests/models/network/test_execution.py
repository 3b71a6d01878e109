"""Every execution of a pass against the eager one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.checkpoint.random_weights import random_bundle
from models.errors import ModelError
from models.network.execution import Compiled, CudaGraphs, Eager
from models.network.transformer import StreamingTransformer
from models.rollout import flowmap
from models.rollout.rollout import Rollout
from tests.support.reference import relative_error, rollout_latents


class Again:
    """Stands in for a CUDA graph on a CPU: does the same work on the same memory, whatever the caller passes now."""

    def __init__(self, work: Callable[..., Tensor | None], inputs: tuple[Tensor, ...], output: Tensor | None) -> None:
        self.work, self.inputs, self.output = work, inputs, output

    def replay(self) -> None:
        made = self.work(*self.inputs)
        if self.output is not None and made is not None:
            self.output.copy_(made)


class GraphsOfAnyDevice(CudaGraphs):
    recorded = 0

    def record(self, work: Callable[..., Tensor | None], inputs: tuple[Tensor, ...]) -> Any:
        self.recorded += 1
        output = work(*inputs)
        return Again(work, inputs, output), output


def with_way(bundle: Bundle, execution: Eager) -> Bundle:
    made = replace(bundle)
    made.__dict__["network"] = StreamingTransformer(bundle.transformer, execution)  # instead of what `execution` names
    return made


def take(bundle: Bundle, chunks: int, **options: Any) -> Tensor:
    """Latents of a rollout whose prompt and step count change."""
    rollout = Rollout(bundle, prompt="a red star", seed=5, **options)
    made = rollout_latents(rollout, flowmap.schedule(1, 5.0), chunks // 2)
    rollout.prompt("a big blue circle bouncing on a navy background")
    return torch.cat([*made, *rollout_latents(rollout, flowmap.schedule(3, 5.0), chunks - chunks // 2)], 1)


@pytest.mark.slow
def test_compiled_layers_compute_what_plain_ones_do(bundle: Bundle) -> None:
    """aot_eager takes the same graphs out of the code as inductor, without half a minute of g++."""
    compiled = with_way(bundle, Compiled("aot_eager"))
    assert relative_error(take(compiled, 4, guidance=2.0), take(bundle, 4, guidance=2.0)) < 1e-5


def test_a_recorded_pass_depends_on_nothing_but_its_tensors(bundle: Bundle) -> None:
    """Replayed on its own memory, a pass makes what it would have made afresh, whatever the time, prompt and place."""
    graphs = GraphsOfAnyDevice()
    assert relative_error(take(with_way(bundle, graphs), 10), take(bundle, 10)) < 1e-5


def test_one_recording_serves_every_step_count_and_prompt(bundle: Bundle) -> None:
    graphs = GraphsOfAnyDevice()
    rollout = Rollout(with_way(bundle, graphs), prompt="a red star")
    rollout_latents(rollout, [1.0, 0.0], 9)
    recorded = graphs.recorded
    for steps in (1, 2, 5):
        rollout_latents(rollout, flowmap.schedule(steps, 5.0), 1)
    rollout.prompt("a blue star")
    rollout_latents(rollout, flowmap.schedule(2, 5.0), 2)
    assert graphs.recorded == recorded + 1  # the whole window at once, under the new prompt


def test_each_rollout_has_recordings_of_its_own(bundle: Bundle) -> None:
    graphs = GraphsOfAnyDevice()
    shared = with_way(bundle, graphs)
    first, second = (Rollout(shared, prompt="a red star", seed=seed) for seed in (1, 2))
    made = [[rollout_latents(rollout, [1.0, 0.0], 1)[0] for rollout in (first, second)] for _ in range(4)]
    for row, seed in enumerate((1, 2)):
        alone = rollout_latents(Rollout(bundle, prompt="a red star", seed=seed), [1.0, 0.0], 4)
        assert relative_error(torch.cat([pair[row] for pair in made], 1), torch.cat(alone, 1)) < 1e-5


def test_ways_that_cannot_be_are_refused() -> None:
    with pytest.raises(ModelError, match="quick.*eager, compile, graphs"):
        random_bundle("tiny", execution="quick")
    with pytest.raises(ModelError, match="needs a CUDA device, this is cpu"):
        random_bundle("tiny", execution="compile+graphs")
