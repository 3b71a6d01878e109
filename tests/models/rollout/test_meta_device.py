"""Both published sizes on the meta device in bf16: every mode runs, and does nothing that would stall a GPU.

The meter fails on a number read from the device and on tensors of several devices; copies are counted here.
"""

from __future__ import annotations

import pytest
import torch

from bench.engine.meter import Meter, MeterError
from bench.engine.predict import fill_window, meta_rollout
from models.rollout.rollout import Rollout


def copies_of_chunk(rollout: Rollout, steps: int = 2) -> tuple[int, int]:
    """Copies to the host and to the device while a chunk is made."""
    chunk, to_host, to_device = rollout.chunk, 0, 0
    while rollout.chunk == chunk:
        unit = rollout.next()
        r = (0.5 if rollout.sigma == 1.0 and steps > 1 else 0.0) if unit.kind == "step" else None
        with Meter() as meter:
            rollout.run(unit, r=r)
        to_host, to_device = to_host + meter.to_host, to_device + meter.to_device
    return to_host, to_device


@pytest.mark.parametrize(
    ("size", "mode", "guidance", "tiny"),
    [
        ("1.3b", "exact", 1.0, False),
        ("1.3b", "rolling", 4.0, True),
        ("1.3b", "cheap", 1.0, True),
        ("14b", "exact", 4.0, True),
        pytest.param("14b", "rolling", 1.0, False, marks=pytest.mark.slow),
        pytest.param("14b", "cheap", 4.0, False, marks=pytest.mark.slow),
    ],
)
def test_a_published_size_rolls_out_without_stalling_the_device(
    size: str, mode: str, guidance: float, tiny: bool
) -> None:
    rollout = meta_rollout(size, tiny_decoder=tiny, append=mode, guidance=guidance)
    prompts = 1 + (guidance > 1.0)
    assert copies_of_chunk(rollout, 1) == (1, 1 + prompts)  # the frames; the noise and the tokens of each prompt
    fill_window(rollout)
    assert copies_of_chunk(rollout) == (1, 1)  # the window slides
    rollout.prompt("a small yellow star spinning on a black background")
    assert copies_of_chunk(rollout, 1) == (1, 2)  # the whole context is encoded under it
    assert rollout.chunk == 8


def test_the_meter_fails_on_what_stalls_a_device() -> None:
    there, here = torch.ones(3, device="meta"), torch.ones(3)
    with Meter(), pytest.raises(MeterError, match="reads a number"):
        there.sum().item()
    with Meter(), pytest.raises(MeterError, match="several devices"):
        torch.where(there > 0, there, here)
    with Meter() as meter:
        there.to("cpu")
        here.to("meta")
        there.add(1)
    assert (meter.to_host, meter.to_device, len(meter.kernels)) == (1, 1, 1)
