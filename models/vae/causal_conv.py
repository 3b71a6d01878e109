"""Wan's causal 3D convolutions as 2D ones, equal and several times faster on a CPU.

PyTorch sends a CPU `conv3d` to `slow_conv3d`. A causal convolution over time with `kt` taps is the same sum as a 2D
convolution whose input channels are the `kt` frames side by side, and that one runs in oneDNN, channels last. The
modules keep their parameters, names and state dict; only `forward` changes, and it is differentiable, so training and
streaming share it. Source of the layer: diffusers, `WanCausalConv3d`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor, nn


class FoldedCausalConv3d(WanCausalConv3d):
    """`WanCausalConv3d` computed as one channels-last conv2d. Made by `fold_causal_convs`, not by hand."""

    _folded: tuple[tuple[int, int, torch.dtype], Tensor] | None

    def folded_weight(self) -> Tensor:
        """The kernel as (out, taps * in, kh, kw). Cached while it does not change and nobody differentiates."""
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return _fold(self.weight)
        key = (self.weight.data_ptr(), 0 if self.weight.is_inference() else self.weight._version, self.weight.dtype)
        cached: tuple[Any, Tensor] | None = self.__dict__.get("_folded")
        if cached is None or cached[0] != key:
            cached = (key, _fold(self.weight.detach()))
            self.__dict__["_folded"] = cached
        return cached[1]

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        """x: (B, C, T, H, W); cache_x: the frames before it, (B, C, <= taps - 1, H, W). Returns (B, O, T', H', W')."""
        taps: int = self.kernel_size[0]
        stride: int = self.stride[0]
        pad_w, _, pad_h, _, missing, _ = (int(side) for side in self._padding)  # diffusers' own, not nn.Conv3d's
        frames = x.permute(0, 2, 3, 4, 1)  # (B, T, H, W, C), the layout all the work happens in
        if cache_x is not None and missing > 0:
            frames = torch.cat([cache_x.to(x.device).permute(0, 2, 3, 4, 1), frames], dim=1)
            missing -= cache_x.shape[2]
        if missing > 0:
            frames = F.pad(frames, (0, 0, 0, 0, 0, 0, missing, 0))
        if taps > 1:
            count = (frames.shape[1] - taps) // stride + 1
            span = (count - 1) * stride + 1
            frames = torch.cat([frames[:, tap : tap + span : stride] for tap in range(taps)], dim=-1)
        batch, count = frames.shape[:2]
        planes = frames.flatten(0, 1).permute(0, 3, 1, 2)  # (B * T', taps * C, H, W), channels last
        out = F.conv2d(planes, self.folded_weight(), self.bias, self.stride[1:], (pad_h, pad_w))
        return out.view(batch, count, *out.shape[1:]).transpose(1, 2)


def _fold(weight: Tensor) -> Tensor:
    out, channels, taps, height, width = weight.shape
    folded = weight.transpose(1, 2).reshape(out, taps * channels, height, width)
    return folded.contiguous(memory_format=torch.channels_last)


def fold_causal_convs(module: nn.Module) -> int:
    """Turn every causal conv3d inside `module` (a Wan VAE, encoder or decoder) into its folded form, in place.

    Returns how many were turned. Parameters, buffers and names stay as they are. Other 2D convolutions are set to
    channels last so that no layer in between converts back and forth.
    """
    count = 0
    for child in module.modules():
        if type(child) is WanCausalConv3d:
            child.__class__ = FoldedCausalConv3d
            count += 1
        elif isinstance(child, nn.Conv2d):
            child.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return count


def unfold_causal_convs(module: nn.Module) -> int:
    """Undo `fold_causal_convs`. Returns how many layers were turned back."""
    count = 0
    for child in module.modules():
        if isinstance(child, FoldedCausalConv3d):
            child.__class__ = WanCausalConv3d
            child.__dict__.pop("_folded", None)
            count += 1
    return count
