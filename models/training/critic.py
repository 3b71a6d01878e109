"""The adversarial part of distillation: a network that tells true latents from those the student makes.

Matching the teacher makes a student at best as good as the teacher. A critic has seen the data, and what a small
teacher leaves soft it finds first (DMD2, arXiv 2405.14867, section 4.3: a head on a diffusion network's features, which
looks at noised samples; the loss is the non-saturating one of arXiv 1406.2661).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.training.forward import mean_over_processes
from models.training.network import Network, Text
from models.training.recipe import noised


class Critic:
    """A network of its own with a head on what its last layer is given, which says of every token how true it looks.

    levels: least and most noise under which it sees samples. Latents (B, F, C, h, w), weights (B, F), 0 for frames that
    do not count.
    """

    def __init__(self, network: Network, levels: tuple[float, float]) -> None:
        self.network, self.levels = network, levels
        width = network.transformer.proj_out.in_features
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.head.to(network.device)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What learns and is saved, by name."""
        return {"transformer": self.network.parts["transformer"], "head": self.head}

    def fooled(self, made: Tensor, weight: Tensor, text: Text, rng: np.random.Generator) -> Tensor:
        """The student's loss: what it made should look true. Leaves no gradient here."""
        for module in (self.network.transformer, self.head):
            module.requires_grad_(False)
        try:
            return _mean(F.softplus(-self.look(made, text, rng)), weight)
        finally:
            for module in (self.network.transformer, self.head):
                module.requires_grad_(True)

    def told(
        self, true: tuple[Tensor, Tensor, Text], made: tuple[Tensor, Tensor, Text], rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The critic's own loss on latents, weights and captions, and the share of tokens it is right of."""
        (a, true_weight, true_text), (b, made_weight, made_text) = true, made
        real, false = self.look(a, true_text, rng), self.look(b, made_text, rng)
        loss = _mean(F.softplus(-real), true_weight) + _mean(F.softplus(false), made_weight)
        right = {"true_right": float((real > 0).float().mean()), "made_right": float((false < 0).float().mean())}
        return loss, right

    def look(self, latents: Tensor, text: Text, rng: np.random.Generator) -> Tensor:
        """Logits (B, F, tokens) of latents under noise of a level drawn for every row: above 0 is true.

        Every frame sees every frame, all of them noised: a clean past would give a made one away, and no gradient would
        reach what is made of it.
        """
        t = torch.from_numpy(rng.uniform(*self.levels, (len(latents), 1))).float().to(latents.device)
        t = t.expand(-1, latents.shape[1])
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(latents)
        z = noised(latents, noise, t)
        features = _last_features(self.network, lambda: self.network.bidirectional(z, t, t, text))
        return self.head(features.float())[..., 0].unflatten(1, (z.shape[1], -1))  # type: ignore[no-any-return]


def _last_features(network: Network, run: Callable[[], Tensor]) -> Tensor:
    """Tokens (B, n, d) that the last layer of `network` is given while `run` runs."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    hook = network.transformer.proj_out.register_forward_pre_hook(keep)
    try:
        run()
    finally:
        hook.remove()
    return seen[0]


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """The mean over tokens of values (B, F, tokens), and over the frames that count, of all processes."""
    count = mean_over_processes(weight.sum()).clamp(min=1e-6)
    return (values.mean(2) * weight).sum() / count
