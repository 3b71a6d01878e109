"""On-policy distillation: the flow map is trained on what it makes itself, towards what the teacher would make of it.

Each step (AnyFlow, arXiv 2605.13724, section 3.3; DMD2, arXiv 2405.14867; Self-Forcing, arXiv 2506.08009):

1. the student makes windows by flow-map backward simulation (`simulation`), chunk after chunk over its own past, some
   of them from a given picture or under a prompt that changed;
2. the student moves along the difference of two scores of what it made (`dmd`): the frozen, guided teacher's and that
   of the fake network, which knows what the student makes; beside it runs the forward objective (`forward`), so that
   every pair (t, r) stays a flow map;
3. the fake network learns what the student now makes, by flow matching at r = t;
4. with `reading` above 0, a small network that reads the words of the world in latents, and tells what is true from
   what is made, says whether the caption was followed; the student moves to where it was (`reading`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.rollout.flowmap import cfg
from models.training.data.windows import Clips, Levels, draw_window
from models.training.losses.attribute_classifier import Reader
from models.training.losses.attribute_reward import AttributeReward, Shown
from models.training.losses.backward_simulation import STEP_COUNTS, draw_cut, roll_out
from models.training.losses.dmd import matching_gradient, matching_loss
from models.training.losses.flow_map_loss import forward_losses, mean_over_processes
from models.training.losses.flow_matching import noised
from models.training.network.passes import Network, Text
from models.training.run import Average, Run
from models.training.trainer import Sheet, Stage, Trainer, trained


@dataclass(frozen=True, kw_only=True)
class Distillation(Stage):
    """Every choice of this stage beyond those of the forward objective that runs along.

    counts: step counts a schedule is drawn from. real_guidance: scale of the teacher's guidance.
    score: "causal" judges every chunk over the student's own past; "bidirectional" judges the window as a whole, for a
        teacher that learned that too. given: share of steps that start from true chunks.
    lowest, highest: noise levels at which scores are compared. fake_steps: updates of the fake network a step;
    fake_first: steps at the start in which the student does not learn. through_all: see `simulation.roll_out`.
    matching, forward, reading: weights of the three losses; forward_batch: rows of the second, by chunks, none = as
        `batch`. reading_highest: the most noise the reader reads under; reader_steps: batches of true windows that it
        learns from before the first step; reader_batch: their rows, by chunks; reader_rate: of its learning after that.
    """

    counts: tuple[int, ...] = STEP_COUNTS
    real_guidance: float = 3.0
    score: str = "causal"
    given: float = 0.25
    lowest: float = 0.02
    highest: float = 0.98
    fake_rate: float = 2e-4
    fake_steps: int = 1
    fake_first: int = 20
    through_all: bool = False
    matching: float = 1.0
    forward: float = 1.0
    forward_batch: tuple[int, ...] = ()
    reading: float = 0.0
    reading_highest: float = 0.75
    reader_steps: int = 1000
    reader_batch: tuple[int, ...] = (64, 24)
    reader_rate: float = 5e-4
    rate: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.999)
    weight_decay: float = 0.0
    cosine: bool = False
    warmup: int = 10
    decay: float = 0.99
    text: bool = False


@dataclass(frozen=True)
class Sample:
    """Windows the student made: latents (B, F, C, h, w) and weight (B, F), 0 where they were given.

    alike: (B,) 1 where what was given shows what the caption says.
    """

    latents: Tensor
    weight: Tensor
    alike: Tensor
    captions: tuple[str, ...]
    partition: tuple[int, ...]

    @property
    def shown(self) -> Shown:
        """As the reader sees it."""
        return Shown(self.latents, self.captions, self.weight, self.alike)


class Distiller(Trainer):
    """Student, frozen teacher, and fake network, which starts as the teacher."""

    stage: Distillation

    def __init__(
        self, network: Network, teacher: Network, fake: Network, clips: Clips, images: Clips, stage: Distillation,
        folder: Path, *, sheet: Sheet | None = None,
    ) -> None:  # fmt: skip
        self.fake = fake
        teacher.transformer.requires_grad_(False)
        teacher.text_encoder.requires_grad_(False)
        super().__init__(network, clips, images, stage, folder, teacher=teacher, sheet=sheet)
        self.fake_parameters = trained([fake.transformer])
        self.fake_optimizer = self.optimizer_of(self.fake_parameters, stage.fake_rate)
        followed = {"transformer": fake.parts["transformer"]}
        self.others = [Run(folder / "fake", followed, self.fake_optimizer, Average({}))]
        self.reading = None
        if stage.reading:
            _, _, channels, height, width = clips.latents.shape
            reader = Reader(channels, (height, width)).to(network.device)
            self.reading = AttributeReward(reader, stage.reading_highest, stage.reader_rate, folder / "reader")
            self.others.append(self.reading.run)

    def train(self) -> None:
        for run in self.others:
            run.resume()
        stage = self.stage
        if self.reading is not None and self.reading.run.step == 0:
            self.reading.learn(
                stage.reader_steps, lambda chunks, rng: self.draw(chunks, stage.reader_batch, rng), stage.windows,
                stage.seed,
            )  # fmt: skip
        super().train()

    def save(self) -> None:
        """All networks; the student last, so that a stop in between costs nothing that matters."""
        for run in self.others:
            run.step = self.run.step
            run.save()
        super().save()

    def curves(self) -> Iterable[str]:
        return ["match", "fake", "heard", *super().curves()]

    def step(self, number: int) -> dict[str, float]:
        stage, teacher = self.stage, self.teacher
        assert teacher is not None
        shared, own = self.generators(number)
        chunks = self.chunks_of(shared)
        given = int(shared.integers(1, chunks)) if chunks > 1 and shared.random() < stage.given else 0
        learns = number >= stage.fake_first
        with torch.set_grad_enabled(learns):
            sample = self.make(chunks, given, own)
        with torch.no_grad():
            words = teacher.encode(sample.captions)
        values: dict[str, float] = {}
        if learns:
            match = self.match(sample, words, own)
            plain = mapped = match.new_zeros(())
            if stage.forward:
                window = self.draw(chunks, stage.forward_batch or stage.batch, own)
                plain, mapped = forward_losses(stage, self.network, window, teacher=teacher)
            loss = stage.matching * match + stage.forward * (plain + mapped)
            if self.reading is not None:
                heard, read = self.reading.heard(sample.shown, own)
                loss = loss + stage.reading * heard
                values = {"heard": heard.item(), **read}
            self.update(loss, self.parameters, self.optimizer, stage.rate, number - stage.fake_first)
            values |= {"match": match.item(), f"plain_{chunks}": plain.item(), f"map_{chunks}": mapped.item()}
        made = replace(sample, latents=sample.latents.detach())
        for _ in range(stage.fake_steps):
            loss = self.fake_loss(made, words, own)
            values["fake"] = loss.item()
            self.update(loss, self.fake_parameters, self.fake_optimizer, stage.fake_rate, number)
        if self.reading is not None:
            true = Shown.of(self.draw(chunks, stage.reader_batch, own))
            values |= self.reading.update(true, made.shown, own, stage.reader_rate)
        return values

    def make(self, chunks: int, given: int, rng: np.random.Generator) -> Sample:
        """Windows by the student; the first `given` chunks are true ones, which may show another scene."""
        window = draw_window(
            self.images if chunks == 1 else self.clips, chunks, self.rows(chunks), self.stage.levels, rng,
            near=self.network.near, device=self.network.device,
        )  # fmt: skip
        start = sum(window.partition[:given])
        prompt = (self.images if chunks == 1 else self.clips).prompt
        captions = window.captions if given else tuple(prompt(rng) for _ in window.captions)
        cut = draw_cut(len(captions), self.stage.counts, self.stage.shift, rng)
        latents = roll_out(
            self.network, window.noise, window.partition, self.network.encode(captions), cut.to(self.network.device),
            given=window.clean[:, :start] if given else None, through_all=self.stage.through_all,
            judged=0 if self.whole else max(0, chunks - self.network.near),
        )  # fmt: skip
        weight = torch.ones_like(window.weight)
        weight[:, :start] = 0
        alike = window.weight.amin(1) if given else torch.ones_like(weight[:, 0])
        return Sample(latents, weight, alike, captions, window.partition)

    def rows(self, chunks: int) -> int:
        """Rows of a step whose windows have `chunks` chunks."""
        return self.stage.batch[min(chunks, len(self.stage.batch)) - 1]

    def match(self, sample: Sample, words: Text, rng: np.random.Generator) -> Tensor:
        """The distribution matching loss of what the student made."""
        assert self.teacher is not None
        teacher, scale = self.teacher, self.stage.real_guidance
        judged, weight = self.judged(sample)
        t = self.levels(sample, judged, rng)
        z = noised(judged, gaussian(judged, rng), t).detach()
        none = teacher.encode([""]).expand(len(z))

        def real(z: Tensor, t: Tensor) -> Tensor:
            cond = self.score(teacher, sample, z, t, words)
            return cond if scale == 1 else cfg(self.score(teacher, sample, z, t, none), cond, scale)

        gradient = matching_gradient(judged, z, t, lambda z, t: self.score(self.fake, sample, z, t, words), real)
        return matching_loss(judged, gradient, weight, mean_over_processes(weight.sum()))

    def fake_loss(self, sample: Sample, words: Text, rng: np.random.Generator) -> Tensor:
        """Flow matching of the fake network on what the student made (DMD2, section 4.2)."""
        judged, weight = self.judged(sample)
        t, noise = self.levels(sample, judged, rng), gaussian(judged, rng)
        predicted = self.score(self.fake, sample, noised(judged, noise, t), t, words)
        error = (predicted - (noise - judged)).float().square().mean((2, 3, 4)) * weight
        return error.sum() / mean_over_processes(weight.sum()).clamp(min=1e-6)

    @property
    def whole(self) -> bool:
        """True when windows are judged as one."""
        return self.stage.score == "bidirectional"

    def judged(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """The frames that scores speak of, with their weight: all, or those of the chunks at full resolution."""
        full = sum(sample.partition) if self.whole else sum(sample.partition[-self.network.near :])
        return sample.latents[:, -full:], sample.weight[:, -full:]

    def score(self, network: Network, sample: Sample, z: Tensor, t: Tensor, words: Text) -> Tensor:
        """Velocity of `network` at the judged frames, noised to z at t."""
        if self.whole:
            return network.bidirectional(z, t, t, words)
        return network.causal(sample.latents.detach(), z, t, t, sample.partition, words)

    def levels(self, sample: Sample, judged: Tensor, rng: np.random.Generator) -> Tensor:
        """Noise levels (B, F): one a window where it is judged as a whole, else one a chunk."""
        lengths = [judged.shape[1]] if self.whole else list(sample.partition[-self.network.near :])
        t, _ = Levels(self.stage.shift, (1.0, 0.0, 0.0)).draw(len(judged), lengths, rng)
        return t.clamp(self.stage.lowest, self.stage.highest).to(judged.device)


def gaussian(like: Tensor, rng: np.random.Generator) -> Tensor:
    """Standard normal, of the shape of `like` and where it is."""
    return torch.from_numpy(rng.standard_normal(like.shape, dtype=np.float32)).to(like)
