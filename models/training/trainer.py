"""The training loop of a stage on latents by the forward objective (teacher or flow map); base of `distill.Distiller`.

Every random choice of a step follows from (seed, step, process), so a stage that was stopped and resumed gives the same
weights; what all processes must agree on (chunks of a window, which pass) follows from (seed, step).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from models.training.data.windows import Clips, Levels, Window, draw_window
from models.training.losses.flow_map_loss import FlowMapObjective, forward_losses
from models.training.network.passes import Network
from models.training.run import Average, Run, learning_rate, rank_and_world, share_gradients

Sheet = Callable[[Path, Mapping[str, torch.Tensor]], None]  # writes a sample sheet: (file, averaged weights)


@dataclass(frozen=True, kw_only=True)
class Stage(FlowMapObjective):
    """Options of a stage. windows: chances of 1, 2, ... chunks in a step's windows; batch: rows of such a step.

    bidirectional: share of steps with a bidirectional pass, in which every frame attends to every frame. It replaces
        the causal pass, or with `bidirectional_beside` is added to it, on windows of all chunks, as published.
    text: train the text encoder too. decay: of the weights' moving average, which copies them for `average_from` steps.
    """

    steps: int
    rate: float = 1.5e-3
    warmup: int = 50
    cosine: bool = True  # down to 3 % of the rate; else constant
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    decay: float = 0.998
    average_from: int = 0
    windows: tuple[float, ...] = (1.0,)
    batch: tuple[int, ...] = (64,)
    caption_dropout: float = 0.1
    bidirectional: float = 0.0
    bidirectional_beside: bool = False
    text: bool = True
    bf16: bool = False  # passes in bfloat16, weights in single precision
    seed: int = 0
    save_every: int = 100
    sheet_every: int = 0  # 0: a sample sheet at the end only


class Trainer:
    """Runs a stage step by step, with a log, a moving average and the state that a restart needs."""

    def __init__(
        self, network: Network, clips: Clips, images: Clips, stage: Stage, folder: Path, *,
        teacher: Network | None = None, sheet: Sheet | None = None,
    ) -> None:  # fmt: skip
        self.network, self.clips, self.images, self.stage = network, clips, images, stage
        self.teacher, self.sheet = teacher, sheet
        self.rank, self.world = rank_and_world()
        network.text_encoder.requires_grad_(stage.text and not network.adapters)
        self.parameters = trainable_parameters([network.transformer, network.text_encoder])
        self.optimizer = self.new_optimizer(self.parameters, stage.rate)
        average = Average(network.parts, decay=stage.decay, start=stage.average_from)
        self.run = Run(folder, network.parts, self.optimizer, average)

    def new_optimizer(self, parameters: Sequence[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        stage = self.stage
        return torch.optim.AdamW(parameters, lr=rate, betas=stage.betas, weight_decay=stage.weight_decay)

    def train(self) -> None:
        """Run the stage to its end, saving every `save_every` steps; resumes from the last save."""
        stage, run = self.stage, self.run
        run.resume()
        bar = tqdm(total=stage.steps, initial=run.step, desc=run.folder.name, mininterval=5, disable=self.rank > 0)
        while run.step < stage.steps:
            with torch.autocast(self.network.device.type, torch.bfloat16, enabled=stage.bf16):
                values = self.step(run.step)
            run.average.update(self.network.parts, run.step)
            run.step += 1
            bar.update()
            if self.rank:
                continue
            if run.step % 10 == 0 or run.step == stage.steps:
                run.log(**values)
                bar.set_postfix({key: f"{value:.3f}" for key, value in values.items()})
            if run.step % stage.save_every == 0:
                self.save()
            if stage.sheet_every and run.step % stage.sheet_every == 0 and run.step < stage.steps:
                self.draw_samples()
        bar.close()
        if self.rank == 0:
            self.save()
            run.plot(self.plotted())
            self.draw_samples()

    def save(self) -> None:
        """Write everything a restart needs."""
        self.run.save()

    def draw_samples(self) -> None:
        """Write a sample sheet of the averaged weights."""
        if self.sheet is not None:
            self.sheet(self.run.folder / f"samples-{self.run.step:06d}.png", self.run.average.shadow)

    def plotted(self) -> Iterable[str]:
        """Keys of the log that `loss.png` shows."""
        lengths = range(1, len(self.stage.windows) + 1)
        return [f"{kind}_{n}" for kind in ("diffusion", "flow_map", "bidirectional") for n in lengths]

    def step(self, number: int) -> dict[str, float]:
        """One update; values for the log."""
        stage = self.stage
        shared, own = self.generators(number)
        chunks = self.chunks_of(shared)
        bidirectional = chunks > 1 and bool(shared.random() < stage.bidirectional)
        loss = torch.zeros((), device=self.network.device)
        values = {}
        if not bidirectional or stage.bidirectional_beside:
            window = self.draw(chunks, stage.batch, own)
            diffusion, flow_map = forward_losses(stage, self.network, window, teacher=self.teacher)
            loss = diffusion + flow_map
            values = {f"diffusion_{chunks}": diffusion.item(), f"flow_map_{chunks}": flow_map.item()}
        if bidirectional:
            whole = len(stage.windows) if stage.bidirectional_beside else chunks
            window = self.draw(whole, stage.batch, own, stage.bidirectional_noise_levels)
            velocity, _ = forward_losses(stage, self.network, window, teacher=self.teacher, bidirectional=True)
            loss = loss + velocity
            values[f"bidirectional_{whole}"] = velocity.item()
        self.update(loss, self.parameters, self.optimizer, stage.rate, number)
        return values

    def generators(self, number: int) -> tuple[np.random.Generator, np.random.Generator]:
        """Random numbers of a step: the same on every process, and this process's own."""
        seed = self.stage.seed
        return np.random.default_rng([seed, number, 0]), np.random.default_rng([seed, number, 1 + self.rank])

    def chunks_of(self, rng: np.random.Generator) -> int:
        """How many chunks the windows of a step have."""
        return 1 + int(rng.choice(len(self.stage.windows), p=self.stage.windows))

    def draw(
        self, chunks: int, batch: Sequence[int], rng: np.random.Generator, levels: Levels | None = None
    ) -> Window:
        """Windows of `chunks` chunks, at the stage's noise levels or at `levels`."""
        stage = self.stage
        return draw_window(
            self.images if chunks == 1 else self.clips, chunks, batch[min(chunks, len(batch)) - 1],
            levels or stage.noise_levels, rng, near=self.network.near, caption_dropout=stage.caption_dropout,
            context_noise=stage.context_noise, device=self.network.device,
        )  # fmt: skip

    def update(
        self, loss: torch.Tensor, parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, rate: float,
        number: int,
    ) -> None:  # fmt: skip
        """A step of `optimizer` down `loss`, with gradients averaged over the processes and clipped."""
        stage = self.stage
        now = learning_rate(number, stage.steps, rate, warmup=stage.warmup, last=0.03 if stage.cosine else 1.0)
        for group in optimizer.param_groups:
            group["lr"] = now
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        share_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, stage.clip)
        optimizer.step()


def trainable_parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Parameters that require a gradient, each once, in a fixed order."""
    found: dict[int, nn.Parameter] = {}
    for module in modules:
        for parameter in module.parameters():
            if parameter.requires_grad:
                found.setdefault(id(parameter), parameter)
    return list(found.values())


def from_table(kind: Any, settings: Mapping[str, Any]) -> Any:
    """A table of the config as an options class; lists become tuples. Raises TypeError for an unknown key."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
