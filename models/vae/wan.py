"""Wan's VAE driven chunk by chunk: pictures to latents and back, with the state between calls in the caller's hands.

The VAE is causal: its first latent frame goes through alone, then any number at a time, as long as the two last inputs
of every causal convolution are carried over. diffusers keeps that cache on the module and clears it at both ends of
every call; here it is a value, so any number of streams share one VAE, and a copy of the state is a copy of a list.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify
from torch import Tensor

from models.vae import wan_decoder
from models.vae.base import VAEState
from models.vae.causal_conv import fold_causal_convs

FRAMES_AT_ONCE = 1  # latent frames decoded together on a GPU: three take 9.3 GB at 832x480, one takes 4.7


class WanVAE:
    """One Wan VAE, folded for speed. Stateless itself: streams bring their `VAEState`."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        fold_causal_convs(vae)
        parameter = next(vae.parameters())
        config, shape = vae.config, (1, -1, 1, 1, 1)
        self.device, self.dtype = parameter.device, parameter.dtype
        self.patch_size: int = config.patch_size or 1
        self.mean = torch.tensor(config.latents_mean, device=self.device).view(shape)
        self.std = torch.tensor(config.latents_std, device=self.device).view(shape)
        vae.clear_cache()
        self._slots = wan_decoder.slots(vae.decoder)
        self._encoder_slots = len(vae._enc_feat_map)

    @property
    def memory(self) -> int:
        """Latent frames the decoder's state can depend on: two a causal convolution, counted at its frame rate."""
        decoder, frames, rate = self.vae.decoder, 2.0 * 5, 1  # conv_in and the four of the middle
        for block in decoder.up_blocks:
            frames += 4.0 * len(block.resnets) / rate
            upsamplers = getattr(block, "upsamplers", None) or [getattr(block, "upsampler", None)]
            if getattr(upsamplers[0], "mode", None) == "upsample3d":
                frames += 2.0 / rate
                rate *= 2
        return math.ceil(frames + 2.0 / rate)

    def start(self) -> VAEState:
        """State of a decoder that has seen nothing."""
        return VAEState([None] * self._slots)

    def start_encoder(self) -> VAEState:
        """State of an encoder that has seen nothing."""
        return VAEState([None] * self._encoder_slots)

    @torch.no_grad()
    def decode(self, state: VAEState, latents: Tensor) -> Tensor:
        """Normalised latents (1, F, C, H, W) to uint8 (frames, H, W, 3): 1 + 4 (F - 1) frames at first, then 4 F."""
        return to_uint8(self.decode_float(state, latents))

    @torch.no_grad()
    def decode_float(self, state: VAEState, latents: Tensor) -> Tensor:
        """As `decode`, but (frames, H, W, 3) in -1..1."""
        z = latents.transpose(1, 2).to(self.dtype)
        z = z * self.std.to(z) + self.mean.to(z)
        z = self.vae.post_quant_conv(z)[0].transpose(0, 1)
        parts = []
        if not state.started:
            parts.append(wan_decoder.decode(self.vae.decoder, z[:1], state.cache))
            state.started, z = True, z[1:]
        if len(z):
            at_once = len(z) if self.device.type == "cpu" else FRAMES_AT_ONCE
            parts += [wan_decoder.decode(self.vae.decoder, some, state.cache) for some in z.split(at_once)]
        x = torch.cat(parts).permute(0, 2, 3, 1)  # (frames, h, w, 3 * patch * patch), the patch as (column, row)
        x = x.unflatten(3, (3, self.patch_size, self.patch_size)).permute(0, 1, 5, 2, 4, 3)
        return x.flatten(3, 4).flatten(1, 2).clamp_(-1.0, 1.0)  # type: ignore[no-any-return]

    @torch.no_grad()
    def encode(self, state: VAEState, frames: np.ndarray) -> Tensor:
        """uint8 (n, H, W, 3) to normalised latents (1, F, C, h, w). n is 1 + 4 k at the start, then 4 k."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(3, 0, 1, 2)[None]
        x = patchify(pixels.to(self.dtype) / 127.5 - 1.0, self.patch_size)
        parts = []
        if not state.started:
            parts.append(self.vae.encoder(x[:, :, :1], feat_cache=state.cache, feat_idx=[0]))
            state.started, x = True, x[:, :, 1:]
        if x.shape[2]:
            parts.append(self.vae.encoder(x, feat_cache=state.cache, feat_idx=[0]))
        moments = self.vae.quant_conv(torch.cat(parts, 2))
        mean = moments.chunk(2, dim=1)[0].float()
        return ((mean - self.mean) / self.std).to(moments.dtype).transpose(1, 2)  # type: ignore[no-any-return]


def to_uint8(frames: Tensor) -> Tensor:
    """-1..1 to 0..255, rounded to nearest."""
    return frames.float().mul(127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)
