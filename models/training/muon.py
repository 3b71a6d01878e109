"""Muon (Jordan et al., 2024): momentum, made orthogonal, for matrices and kernels; AdamW for what is left.

Scaled as in arXiv 2502.16982, so that an update is as large as AdamW's and one rate suits both. Tried on the embedded
VAE's decoder, one short run each from one start at a rate of 1.5e-3: 27.2 dB after 214 steps, AdamW 26.9 after 240.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM, BETAS, DECAY, TINY = 0.95, (0.9, 0.99), 1e-4, 1e-8


class Muon(torch.optim.Optimizer):
    """`kernels` by Muon, each as a matrix (out, everything else); `others` by AdamW."""

    def __init__(self, kernels: Iterable[nn.Parameter], others: Iterable[nn.Parameter], rate: float) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(kernels), "orthogonal": True},
            {"params": list(others), "orthogonal": False},
        ]
        super().__init__(groups, {"lr": rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None, "this optimizer does not evaluate the loss again"
        for group in self.param_groups:
            update = self._muon if group["orthogonal"] else self._adamw
            for p in group["params"]:
                if p.grad is not None:
                    update(p, group["lr"])

    def _muon(self, p: nn.Parameter, rate: float) -> None:
        state, grad = self.state[p], _given(p.grad)
        if not state:
            state["momentum"] = torch.zeros_like(p)
        mean = state["momentum"].mul_(MOMENTUM).add_(grad)
        update = orthogonal((grad + MOMENTUM * mean).flatten(1))
        p.mul_(1 - rate * DECAY).add_(update.view_as(p), alpha=-rate * 0.2 * max(update.shape) ** 0.5)

    def _adamw(self, p: nn.Parameter, rate: float) -> None:
        state, grad = self.state[p], _given(p.grad)
        if not state:
            state |= {"mean": torch.zeros_like(p), "square": torch.zeros_like(p), "count": torch.zeros(())}
        state["count"] += 1
        mean, square = state["mean"].lerp_(grad, 1 - BETAS[0]), state["square"].lerp_(grad.square(), 1 - BETAS[1])
        seen = [1 - beta ** float(state["count"]) for beta in BETAS]
        p.mul_(1 - rate * DECAY).addcdiv_(mean / seen[0], (square / seen[1]).sqrt().add_(TINY), value=-rate)


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """`matrix` with its singular values near 1, by the quintic Newton-Schulz iteration with Jordan's coefficients."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def _given(grad: Tensor | None) -> Tensor:
    assert grad is not None
    return grad
