"""Stages two and three: the causal teacher, then its flow map, on latents of the toy world.

The teacher learns the velocity v = eps - x0 along z_t = (1 - t) x0 + t eps (flow matching, arXiv 2210.02747), chunk by
chunk over clean context (FAR, arXiv 2503.19325). The flow-map stage teaches u(z_t, t, r), the mean velocity from t down
to r, so that one step can cover any stretch (AnyFlow, arXiv 2605.13724): its target is u = v - (t - r) du/dt, where
du/dt along the path is taken by central difference, and a share of pairs keeps r = t.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from models.training.attention import FoldedCrossAttention, causal_mask, fold_text, install
from models.training.blocks import modulate_by_frame
from models.training.data import LatentClips, partition_of
from models.training.run import Average, Run, learning_rate, rank_and_world, share_gradients
from models.world import caption


@dataclass(frozen=True)
class FlowConfig:
    """Every choice of these stages."""

    steps: int
    rate: float = 1.5e-3
    # Chances of a step seeing a window of 1, 2, ... chunks, and how many windows such a step takes.
    windows: tuple[float, ...] = (1.0,)
    batch: tuple[int, ...] = (64,)
    shift: float = 3.0
    # Shares of pairs: diffusion (r = t), consistency (r = 0), anything between.
    pairs: tuple[float, float, float] = (1.0, 0.0, 0.0)
    epsilon: float = 0.005
    caption_dropout: float = 0.1
    # How much more the places count where a frame differs from its plain ground. Only towards t = 0, where what stands
    # in a place is no longer in doubt: at high noise a weight that depends on the answer would bend its mean.
    focus: float = 0.0
    seed: int = 0
    save_every: int = 100


@dataclass(frozen=True)
class Window:
    """A batch of windows on clips, ready for the transformer."""

    clean: torch.Tensor  # (B, F, C, h, w)
    noise: torch.Tensor  # (B, full, C, h, w)
    t: torch.Tensor  # (B, full) noise level of every full-resolution frame
    r: torch.Tensor  # (B, full)
    weight: torch.Tensor  # (B, full) 0 where the caption is not this frame's
    partition: tuple[int, ...]
    far_chunks: int
    text: torch.Tensor
    bias: torch.Tensor


class FlowTrainer:
    """Trains transformer and text encoder together."""

    def __init__(
        self,
        transformer: Any,
        text_encoder: Any,
        tokenizer: PreTrainedTokenizerFast,
        clips: LatentClips,
        images: LatentClips,
        config: FlowConfig,
        folder: Path,
    ) -> None:
        self.transformer, self.text_encoder, self.tokenizer = transformer, text_encoder, tokenizer
        self.clips, self.images, self.config = clips, images, config
        self.cross: FoldedCrossAttention = install(transformer)
        modulate_by_frame(transformer)
        self.modules = {"transformer": transformer, "text_encoder": text_encoder}
        self.parameters = [p for module in self.modules.values() for p in module.parameters()]
        optimizer = torch.optim.AdamW(self.parameters, lr=config.rate, betas=(0.9, 0.98), weight_decay=0.01)
        self.run = Run(folder, self.modules, optimizer, Average(self.modules, decay=0.998))
        self.masks: dict[int, torch.Tensor] = {}
        self.rank, _ = rank_and_world()

    def train(self) -> None:
        """Run the stage to its end, saving on the way; a restart goes on from the last save."""
        self.run.resume()
        rng = np.random.default_rng(self.config.seed * 1000 + self.run.step * 10 + self.rank)
        shared = np.random.default_rng(self.config.seed * 1000 + self.run.step)  # the same on every process
        torch.manual_seed(int(rng.integers(2**31)))
        bar = tqdm(total=self.config.steps, initial=self.run.step, desc="flow", mininterval=10, disable=self.rank > 0)
        while self.run.step < self.config.steps:
            chunks = 1 + int(shared.choice(len(self.config.windows), p=self.config.windows))
            window = self.draw(chunks, self.config.batch[min(chunks, len(self.config.batch)) - 1], rng)
            for group in self.run.optimizer.param_groups:
                group["lr"] = learning_rate(self.run.step, self.config.steps, self.config.rate)
            plain, mapped = self.losses(window)
            self.run.optimizer.zero_grad(set_to_none=True)
            (plain + mapped).backward()
            share_gradients(self.parameters)
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.run.optimizer.step()
            self.run.average.update(self.modules, self.run.step)
            self.run.step += 1
            bar.update()
            if self.rank == 0 and self.run.step % 10 == 0:
                self.run.log(**{f"plain_{chunks}": plain.item(), f"map_{chunks}": mapped.item()})
                bar.set_postfix(chunks=chunks, plain=f"{plain.item():.3f}", map=f"{mapped.item():.3f}")
            if self.rank == 0 and self.run.step % self.config.save_every == 0:
                self.run.save()
        if self.rank == 0:
            self.run.save()

    def draw(self, chunks: int, batch: int, rng: np.random.Generator) -> Window:
        """Windows of `chunks` chunks: chunk 0, then the chunks up to a random end (a gap after chunk 0 is possible,
        as it is in an endless stream), with the caption of the last."""
        source = self.images if chunks == 1 else self.clips
        total = source.scenes.shape[1]
        partition = partition_of(chunks)
        far = max(0, chunks - self.transformer.config.full_chunk_limit)
        rows, texts, same = [], [], []
        for clip in rng.integers(len(source.latents), size=batch):
            gap = rng.random() < 0.35
            end = int(rng.integers(chunks - 1, total)) if gap and chunks > 1 else chunks - 1
            which = [0, *range(end - chunks + 2, end + 1)]
            frames = [f for c in which for f in range(max(0, 3 * c - 2), 3 * c + 1)]
            rows.append(source.latents[clip, frames].float())
            now = source.scene(int(clip), end)
            texts.append("" if rng.random() < self.config.caption_dropout else caption(now, rng))
            same.append(
                [
                    float(source.scene(int(clip), c) == now)
                    for c in which[far:]
                    for _ in range(partition[0 if c == 0 else 1])
                ]
            )
        clean = torch.stack(rows)
        full = sum(partition[far:])
        t, r = self._levels(batch, partition[far:], rng)
        text, bias = self.encode(texts)
        noise = torch.randn(batch, full, *clean.shape[2:])
        return Window(clean, noise, t, r, torch.tensor(same), partition, far, text, bias)

    def _levels(
        self, batch: int, partition: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A pair (t, r) for every chunk, spread over its frames. Rows come sorted: diffusion pairs first."""
        u = torch.from_numpy(rng.random((batch, len(partition)))).float()
        t = self._shifted(u)
        plain, ends, _ = self.config.pairs
        rank = torch.linspace(0, 1, batch + 1)[:-1, None].expand_as(t)
        anywhere = self._shifted(u * torch.from_numpy(rng.random(u.shape)).float())
        r = torch.where(rank < plain, t, torch.where(rank < plain + ends, torch.zeros_like(t), anywhere))
        lengths = torch.tensor(partition)
        return t.repeat_interleave(lengths, 1), r.repeat_interleave(lengths, 1)

    def _shifted(self, u: torch.Tensor) -> torch.Tensor:
        return self.config.shift * u / (1 + (self.config.shift - 1) * u)

    def encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt")
        states = self.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return fold_text(states, tokens.attention_mask)

    def losses(self, window: Window) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of the diffusion pairs, and of the others rescaled to the same size."""
        full = window.noise.shape[1]
        x0 = window.clean[:, -full:]
        level = window.t[..., None, None, None]
        z = (1 - level) * x0 + level * window.noise
        velocity = window.noise - x0
        predicted = self.forward(window, z, window.t, window.r)
        target = velocity
        mapped = (window.r < window.t).any(1)
        if mapped.any():
            target = velocity.clone()
            target[mapped] -= self._slope(select(window, mapped), z[mapped], velocity[mapped])
        error = ((predicted - target).square() * self._focus(x0, level)).mean((2, 3, 4)) * window.weight
        plain = error[~mapped].sum() / window.weight[~mapped].sum().clamp(min=1)
        if not mapped.any():
            return plain, torch.zeros(())
        other = error[mapped].sum() / window.weight[mapped].sum().clamp(min=1)
        scale = (plain / other.clamp(min=1e-6)).detach().clamp(max=1.0)
        return plain, other * scale

    def _focus(self, x0: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Weight of every place, (B, full, 1, h, w), mean one over each frame."""
        ground = x0.flatten(3).median(3).values[..., None, None]
        stands_out = (x0 - ground).square().mean(2, keepdim=True).sqrt().clamp(max=1.0)
        weight = 1 + self.config.focus * (1 - level) * stands_out
        return weight / weight.mean((3, 4), keepdim=True)

    @torch.no_grad()
    def _slope(self, window: Window, z: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
        """(t - r) du/dt along the path, by central difference with the path's own velocity."""
        e = self.config.epsilon
        up, down = (window.t + e).clamp(max=1.0), (window.t - e).clamp(min=0.0)
        step_up, step_down = ((v - window.t)[..., None, None, None] for v in (up, down))
        ahead = self.forward(window, z + step_up * velocity, up, window.r)
        behind = self.forward(window, z + step_down * velocity, down, torch.minimum(window.r, down))
        slope = (ahead - behind) / (up - down)[..., None, None, None]
        return (window.t - window.r)[..., None, None, None] * slope

    def forward(self, window: Window, z: torch.Tensor, t: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        """u at the full-resolution frames, (B, full, C, h, w)."""
        config = self.transformer.config
        chunks, far = len(window.partition), window.far_chunks
        full = z.shape[1]
        far_frames = window.clean.shape[1] - full
        clean = chunks > 1
        if chunks not in self.masks:
            h, w = z.shape[3:]
            tokens = (h // config.patch_size[1]) * (w // config.patch_size[2])
            coarse = (h // config.compressed_patch_size[1]) * (w // config.compressed_patch_size[2])
            self.masks[chunks] = causal_mask(window.partition, far, tokens, coarse, clean)
        self.cross.bias = window.bias
        still = torch.zeros(len(z), far_frames)
        extra: dict[str, Any] = {}
        if clean:
            extra = {"clean_hidden_states": window.clean[:, far_frames:], "clean_timestep": torch.zeros_like(t)}
        return self.transformer(  # type: ignore[no-any-return]
            hidden_states=torch.cat([window.clean[:, :far_frames], z], dim=1),
            timestep=torch.cat([still, t * 1000], dim=1),
            r_timestep=torch.cat([still, r * 1000], dim=1),
            encoder_hidden_states=window.text,
            chunk_partition=list(window.partition),
            attention_mask=self.masks[chunks],
            return_dict=False,
            **extra,
        )[0]


def select(window: Window, rows: torch.Tensor) -> Window:
    """The chosen rows of a batch."""
    return Window(
        window.clean[rows],
        window.noise[rows],
        window.t[rows],
        window.r[rows],
        window.weight[rows],
        window.partition,
        window.far_chunks,
        window.text[rows].detach(),
        window.bias[rows],
    )
