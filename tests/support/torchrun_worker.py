"""Run by torchrun in `test_processes`: one of several processes that train together. Arguments: a folder."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from models.training.data.windows import Window, draw_window
from models.training.losses.flow_map_loss import forward_losses
from models.training.run import rank_and_world, share_gradients
from models.training.trainer import Stage, trainable_parameters
from tests.support.toy_training import clips, distiller, network

CHOICE = Stage(steps=1, pairs=(0.5, 0.25, 0.25), guidance=3.0, weight="beta08")


def gradients(window: Window) -> dict[str, torch.Tensor]:
    """Of the forward objective on this process's rows, averaged over the processes."""
    net = network()
    plain, mapped = forward_losses(CHOICE, net, window)
    (plain + mapped).backward()
    share_gradients(trainable_parameters([net.transformer, net.text_encoder]))
    named = {**dict(net.transformer.named_parameters()), **dict(net.text_encoder.named_parameters())}
    return {name: p.grad.clone() for name, p in named.items() if p.grad is not None}


def whole_window() -> Window:
    """The rows of all processes."""
    return draw_window(clips(), 3, 8, CHOICE.noise_levels, np.random.default_rng(0), near=3, caption_dropout=0.2)


def part_of(window: Window, rank: int, world: int) -> Window:
    """This process's rows."""
    rows = slice(rank * len(window.clean) // world, (rank + 1) * len(window.clean) // world)
    values = {f.name: getattr(window, f.name) for f in fields(window)}
    return Window(**{k: v if k == "partition" else v[rows] for k, v in values.items()})


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    window = whole_window()  # drawn before there are processes, so that all of them draw all of it
    dist.init_process_group("gloo")
    rank, world = rank_and_world()
    found = gradients(part_of(window, rank, world))
    if rank == 0:
        save_file(found, folder / "gradients.safetensors")
    trainer = distiller(folder / "distill")
    trainer.train()
    weights = {k: v.clone() for k, v in trainer.network.transformer.state_dict().items()}
    save_file(weights, folder / f"weights-{rank}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
