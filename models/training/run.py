"""What every stage shares: log, restartable state, learning-rate schedule, moving average, plot, gradient averaging."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from models.checkpoint.device import pick_device


def learning_rate(step: int, total: int, peak: float, warmup: int = 50, last: float = 0.03) -> float:
    """Linear warm-up, then a cosine down to `last` of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) outside `torchrun`."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def device_of(config: Mapping[str, Any]) -> torch.device:
    """Where a config wants to be trained: its `device`, by default "auto". Raises ModelError."""
    return pick_device(str(config.get("device", "auto")))


def share_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over all processes, in one message."""
    if not dist.is_initialized():
        return
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for p, grad in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = grad.view_as(p)


class Average:
    """Exponential moving average of modules' parameters.

    start: steps at the beginning in which the average is a copy of the weights (AnyFlow's published recipe). With 0 the
    decay of step n is at most (1 + n) / (10 + n), so that the first weights fade quickly.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float = 0.999, start: int = 0) -> None:
        self.decay, self.start = decay, start
        self.shadow = {
            f"{name}.{key}": value.detach().clone()
            for name, module in modules.items()
            for key, value in module.state_dict().items()
        }

    def decay_at(self, step: int) -> float:
        """The decay of step number `step`, counted from 0."""
        if step < self.start:
            return 0.0
        return self.decay if self.start else min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, modules: Mapping[str, nn.Module], step: int) -> None:
        decay = self.decay_at(step)
        for name, module in modules.items():
            for key, value in module.state_dict().items():
                self.shadow[f"{name}.{key}"].lerp_(value.detach().to(self.shadow[f"{name}.{key}"].dtype), 1 - decay)

    def copy_to(self, modules: Mapping[str, nn.Module]) -> None:
        for name, module in modules.items():
            module.load_state_dict(
                {k.removeprefix(f"{name}."): v for k, v in self.shadow.items() if k.startswith(f"{name}.")}
            )


class Run:
    """A training run's folder: `log.jsonl`, `state.safetensors` (weights, moments, average), `loss.png`."""

    def __init__(
        self, folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, average: Average
    ) -> None:
        self.folder = folder
        self.modules = modules
        self.optimizer = optimizer
        self.average = average
        self.step = 0
        self.started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def log(self, **values: float) -> None:
        row = {"step": self.step, "seconds": round(time.monotonic() - self.started, 1)}
        row |= {k: float(f"{v:.5g}") for k, v in values.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def save(self) -> None:
        """Write everything a restart needs, atomically."""
        tensors: dict[str, torch.Tensor] = {"step": torch.tensor(self.step)}
        for name, module in self.modules.items():
            tensors |= {f"weights/{name}.{k}": _packed(v) for k, v in module.state_dict().items()}
        tensors |= {f"average/{k}": _packed(v) for k, v in self.average.shadow.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"moments/{index}/{k}": _packed(torch.as_tensor(v)) for k, v in state.items()}
        draft = self.folder / "state.tmp"
        save_file(tensors, draft)
        draft.rename(self.folder / "state.safetensors")

    def resume(self) -> bool:
        """Go on from `state.safetensors` if there is one."""
        path = self.folder / "state.safetensors"
        if not path.exists():
            return False
        tensors = load_file(path)
        for name, module in self.modules.items():
            head = f"weights/{name}."
            module.load_state_dict({k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)})
        for key, value in self.average.shadow.items():
            value.copy_(tensors[f"average/{key}"])
        moments: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith("moments/"):
                _, index, name = key.split("/")
                moments.setdefault(int(index), {})[name] = value
        state = self.optimizer.state_dict()
        state["state"] = moments
        self.optimizer.load_state_dict(state)
        self.step = int(tensors["step"])
        return True

    def plot(self, keys: Iterable[str]) -> None:
        """Draw the logged values over the steps; a run too short to have logged any has no plot."""
        log = self.folder / "log.jsonl"
        if not log.exists():
            return
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        rows = [json.loads(line) for line in log.read_text().splitlines()]
        figure, axes = plt.subplots(figsize=(7, 4))
        for key in keys:
            points = [(row["step"], row[key]) for row in rows if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), label=key, linewidth=1)
        axes.set_xlabel("step")
        axes.set_yscale("log")
        axes.legend()
        figure.tight_layout()
        figure.savefig(self.folder / "loss.png", dpi=90)
        plt.close(figure)


def _packed(tensor: torch.Tensor) -> torch.Tensor:
    """A copy as safetensors wants it: not shared with another (an embedding used twice is), and contiguous."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)
