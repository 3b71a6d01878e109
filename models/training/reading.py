"""How the reader is taught, and what the student hears from it.

First it learns to read true clips. Then, beside the distillation, it learns that what the student makes now is a class
of its own (the K + 1 classes of arXiv 1606.03498, section 5): what is read as a star for the wrong reasons soon is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from models.training.forward import mean_over_processes
from models.training.reader import MADE, Reader, labels_of, reading_losses
from models.training.recipe import noised
from models.training.run import Average, Run, learning_rate, rank_and_world, share_gradients
from models.training.windows import Window

FIRST_RATE = 2e-3
Draw = Callable[[int, np.random.Generator], Window]  # windows of so many chunks


@dataclass(frozen=True)
class Shown:
    """What is read: latents (B, F, C, h, w), what was asked for, and which rows (B,) show that from end to end."""

    latents: Tensor
    captions: Sequence[str]
    counts: Tensor

    @classmethod
    def of(cls, window: Window) -> Shown:
        """A true window; one in which the scene turns shows two."""
        return cls(window.clean, window.captions, window.weight.amin(1))

    @property
    def moving(self) -> bool:
        """False for single frames, of which no motion can be read."""
        return self.latents.shape[1] > 1


class Reading:
    """A reader with its optimizer and folder. highest: the most noise it reads under; rate: of learning in the end."""

    def __init__(self, reader: Reader, highest: float, rate: float, folder: Path) -> None:
        self.reader, self.highest, self.rate = reader.requires_grad_(False), highest, rate
        self.parameters = list(reader.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
        self.run = self._run(folder)
        self.first = self._run(folder / "first")

    def _run(self, folder: Path) -> Run:
        return Run(folder, {"reader": self.reader}, self.optimizer, Average({}))

    def learn(self, steps: int, draw: Draw, windows: Sequence[float], seed: int) -> None:
        """Read `steps` batches of true windows, unless that was done. windows: chances of 1, 2, ... chunks."""
        run, (rank, _) = self.first, rank_and_world()
        run.resume()
        bar = tqdm(total=steps, initial=run.step, desc="reader", mininterval=5, disable=rank > 0)
        while run.step < steps:
            chunks = 1 + int(np.random.default_rng([seed, run.step, 0]).choice(len(windows), p=windows))
            own = np.random.default_rng([seed, run.step, 1 + rank])
            values = self.update(Shown.of(draw(chunks, own)), None, own, learning_rate(run.step, steps, FIRST_RATE))
            run.step += 1
            bar.update()
            if rank == 0 and run.step % 10 == 0:
                run.log(**values)
                bar.set_postfix({key: f"{value:.2f}" for key, value in values.items()})
        bar.close()
        if rank == 0:
            run.save()

    def update(self, true: Shown, made: Shown | None, rng: np.random.Generator, rate: float) -> dict[str, float]:
        """One step on true windows and on what the student made; shares of both that are told for what they are."""
        self.reader.requires_grad_(True)
        logits, labels = self._look(true, rng)
        losses = reading_losses(logits, labels, moving=true.moving)
        loss = sum(((value * true.counts).sum() for value in losses.values()), true.counts.new_zeros(()))
        loss = loss / mean_over_processes(true.counts.sum()).clamp(min=1e-6)
        values = right(logits, {name: labels[name].where(true.counts > 0, -1) for name in losses}, "true")
        if made is not None:
            false, _ = self._look(made, rng)
            rows = len(made.latents)
            classes = {name: labels[name].new_full((rows,), MADE[name]) for name in MADE if name in losses}
            loss = loss + sum(F.cross_entropy(false[name].float(), label) for name, label in classes.items())
            values |= right(false, classes, "made")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.reader.requires_grad_(False)
        share_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return values

    def heard(self, made: Shown, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The student's loss, mean over rows that count and words said; the share of those words that are read."""
        logits, labels = self._look(made, rng)
        losses = reading_losses(logits, labels, moving=made.moving)
        said = torch.stack([labels[name] >= 0 for name in losses]).sum(0).clamp(min=1)
        loss = torch.stack(list(losses.values())).sum(0) / said
        loss = (loss * made.counts).sum() / mean_over_processes(made.counts.sum()).clamp(min=1e-6)
        return loss, right(logits, {name: labels[name].where(made.counts > 0, -1) for name in losses}, "read")

    def _look(self, shown: Shown, rng: np.random.Generator) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Logits of what is shown, under noise of a level drawn for every row, and what the captions name."""
        clean = shown.latents
        t = torch.from_numpy(rng.uniform(0, self.highest, len(clean))).float().to(clean.device)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(clean)
        z = noised(clean, noise, t[:, None].expand(-1, clean.shape[1]))
        return self.reader(z, t), labels_of(shown.captions, clean.device)


def right(logits: dict[str, Tensor], labels: dict[str, Tensor], kind: str) -> dict[str, float]:
    """Share of the labels that are read, as "shape_read" and so on; without attributes that have no labels."""
    return {
        f"{name}_{kind}": float((logits[name].argmax(1) == label)[label >= 0].float().mean())
        for name, label in labels.items()
        if bool((label >= 0).any())
    }
