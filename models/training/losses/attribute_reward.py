"""How the reader is taught, and what the student hears from it.

First it learns to read true clips. Then, beside the distillation, it learns that what the student makes now is a class
of its own (the K + 1 classes of arXiv 1606.03498, section 5): what is read as a star for the wrong reasons soon is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.training.data.toy_clips import FIELDS
from models.training.data.windows import Window
from models.training.losses.attribute_classifier import MADE, NOT_SAID, Reader, labels_of, reading_losses
from models.training.losses.flow_matching import noised
from models.training.run import Average, Run, learning_rate, rank_and_world, share_gradients

FIRST_RATE = 2e-3
Draw = Callable[[int, np.random.Generator], Window]  # windows of so many chunks


@dataclass(frozen=True)
class Shown:
    """What is read: latents (B, F, C, h, w) and what was asked for.

    frames: (B, F) 1 where that is to be seen; whole: (B,) 1 where it is so from end to end, as a motion is read.
    """

    latents: Tensor
    captions: Sequence[str]
    frames: Tensor
    whole: Tensor

    @classmethod
    def of(cls, window: Window) -> Shown:
        """A true window; one in which the scene turns shows two."""
        return cls(window.clean, window.captions, window.weight, window.weight.amin(1))

    def words(self) -> dict[str, Tensor]:
        """Targets of `reading_losses`: what the captions name."""
        labels = labels_of(self.captions, self.latents.device)
        return self._where({name: labels[name] for name in self._attributes(FIELDS)}, self.whole)

    def unmasked(self) -> dict[str, Tensor]:
        """Targets that tell what is shown for what it is: made, whatever was asked for."""
        rows = self.frames.new_full((len(self.latents),), 1, dtype=torch.long)
        return self._where({name: MADE[name] * rows for name in self._attributes(MADE)}, torch.ones_like(self.whole))

    def _attributes(self, names: Iterable[str]) -> list[str]:
        """Of single frames no motion can be read."""
        return [name for name in names if name != "motion" or self.latents.shape[1] > 1]

    def _where(self, labels: dict[str, Tensor], whole: Tensor) -> dict[str, Tensor]:
        """Labels (B,) at the frames that count, and of motion at the rows `whole` that do."""
        seen, motion = self.frames > 0, labels.pop("motion", None)
        targets = {name: label[:, None].where(seen, NOT_SAID) for name, label in labels.items()}
        return targets if motion is None else targets | {"motion": motion.where(whole > 0, NOT_SAID)}


class AttributeReward:
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
        logits, words = self._look(true, rng), true.words()
        loss = torch.stack(list(reading_losses(logits, words).values())).mean(1).sum()
        values = right(logits, words, "true")
        if made is not None:
            logits, words = self._look(made, rng), made.unmasked()
            loss = loss + torch.stack(list(reading_losses(logits, words).values())).mean(1).sum()
            values |= right(logits, words, "made")
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
        """The student's loss, mean over rows and the words said; the share of those words that are read."""
        logits, words = self._look(made, rng), made.words()
        losses = torch.stack(list(reading_losses(logits, words).values()))
        said = torch.stack([(target >= 0).reshape(len(target), -1).any(1) for target in words.values()])
        return (losses.sum(0) / said.sum(0).clamp(min=1)).mean(), right(logits, words, "read")

    def _look(self, shown: Shown, rng: np.random.Generator) -> dict[str, Tensor]:
        """Logits of what is shown, under noise of a level drawn for every row."""
        clean = shown.latents
        t = torch.from_numpy(rng.uniform(0, self.highest, len(clean))).float().to(clean.device)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(clean)
        z = noised(clean, noise, t[:, None].expand(-1, clean.shape[1]))
        logits: dict[str, Tensor] = self.reader(z, t)
        return logits


def right(logits: dict[str, Tensor], targets: dict[str, Tensor], kind: str) -> dict[str, float]:
    """Share of the targets that are read, as "shape_read" and so on; without attributes that have none."""
    return {
        f"{name}_{kind}": float((logits[name].argmax(-1) == target)[target >= 0].float().mean())
        for name, target in targets.items()
        if bool((target >= 0).any())
    }
