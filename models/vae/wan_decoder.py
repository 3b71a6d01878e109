"""The forward pass of Wan's decoder for streaming, over the diffusers module's own weights.

The frames of a call are a batch of pictures, (frames, C, H, W) channels last, from the first layer to the last: every
causal convolution over time is then one 2D convolution (`causal_conv`), norms and activations work in place, and
nothing is permuted in between. What a convolution must know of the past is its last two inputs, a slot of `cache`; None
stands for no past, and zeros are what the model then sees. diffusers' own forward computes the same; it is kept for
training and for the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor

from models.vae.causal_conv import FoldedCausalConv3d

Cache = list[Any]
PAST = 2  # frames a causal convolution looks back


def slots(decoder: Any) -> int:
    """How many of the decoder's convolutions carry a past."""
    return sum(isinstance(layer, WanCausalConv3d) and layer.kernel_size[0] > 1 for layer in decoder.modules())


def decode(decoder: Any, x: Tensor, cache: Cache) -> Tensor:
    """Latents x (frames, C, H, W) to pictures (frames', C', H', W'), updating `cache` (a list of `slots` entries).

    The first frame ever must come alone: the model's upsampling in time leaves it out.
    """
    first = cache[0] is None
    assert not first or len(x) == 1, "the first latent frame is decoded alone"
    slot = iter(range(len(cache)))
    x = _causal(decoder.conv_in, x.contiguous(memory_format=torch.channels_last), cache, slot)
    middle = decoder.mid_block
    x = _residual(middle.resnets[0], x, cache, slot)
    for attention, block in zip(middle.attentions, middle.resnets[1:], strict=True):
        x = _residual(block, _attend(attention, x), cache, slot)
    for stage in decoder.up_blocks:
        before = x
        for block in stage.resnets:
            x = _residual(block, x, cache, slot)
        shortcut, upsampler = _parts(stage)
        if upsampler is not None:
            x = _upsample(upsampler, x, cache, slot)
        if shortcut is not None:
            x = _add_shortcut(shortcut, x, before, first)
    x = _causal(decoder.conv_out, _norm_silu(decoder.norm_out, x), cache, slot)
    assert next(slot, None) is None, "the decoder has fewer convolutions than its cache has slots"
    return x


def _parts(stage: Any) -> tuple[Any, Any]:
    """Shortcut and upsampler of a stage, each None where the model has none. Wan 2.1 and 2.2 name them differently."""
    upsamplers = getattr(stage, "upsamplers", None)
    return getattr(stage, "avg_shortcut", None), upsamplers[0] if upsamplers else getattr(stage, "upsampler", None)


def _causal(layer: FoldedCausalConv3d, x: Tensor, cache: Cache, slot: Iterator[int]) -> Tensor:
    taps = layer.kernel_size[0]
    if taps > 1:
        index = next(slot)
        past = x.new_zeros(PAST, *x.shape[1:]) if cache[index] is None else cache[index]
        frames = torch.cat([past, x]).permute(0, 2, 3, 1)
        cache[index] = frames[-PAST:].permute(0, 3, 1, 2).clone(memory_format=torch.channels_last)
        x = torch.cat([frames[tap : tap + len(x)] for tap in range(taps)], dim=-1).permute(0, 3, 1, 2)
    weight, pad = layer.folded_weight(), layer._padding[2]
    if weight.shape[2:] == (1, 1):
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), layer.bias).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, layer.bias, padding=pad)


def _norm_silu(norm: Any, x: Tensor) -> Tensor:
    return F.silu(_norm(norm, x), inplace=True)


def _norm(norm: Any, x: Tensor) -> Tensor:
    """`WanRMS_norm`: every pixel's vector at length sqrt(C), times gamma."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32).clamp_min_(1e-12)
    if x.dtype == torch.float32:
        x = x * length.reciprocal_().mul_(norm.scale)
    else:
        x = (x.float() / length).to(x.dtype).mul_(norm.scale)  # rounded where diffusers does
    x.mul_(norm.gamma.view(-1, 1, 1))
    return x.add_(norm.bias.view(-1, 1, 1)) if isinstance(norm.bias, Tensor) else x


def _residual(block: Any, x: Tensor, cache: Cache, slot: Iterator[int]) -> Tensor:
    shortcut = block.conv_shortcut
    kept = _causal(shortcut, x, cache, slot) if isinstance(shortcut, WanCausalConv3d) else x
    x = _causal(block.conv1, _norm_silu(block.norm1, x), cache, slot)
    x = _causal(block.conv2, _norm_silu(block.norm2, x), cache, slot)
    return x.add_(kept)


def _attend(block: Any, x: Tensor) -> Tensor:
    """Attention of a frame's pixels among themselves, one head."""
    count, channels, height, width = x.shape
    qkv = block.to_qkv(_norm(block.norm, x)).permute(0, 2, 3, 1).reshape(count, 1, -1, 3 * channels)
    out = F.scaled_dot_product_attention(*qkv.chunk(3, dim=-1))
    out = out.reshape(count, height, width, channels).permute(0, 3, 1, 2)
    return block.proj(out).add_(x)  # type: ignore[no-any-return]


def _upsample(layer: Any, x: Tensor, cache: Cache, slot: Iterator[int]) -> Tensor:
    if layer.mode == "upsample3d":
        index = next(slot)
        if cache[index] is None:  # the first frame stays one frame, and is no past to later ones
            cache[index] = x.new_zeros(PAST, *x.shape[1:]).contiguous(memory_format=torch.channels_last)
        else:
            doubled = _causal(layer.time_conv, x, cache, iter([index])).unflatten(1, (2, -1))
            x = doubled.flatten(0, 1)  # (frames, 2, C, H, W): of the channels, each half is one of two frames
    upsample, conv = layer.resample
    return conv(upsample(x))  # type: ignore[no-any-return]


def _add_shortcut(shortcut: Any, x: Tensor, before: Tensor, first: bool) -> Tensor:
    """x + `DupUp3D`(before): channels dealt out over the places of a larger picture, each place a plain repeat."""
    times, sides, factor, repeats = shortcut.factor_t, shortcut.factor_s, shortcut.factor, shortcut.repeats
    assert factor % repeats == 0, "a decoder's stages do not widen"
    skipped = times - 1 if first else 0
    _, _, height, width = before.shape
    source = before.permute(0, 2, 3, 1)
    target = x.permute(0, 2, 3, 1).unflatten(2, (width, sides)).unflatten(1, (height, sides))
    for place in range(skipped * sides**2, factor):  # place: (time, row, column) as one number
        t, i, j = place // sides**2 - skipped, place // sides % sides, place % sides
        target[t :: times - skipped, :, i, :, j].add_(source[..., place // repeats :: factor // repeats])
    return x
