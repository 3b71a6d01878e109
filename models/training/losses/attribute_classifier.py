"""The reader: a small network that says which words of the world are to be seen in noised latents.

It learns from true clips alone. In distillation it stands in for a person who looks whether the prompt was followed:
the student moves to where the words of its caption are read (reward feedback in distillation as in T2V-Turbo, arXiv
2405.18750; the gradient of log p(word | z_t) is that of classifier guidance, arXiv 2105.05233, section 4). `farcast
eval` judges by another measure, `models.evaluation.judge.analyser`, which is not learned and knows nothing of latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.toyworld.captions import named
from models.training.data.toy_clips import FIELDS, WORDS

NOT_SAID = -1
# Of these attributes there is one class more: made by the student.
MADE = {name: len(words) for name, words in zip(FIELDS, WORDS, strict=True) if name in ("shape", "motion")}


def labels_of(captions: Sequence[str], device: torch.device | None = None) -> dict[str, Tensor]:
    """What each caption names, (B,) word numbers by attribute; -1 where it names none."""
    found = [named(caption) for caption in captions]
    return {
        name: torch.tensor([words.index(f[name]) if name in f else NOT_SAID for f in found], device=device)
        for name, words in zip(FIELDS, WORDS, strict=True)
    }


class Reader(nn.Module):
    """Latents (B, F, C, h, w) noised to t (B,) to logits: (B, F, words) of every look, (B, words) of motion.

    Looks are read in every frame by itself, so that none is let off for what another shows; motion from where and how
    the object is in one frame after the other.
    channels: C; size: (h, w), multiples of 4.
    """

    def __init__(self, channels: int, size: tuple[int, int], width: int = 48) -> None:
        super().__init__()
        self.level = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            [_Block(width, width, 64), _Block(width, 2 * width, 64, stride=2), _Block(2 * width, 2 * width, 64)]
        )
        places = (size[0] // 4) * (size[1] // 4)
        self.where = nn.Conv2d(2 * width, 32, 3, stride=2, padding=1)
        self.joined = nn.Linear(32 * places + 2 * width, 128)
        self.along = nn.ModuleList(nn.Conv1d(128, 128, 3, padding=1) for _ in range(3))
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(128 if name == "motion" else 4 * width, len(words) + (name in MADE))
                for name, words in zip(FIELDS, WORDS, strict=True)
            }
        )

    def forward(self, z: Tensor, t: Tensor) -> dict[str, Tensor]:
        rows, frames = z.shape[:2]
        waves = t[:, None] * 2.0 ** torch.arange(8, device=t.device) * torch.pi / 2
        level = self.level(torch.cat([waves.sin(), waves.cos()], 1)).repeat_interleave(frames, 0)
        x = self.stem(z.flatten(0, 1))
        for block in self.blocks:
            x = block(x, level)
        look = x.mean((2, 3))
        looks = torch.cat([look, x.amax((2, 3))], 1).unflatten(0, (rows, frames))
        y = self.joined(torch.cat([F.silu(self.where(x)).flatten(1), look], 1))
        y = y.unflatten(0, (rows, frames)).transpose(1, 2)  # (B, 128, F)
        for conv in self.along:
            y = y + conv(F.silu(y))
        moves = y.mean(2)
        return {name: head(moves if name == "motion" else looks) for name, head in self.heads.items()}


class _Block(nn.Module):
    """A residual block of two convolutions, scaled and shifted by the noise level."""

    def __init__(self, before: int, after: int, level: int, stride: int = 1) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(8, before), nn.GroupNorm(8, after)])
        self.convs = nn.ModuleList(
            [nn.Conv2d(before, after, 3, stride, padding=1), nn.Conv2d(after, after, 3, padding=1)]
        )
        self.turn = nn.Linear(level, 2 * after)
        self.past = nn.Conv2d(before, after, stride, stride) if (before, stride) != (after, 1) else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        y = self.convs[0](F.silu(self.norms[0](x)))
        scale, shift = self.turn(level)[..., None, None].chunk(2, dim=1)
        y = self.convs[1](F.silu(self.norms[1](y) * (1 + scale) + shift))
        return self.past(x) + y  # type: ignore[no-any-return]


def reading_losses(logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy (B,) of every attribute, mean over the frames that have a target; 0 where none has.

    targets: word numbers (B, F) of looks, (B,) of motion; `NOT_SAID` where nothing is to be read.
    """
    losses = {}
    for name, target in targets.items():
        each = F.cross_entropy(logits[name].float().movedim(-1, 1), target, ignore_index=NOT_SAID, reduction="none")
        counted = (target >= 0).reshape(len(target), -1).sum(1).clamp(min=1)
        losses[name] = each.reshape(len(target), -1).sum(1) / counted
    return losses
