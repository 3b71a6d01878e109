"""The attribute classifier's training, and the reward loss that the student gets from it.

First the classifier is trained on true clips. Then, beside the distillation, also with the student's samples as a class
of their own (the K + 1 classes of arXiv 1606.03498, section 5), so that a sample which is classified as a star for the
wrong reasons ceases to be.
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
from models.training.losses.attribute_classifier import (
    GENERATED,
    UNNAMED,
    AttributeClassifier,
    attribute_losses,
    labels_of,
)
from models.training.losses.flow_matching import noised
from models.training.run import Average, Run, learning_rate, rank_and_world, share_gradients

FIRST_RATE = 2e-3  # peak learning rate on true clips, before the distillation
Draw = Callable[[int, np.random.Generator], Window]  # (chunks, rng) to true windows


@dataclass(frozen=True)
class LabelledLatents:
    """Latents (B, F, C, h, w) with the captions that are to be recognised in them.

    frames: (B, F) 1 where the caption holds. one_scene: (B,) 1 where it holds in all frames, as a motion needs.
    """

    latents: Tensor
    captions: Sequence[str]
    frames: Tensor
    one_scene: Tensor

    @classmethod
    def of(cls, window: Window) -> LabelledLatents:
        """A true window; its caption does not hold in frames of another scene."""
        return cls(window.clean, window.captions, window.weight, window.weight.amin(1))

    def targets(self) -> dict[str, Tensor]:
        """Targets of `attribute_losses`: the attributes that the captions name."""
        labels = labels_of(self.captions, self.latents.device)
        return self._masked({name: labels[name] for name in self._attributes(FIELDS)}, self.one_scene)

    def generated_targets(self) -> dict[str, Tensor]:
        """Targets of `attribute_losses` for samples: the class "generated", whatever the caption."""
        rows = self.frames.new_full((len(self.latents),), 1, dtype=torch.long)
        labels = {name: GENERATED[name] * rows for name in self._attributes(GENERATED)}
        return self._masked(labels, torch.ones_like(self.one_scene))

    def _attributes(self, names: Iterable[str]) -> list[str]:
        """Without motion for single frames."""
        return [name for name in names if name != "motion" or self.latents.shape[1] > 1]

    def _masked(self, labels: dict[str, Tensor], one_scene: Tensor) -> dict[str, Tensor]:
        """Labels (B,) at the frames (B, F) that count; of motion at the rows (B,) with `one_scene`."""
        counted, motion = self.frames > 0, labels.pop("motion", None)
        targets = {name: label[:, None].where(counted, UNNAMED) for name, label in labels.items()}
        return targets if motion is None else targets | {"motion": motion.where(one_scene > 0, UNNAMED)}


class AttributeReward:
    """A classifier with its optimizer and folder. max_level: highest noise level it sees; rate: its final rate."""

    def __init__(self, classifier: AttributeClassifier, max_level: float, rate: float, folder: Path) -> None:
        self.classifier, self.max_level, self.rate = classifier.requires_grad_(False), max_level, rate
        self.parameters = list(classifier.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
        self.run = self._run(folder)
        self.pretraining = self._run(folder / "first")

    def _run(self, folder: Path) -> Run:
        return Run(folder, {"classifier": self.classifier}, self.optimizer, Average({}))

    def pretrain(self, steps: int, draw: Draw, windows: Sequence[float], seed: int) -> None:
        """Train on `steps` batches of true windows, unless that was done. windows: chances of 1, 2, ... chunks."""
        run, (rank, _) = self.pretraining, rank_and_world()
        run.resume()
        bar = tqdm(total=steps, initial=run.step, desc="attribute classifier", mininterval=5, disable=rank > 0)
        while run.step < steps:
            chunks = 1 + int(np.random.default_rng([seed, run.step, 0]).choice(len(windows), p=windows))
            own = np.random.default_rng([seed, run.step, 1 + rank])
            rate = learning_rate(run.step, steps, FIRST_RATE)
            values = self.update(LabelledLatents.of(draw(chunks, own)), None, own, rate)
            run.step += 1
            bar.update()
            if rank == 0 and run.step % 10 == 0:
                run.log(**values)
                bar.set_postfix({key: f"{value:.2f}" for key, value in values.items()})
        bar.close()
        if rank == 0:
            run.save()

    def update(
        self, real: LabelledLatents, made: LabelledLatents | None, rng: np.random.Generator, rate: float
    ) -> dict[str, float]:
        """One step on true windows and on samples; the accuracies on both."""
        self.classifier.requires_grad_(True)
        logits, targets = self._classify(real, rng), real.targets()
        loss = torch.stack(list(attribute_losses(logits, targets).values())).mean(1).sum()
        values = accuracies(logits, targets, "true")
        if made is not None:
            logits, targets = self._classify(made, rng), made.generated_targets()
            loss = loss + torch.stack(list(attribute_losses(logits, targets).values())).mean(1).sum()
            values |= accuracies(logits, targets, "generated")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.classifier.requires_grad_(False)
        share_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return values

    def loss(self, made: LabelledLatents, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The student's loss, cross-entropy as a mean over rows and named attributes; shares that are recognised."""
        logits, targets = self._classify(made, rng), made.targets()
        losses = torch.stack(list(attribute_losses(logits, targets).values()))
        named = torch.stack([(target >= 0).reshape(len(target), -1).any(1) for target in targets.values()])
        return (losses.sum(0) / named.sum(0).clamp(min=1)).mean(), accuracies(logits, targets, "recognised")

    def _classify(self, batch: LabelledLatents, rng: np.random.Generator) -> dict[str, Tensor]:
        """Logits of the latents under noise, of a level drawn for every row."""
        clean = batch.latents
        t = torch.from_numpy(rng.uniform(0, self.max_level, len(clean))).float().to(clean.device)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(clean)
        z = noised(clean, noise, t[:, None].expand(-1, clean.shape[1]))
        logits: dict[str, Tensor] = self.classifier(z, t)
        return logits


def accuracies(logits: dict[str, Tensor], targets: dict[str, Tensor], of: str) -> dict[str, float]:
    """Share of the targets that are predicted, as "shape_true" and so on, for attributes that have targets."""
    return {
        f"{name}_{of}": float((logits[name].argmax(-1) == target)[target >= 0].float().mean())
        for name, target in targets.items()
        if bool((target >= 0).any())
    }
