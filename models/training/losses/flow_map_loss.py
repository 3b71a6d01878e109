"""The forward objective: flow matching for a teacher, the flow map for a student, one function of a window.

AnyFlow (arXiv 2605.13724, section 3.2) turns a causal diffusion model (FAR, arXiv 2503.19325) into a flow map by three
kinds of pairs (see `windows.Levels`), guidance fused into the target, the weight beta08, and errors of the pairs with
r < t rescaled to those with r = t. A teacher is trained by the same with r = t only and no guidance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from models.rollout.flowmap import cfg
from models.training.data.windows import Levels, Window
from models.training.losses.flow_matching import (
    beta08,
    central_difference,
    flow_map_target,
    focused,
    noised,
    per_frame,
    rescaled,
)
from models.training.network.passes import Network, Text


@dataclass(frozen=True)
class FlowMapObjective:
    """Options of the objective.

    levels: distribution of t of causal rows, level_per: whether every chunk of a window has its own pair (t, r), see
        `windows.Levels`; published: "larger_of_two", "window". bidirectional_levels: of bidirectional rows, which have
        one t a row and r = t; published: "logit_normal".
    guidance: scale of the guided field that the map is of; 1 = none, 3 as published.
    guide_dropped: scale also rows whose caption was dropped, as published: their gradient, and the difference quotient
        in their target, are then those of a plain row over `guidance`.
    fuse: "velocity" guides the velocity field and learns exactly that field's flow map; "published" guides the mean
        velocity at (t, r) and takes the difference along the data's path, as AnyFlow's code does. At r = t they agree.
    weight: "beta08" or "uniform", over noise levels; bidirectional rows are not weighted.
    epsilon: of the central difference; 0.005 is 5 of 1000 levels.
    focus: additional weight of object, outline and change over background, towards t = 0 (`flow_matching.focused`).
    channels: weight of every latent channel, for latents whose channels change the picture by unlike amounts; () =
        equal.
    context_noise: later chunks attend to clean chunks under noise of up to this standard deviation, against drift over
        the model's own, imperfect past (GameNGen, arXiv 2408.14837, section 3.2).
    from_teacher: take the velocity from the guided teacher instead of from the data: a target without sampling noise,
        of the teacher's field rather than the data's.
    """

    shift: float = 5.0
    pairs: tuple[float, float, float] = (1.0, 0.0, 0.0)
    levels: str = "uniform"
    level_per: str = "chunk"
    bidirectional_levels: str = "uniform"
    guidance: float = 1.0
    guide_dropped: bool = False
    fuse: str = "velocity"
    weight: str = "uniform"
    epsilon: float = 0.005
    focus: float = 0.0
    channels: tuple[float, ...] = ()
    context_noise: float = 0.0
    from_teacher: bool = False

    @property
    def noise_levels(self) -> Levels:
        """Of causal rows."""
        return Levels(self.shift, self.pairs, self.levels, self.level_per)

    @property
    def bidirectional_noise_levels(self) -> Levels:
        """Of bidirectional rows, r = t."""
        return Levels(self.shift, (1.0, 0.0, 0.0), self.bidirectional_levels)


def forward_losses(
    choice: FlowMapObjective, network: Network, window: Window, *, teacher: Network | None = None,
    bidirectional: bool = False,
) -> tuple[Tensor, Tensor]:
    """Loss of the rows with r = t and of the rows with r < t. Bidirectional passes have one level a row and r = t."""
    text = network.encode(window.captions)
    if bidirectional:
        clean, noise, weight = window.clean, window.noise, window.weight.amin(1, keepdim=True).expand_as(window.weight)
        t = window.t[:, -1:].expand(-1, clean.shape[1])
        r = t
    else:
        clean, noise, weight = (x[:, -window.full :] for x in (window.clean, window.noise, window.weight))
        t, r = window.t, window.r

    def u(on: Network, z: Tensor, t: Tensor, r: Tensor, text: Text) -> Tensor:
        if bidirectional:
            return on.bidirectional(z, t, r, text)
        return on.causal(window.context, z, t, r, window.partition, text)

    z = noised(clean, noise, t)
    predicted = u(network, z, t, r, text)
    mapped = (r < t).any(1)
    with torch.no_grad():
        fixed_text = text.detach()
        scale = _scales(choice, window)
        velocity = noise - clean
        if choice.from_teacher and teacher is not None:
            cond, uncond = teacher.encode(window.captions), teacher.encode([""]).expand(len(z))
            velocity = cfg(u(teacher, z, t, t, uncond), u(teacher, z, t, t, cond), per_frame(scale))
            reduction = torch.ones_like(scale)
        else:
            reduction = scale  # a guided target is `scale` times as noisy as the data's velocity
        fused = velocity
        at = t if choice.fuse == "velocity" else r
        if choice.guidance != 1.0 and not choice.from_teacher:
            fused = cfg(u(network, z, t, at, network.encode([""]).expand(len(z))), velocity, per_frame(scale))
        target = fused
        if bool(mapped.any()):
            path = fused if choice.fuse == "velocity" else velocity
            rows = torch.nonzero(mapped)[:, 0]
            part = _rows(window, rows)

            def ahead(z: Tensor, level: Tensor) -> Tensor:
                r = torch.minimum(part.r, level)
                return network.causal(part.context, z, level, r, part.partition, fixed_text[rows])

            slope = central_difference(ahead, z[rows], t[rows], path[rows], choice.epsilon)
            target = fused.clone()
            target[rows] = flow_map_target(fused[rows], slope, t[rows], r[rows])
        weighted = choice.weight == "beta08" and not bidirectional
        level_weight = beta08(t, choice.shift) if weighted else torch.ones_like(t)
    error = ((predicted - target).float() / per_frame(reduction)).square()
    if choice.focus:
        error = error * focused(clean, t, choice.focus)
    if choice.channels:
        channel_weight = torch.tensor(choice.channels, device=error.device)
        error = error * (channel_weight / channel_weight.mean())[:, None, None]
    error = error.mean((2, 3, 4))
    rows_error = (error * level_weight * weight).sum(1) / weight.sum(1).clamp(min=1e-6)
    return rescaled(rows_error, mapped, weight.mean(1), mean_over_processes)


def _scales(choice: FlowMapObjective, window: Window) -> Tensor:
    """(B, 1): the guidance scale of every row, 1 where the caption was dropped (but see `guide_dropped`)."""
    scales = [choice.guidance if caption or choice.guide_dropped else 1.0 for caption in window.captions]
    return torch.tensor(scales, device=window.clean.device)[:, None]


def _rows(window: Window, rows: Tensor) -> Window:
    captions = tuple(window.captions[int(row)] for row in rows)
    return Window(
        window.clean[rows], window.context[rows], window.noise[rows], window.t[rows], window.r[rows],
        window.weight[rows], captions, window.partition,
    )  # fmt: skip


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of `value` over all processes; itself where there is one."""
    if not dist.is_initialized():
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
