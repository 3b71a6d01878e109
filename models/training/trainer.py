"""The loop of a stage on latents: teacher or flow map by the forward objective. Distillation goes on from here.

Every random choice of a step follows from (seed, step, process) alone, so a stage that was stopped goes on exactly as
if it had not been; what all processes must agree on (how long a window, which pass) follows from (seed, step).
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

from models.training.data.windows import Clips, Window, draw_window
from models.training.losses.flow_map_loss import FlowMapObjective, forward_losses
from models.training.network.passes import Network
from models.training.run import Average, Run, learning_rate, rank_and_world, share_gradients

Sheet = Callable[[Path, Mapping[str, torch.Tensor]], None]  # (file, averaged weights) to a picture of samples


@dataclass(frozen=True, kw_only=True)
class Stage(FlowMapObjective):
    """Every choice of a stage. windows: chances of a step seeing 1, 2, ... chunks; batch: rows of such a step.

    bidirectional: share of steps whose window is one whole in which every frame sees every frame.
    text: train the text encoder too. decay: of the weights' moving average, kept from `average_from` on.
    """

    steps: int
    rate: float = 1.5e-3
    warmup: int = 50
    cosine: bool = True  # down to 3 % of the rate; else constant
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    decay: float = 0.998
    windows: tuple[float, ...] = (1.0,)
    batch: tuple[int, ...] = (64,)
    caption_dropout: float = 0.1
    bidirectional: float = 0.0
    text: bool = True
    bf16: bool = False  # passes in bfloat16, weights in single precision
    seed: int = 0
    save_every: int = 100
    sheet_every: int = 0  # 0: a sample sheet at the end only


class Trainer:
    """One stage: `step` after `step`, with a log, a moving average, and everything a restart needs."""

    def __init__(
        self, network: Network, clips: Clips, images: Clips, stage: Stage, folder: Path, *,
        teacher: Network | None = None, sheet: Sheet | None = None,
    ) -> None:  # fmt: skip
        self.network, self.clips, self.images, self.stage = network, clips, images, stage
        self.teacher, self.sheet = teacher, sheet
        self.rank, self.world = rank_and_world()
        network.text_encoder.requires_grad_(stage.text and not network.adapters)
        self.parameters = trained([network.transformer, network.text_encoder])
        self.optimizer = self.optimizer_of(self.parameters, stage.rate)
        self.run = Run(folder, network.parts, self.optimizer, Average(network.parts, decay=stage.decay))

    def optimizer_of(self, parameters: Sequence[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        stage = self.stage
        return torch.optim.AdamW(parameters, lr=rate, betas=stage.betas, weight_decay=stage.weight_decay)

    def train(self) -> None:
        """Run the stage to its end, saving on the way; a restart goes on from the last save."""
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
                self.show()
        bar.close()
        if self.rank == 0:
            self.save()
            run.plot(self.curves())
            self.show()

    def save(self) -> None:
        """Write everything a restart needs."""
        self.run.save()

    def show(self) -> None:
        """Draw what the averaged weights make by now."""
        if self.sheet is not None:
            self.sheet(self.run.folder / f"samples-{self.run.step:06d}.png", self.run.average.shadow)

    def curves(self) -> Iterable[str]:
        """What of the log is plotted."""
        lengths = range(1, len(self.stage.windows) + 1)
        return [f"{kind}_{n}" for kind in ("plain", "map", "both") for n in lengths]

    def step(self, number: int) -> dict[str, float]:
        """One update; what is worth a line in the log."""
        shared, own = self.generators(number)
        chunks = self.chunks_of(shared)
        bidirectional = chunks > 1 and bool(shared.random() < self.stage.bidirectional)
        window = self.draw(chunks, self.stage.batch, own)
        plain, mapped = forward_losses(
            self.stage, self.network, window, teacher=self.teacher, bidirectional=bidirectional
        )
        self.update(plain + mapped, self.parameters, self.optimizer, self.stage.rate, number)
        if bidirectional:
            return {f"both_{chunks}": plain.item()}
        return {f"plain_{chunks}": plain.item(), f"map_{chunks}": mapped.item()}

    def generators(self, number: int) -> tuple[np.random.Generator, np.random.Generator]:
        """Random numbers of a step: the same on every process, and this process's own."""
        seed = self.stage.seed
        return np.random.default_rng([seed, number, 0]), np.random.default_rng([seed, number, 1 + self.rank])

    def chunks_of(self, rng: np.random.Generator) -> int:
        """How many chunks the windows of a step have."""
        return 1 + int(rng.choice(len(self.stage.windows), p=self.stage.windows))

    def draw(self, chunks: int, batch: Sequence[int], rng: np.random.Generator) -> Window:
        """Windows of `chunks` chunks."""
        return draw_window(
            self.images if chunks == 1 else self.clips, chunks, batch[min(chunks, len(batch)) - 1], self.stage.levels,
            rng, near=self.network.near, caption_dropout=self.stage.caption_dropout,
            context_noise=self.stage.context_noise, device=self.network.device,
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


def trained(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters that learn, each once, in a fixed order."""
    found: dict[int, nn.Parameter] = {}
    for module in modules:
        for parameter in module.parameters():
            if parameter.requires_grad:
                found.setdefault(id(parameter), parameter)
    return list(found.values())


def choices_of(kind: Any, settings: Mapping[str, Any]) -> Any:
    """A table of the config as `kind`; lists become tuples. Raises TypeError for a key it does not have."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
