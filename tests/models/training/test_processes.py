"""Two processes that train together (torchrun, gloo) do what one does with all of the rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.torchrun_worker import gradients, whole_window

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    """Their gradients are those of one process at the same global batch, and they keep the same weights."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "tests.support.torchrun_worker", str(tmp_path),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'client' / 'python'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    together, alone = load_file(tmp_path / "gradients.safetensors"), gradients(whole_window())
    assert together.keys() >= alone.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(together[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
    first, second = (load_file(tmp_path / f"weights-{rank}.safetensors") for rank in (0, 1))
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
    assert (tmp_path / "distill" / "fake" / "state.safetensors").exists()
