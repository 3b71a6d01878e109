"""On-policy distillation of the flow map: the student is trained on its own rollouts, towards the teacher's scores.

Each step (AnyFlow, arXiv 2605.13724, section 3.3; DMD2, arXiv 2405.14867; Self-Forcing, arXiv 2506.08009):

1. the student generates windows by flow-map backward simulation (`losses.backward_simulation`), chunk by chunk over its
   own past; a share of them continues true chunks, under their caption or under a new one;
2. the student's loss is distribution matching (`losses.dmd`: the frozen, guided teacher against the fake network, which
   models the student's samples), plus the forward objective (`losses.flow_map_loss`), which keeps u(z_t, t, r) a flow
   map at every pair (t, r), plus, with `reward` above 0, an attribute classifier's cross-entropy
   (`losses.attribute_reward`);
3. the fake network is trained on the student's samples by flow matching at r = t;
4. the attribute classifier is trained on true windows and on the student's samples.
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
from models.training.losses.attribute_classifier import AttributeClassifier
from models.training.losses.attribute_reward import AttributeReward, LabelledLatents
from models.training.losses.backward_simulation import STEP_COUNTS, draw_cut, roll_out
from models.training.losses.dmd import matching_gradient, matching_loss
from models.training.losses.flow_map_loss import forward_losses, mean_over_processes
from models.training.losses.flow_matching import noised
from models.training.network.passes import Network, Text
from models.training.run import Average, Run
from models.training.trainer import Sheet, Stage, Trainer, trainable_parameters


@dataclass(frozen=True, kw_only=True)
class Distillation(Stage):
    """Options of a distillation stage beyond those of the forward objective.

    counts: step counts of the schedules that are simulated. cut: "row" draws a count and a step of its schedule for
        every row, "step" one for all rows of a training step, as published.
    score: "causal" scores every chunk over the student's own past; "bidirectional" scores the window as a whole, with a
        teacher trained that way. real_guidance: w of the teacher's u + w (c - u).
    given: share of steps that start from true chunks. through_all: see `backward_simulation.roll_out`.
    lowest, highest: bounds of the noise levels at which scores are compared; levels are uniform before the shift.
    matching, forward, reward: weights of the losses. matching_loss has no factor 1/2: 1 is as published, 0.5 is the
        form in DMD2's text. forward_batch: rows of the forward objective by chunks; () = as `batch`. forward_windows:
        chances of 1, 2, ... chunks in its window; () = as many chunks as the student generates in that step.
    fake_rate, fake_steps: learning rate of the fake network and its updates a step. fake_first: steps at the start in
        which only the fake network (and the classifier) learns. fake_levels: "uniform" or "logit_normal".
        fake_rollout: "shared" trains it on the windows of the student's step, "own" on new ones, as published.
    reward_max_level: highest noise level at which the classifier sees latents. classifier_steps: its batches of true
        windows before the first step; classifier_batch: their rows by chunks; classifier_rate: its rate after that.
    """

    counts: tuple[int, ...] = STEP_COUNTS
    cut: str = "row"
    real_guidance: float = 3.0
    score: str = "causal"
    given: float = 0.25
    lowest: float = 0.02
    highest: float = 0.98
    fake_rate: float = 2e-4
    fake_steps: int = 1
    fake_first: int = 20
    fake_levels: str = "uniform"
    fake_rollout: str = "shared"
    through_all: bool = False
    matching: float = 0.5
    forward: float = 1.0
    forward_batch: tuple[int, ...] = ()
    forward_windows: tuple[float, ...] = ()
    reward: float = 0.0
    reward_max_level: float = 0.75
    classifier_steps: int = 1000
    classifier_batch: tuple[int, ...] = (64, 24)
    classifier_rate: float = 5e-4
    rate: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.999)
    weight_decay: float = 0.0
    cosine: bool = False
    warmup: int = 10
    decay: float = 0.99
    text: bool = False


@dataclass(frozen=True)
class Sample:
    """Windows that the student generated. latents: (B, F, C, h, w). weight: (B, F), 0 for frames that were given.

    one_scene: (B,) 1 where the given frames show what the caption says.
    """

    latents: Tensor
    weight: Tensor
    one_scene: Tensor
    captions: tuple[str, ...]
    partition: tuple[int, ...]

    @property
    def labelled(self) -> LabelledLatents:
        """As the attribute classifier takes it."""
        return LabelledLatents(self.latents, self.captions, self.weight, self.one_scene)


class Distiller(Trainer):
    """Trains the student and the fake network (which starts as the teacher) against a frozen teacher."""

    stage: Distillation

    def __init__(
        self, network: Network, teacher: Network, fake: Network, clips: Clips, images: Clips, stage: Distillation,
        folder: Path, *, sheet: Sheet | None = None,
    ) -> None:  # fmt: skip
        self.fake = fake
        teacher.transformer.requires_grad_(False)
        teacher.text_encoder.requires_grad_(False)
        super().__init__(network, clips, images, stage, folder, teacher=teacher, sheet=sheet)
        self.fake_parameters = trainable_parameters([fake.transformer])
        self.fake_optimizer = self.new_optimizer(self.fake_parameters, stage.fake_rate)
        fake_parts = {"transformer": fake.parts["transformer"]}
        self.other_runs = [Run(folder / "fake", fake_parts, self.fake_optimizer, Average({}))]
        self.reward = None
        if stage.reward:
            _, _, channels, height, width = clips.latents.shape
            classifier = AttributeClassifier(channels, (height, width)).to(network.device)
            self.reward = AttributeReward(
                classifier, stage.reward_max_level, stage.classifier_rate, folder / "classifier"
            )
            self.other_runs.append(self.reward.run)

    def train(self) -> None:
        for run in self.other_runs:
            run.resume()
        stage = self.stage
        if self.reward is not None and self.reward.run.step == 0:
            self.reward.pretrain(
                stage.classifier_steps, lambda chunks, rng: self.draw(chunks, stage.classifier_batch, rng),
                stage.windows, stage.seed,
            )  # fmt: skip
        super().train()

    def save(self) -> None:
        """Write all networks; the student last, so that its step number is never ahead of the others'."""
        for run in self.other_runs:
            run.step = self.run.step
            run.save()
        super().save()

    def plotted(self) -> Iterable[str]:
        return ["match", "fake", "reward", *super().plotted()]

    def step(self, number: int) -> dict[str, float]:
        stage, teacher = self.stage, self.teacher
        assert teacher is not None
        shared, own = self.generators(number)
        chunks = self.chunks_of(shared)
        given = int(shared.integers(1, chunks)) if chunks > 1 and shared.random() < stage.given else 0
        learns = number >= stage.fake_first
        with torch.set_grad_enabled(learns):
            sample = self.generate(chunks, given, own, shared)
        with torch.no_grad():
            text = teacher.encode(sample.captions)
        values: dict[str, float] = {}
        if learns:
            match = self.matching(sample, text, own)
            loss = stage.matching * match
            values = {"match": match.item()}
            if stage.forward:
                forward, parts = self.forward(chunks, shared, own)
                loss, values = loss + stage.forward * forward, values | parts
            if self.reward is not None:
                penalty, read = self.reward.loss(sample.labelled, own)
                loss = loss + stage.reward * penalty
                values |= {"reward": penalty.item(), **read}
            self.update(loss, self.parameters, self.optimizer, stage.rate, number - stage.fake_first)
        made = replace(sample, latents=sample.latents.detach())
        for _ in range(stage.fake_steps):
            if stage.fake_rollout == "own":
                with torch.no_grad():
                    made = self.generate(chunks, given, own, shared)
                    text = teacher.encode(made.captions)
            loss = self.fake_loss(made, text, own)
            values["fake"] = loss.item()
            self.update(loss, self.fake_parameters, self.fake_optimizer, stage.fake_rate, number)
        if self.reward is not None:
            real = LabelledLatents.of(self.draw(chunks, stage.classifier_batch, own))
            values |= self.reward.update(real, made.labelled, own, stage.classifier_rate)
        return values

    def forward(
        self, chunks: int, shared: np.random.Generator, own: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The forward objective on true windows, and its parts for the log."""
        stage = self.stage
        if stage.forward_windows:
            chunks = 1 + int(shared.choice(len(stage.forward_windows), p=stage.forward_windows))
        window = self.draw(chunks, stage.forward_batch or stage.batch, own)
        diffusion, flow_map = forward_losses(stage, self.network, window, teacher=self.teacher)
        return diffusion + flow_map, {
            f"diffusion_{chunks}": diffusion.item(), f"flow_map_{chunks}": flow_map.item(),
        }  # fmt: skip

    def generate(self, chunks: int, given: int, own: np.random.Generator, shared: np.random.Generator) -> Sample:
        """Windows by the student. The first `given` chunks are true ones, which may show another scene."""
        stage, clips = self.stage, self.images if chunks == 1 else self.clips
        window = draw_window(
            clips, chunks, self.rows(chunks), stage.noise_levels, own, near=self.network.near,
            device=self.network.device,
        )  # fmt: skip
        start = sum(window.partition[:given])
        captions = window.captions if given else tuple(clips.prompt(own) for _ in window.captions)
        rows = len(captions)
        if stage.cut == "step":
            cut = draw_cut(1, stage.counts, stage.shift, shared).expand(rows)
        else:
            cut = draw_cut(rows, stage.counts, stage.shift, own)
        latents = roll_out(
            self.network, window.noise, window.partition, self.network.encode(captions), cut.to(self.network.device),
            given=window.clean[:, :start] if given else None, through_all=stage.through_all,
            first_with_gradient=0 if self.bidirectional else max(0, chunks - self.network.near),
        )  # fmt: skip
        weight = torch.ones_like(window.weight)
        weight[:, :start] = 0
        one_scene = window.weight.amin(1) if given else torch.ones_like(weight[:, 0])
        return Sample(latents, weight, one_scene, captions, window.partition)

    def rows(self, chunks: int) -> int:
        """Rows of a step whose windows have `chunks` chunks."""
        return self.stage.batch[min(chunks, len(self.stage.batch)) - 1]

    def matching(self, sample: Sample, text: Text, rng: np.random.Generator) -> Tensor:
        """The distribution matching loss of the student's windows."""
        assert self.teacher is not None
        teacher, scale = self.teacher, self.stage.real_guidance
        scored, weight = self.scored(sample)
        t = self.levels(sample, scored, rng)
        z = noised(scored, gaussian(scored, rng), t).detach()
        uncond = teacher.encode([""]).expand(len(z))

        def real(z: Tensor, t: Tensor) -> Tensor:
            cond = self.velocity(teacher, sample, z, t, text)
            return cond if scale == 1 else cfg(self.velocity(teacher, sample, z, t, uncond), cond, scale)

        def fake(z: Tensor, t: Tensor) -> Tensor:
            return self.velocity(self.fake, sample, z, t, text)

        return matching_loss(scored, matching_gradient(scored, z, t, fake, real), weight, _count(weight))

    def fake_loss(self, sample: Sample, text: Text, rng: np.random.Generator) -> Tensor:
        """Flow matching of the fake network on the student's windows (DMD2, section 4.2)."""
        scored, weight = self.scored(sample)
        t, noise = self.levels(sample, scored, rng, self.stage.fake_levels), gaussian(scored, rng)
        predicted = self.velocity(self.fake, sample, noised(scored, noise, t), t, text)
        error = (predicted - (noise - scored)).float().square().mean((2, 3, 4)) * weight
        return error.sum() / _count(weight).clamp(min=1e-6)

    @property
    def bidirectional(self) -> bool:
        """True when windows are scored as a whole."""
        return self.stage.score == "bidirectional"

    def scored(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """Latents and weight of the frames that scores are taken of: all, or those of the chunks at full resolution."""
        full = sum(sample.partition) if self.bidirectional else sum(sample.partition[-self.network.near :])
        return sample.latents[:, -full:], sample.weight[:, -full:]

    def velocity(self, network: Network, sample: Sample, z: Tensor, t: Tensor, text: Text) -> Tensor:
        """v of `network` at the scored frames, noised to z (B, F, C, h, w) at t (B, F)."""
        if self.bidirectional:
            return network.bidirectional(z, t, t, text)
        return network.causal(sample.latents.detach(), z, t, t, sample.partition, text)

    def levels(self, sample: Sample, scored: Tensor, rng: np.random.Generator, of: str = "uniform") -> Tensor:
        """Noise levels (B, F): one a window where it is scored as a whole, else one a chunk."""
        lengths = [scored.shape[1]] if self.bidirectional else list(sample.partition[-self.network.near :])
        t, _ = Levels(self.stage.shift, (1.0, 0.0, 0.0), of).draw(len(scored), lengths, rng)
        return t.clamp(self.stage.lowest, self.stage.highest).to(scored.device)


def gaussian(like: Tensor, rng: np.random.Generator) -> Tensor:
    """Standard normal noise of the shape, type and device of `like`."""
    return torch.from_numpy(rng.standard_normal(like.shape, dtype=np.float32)).to(like)


def _count(weight: Tensor) -> Tensor:
    """Frames that count, as a mean over processes."""
    return mean_over_processes(weight.sum())
