"""The finer VAE's decoder learns: crisp pictures from the latents that there are.

The latents stay as they are (`finer`), so what a transformer has learned stays valid. The decoder sees them as the
encoder makes them, shaken, and redrawn by a transformer, whose own are never quite right. First crops, from a clip's
first frame on; then by turns whole pictures anywhere in a long clip, the frames before them decoded without gradient,
because an endless stream lives far from a clip's start; at last those alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from torch import Tensor, nn
from tqdm import tqdm

from models.checkpoint.bundle import open_bundle
from models.training.losses.crispness import crispness
from models.training.muon import Muon
from models.training.run import Average, Run
from models.training.vae.finer import finer_vae
from models.training.vae.long_clips import LongClips, Redraw, draw_clip
from models.training.vae.redrawn_latents import redraw
from models.training.vae.train import decode, encode_moments, to_tensor
from models.vae.causal_conv import fold_causal_convs


@dataclass(frozen=True)
class DecoderConfig:
    """Every choice of this stage. size: pixels a side of the finer pictures."""

    start: str  # folder of the VAE to begin from, for pictures half as large
    out: str
    size: int
    steps: int = 9000
    batch: int = 6  # crops; of whole pictures a third as many
    whole_from: float = 0.3  # from here on every second step sees whole pictures
    only_whole_from: float = 0.7
    single_from: float = 0.92  # single precision at the end; before, bfloat16, for processors that are quicker with it
    rate: float = 2.5e-3
    strength: float = 0.7  # weight of how strong edges are, wherever they are
    strength_from: float = 0.5
    jitter: float = 0.12  # the most noise on a clip's latents, in units of their spread
    takes: str = ""  # checkpoint whose transformer redraws clips; "" leaves that out
    redrawn: float = 0.45  # share of the whole pictures without a cut that come redrawn
    pool: int = 350  # clips kept at a time; every fourth step draws a new one
    cuts: float = 0.15  # share of the clips that change scene on the way
    seed: int = 0
    save_every: int = 400
    held_out: int = 24  # clips that measure the result
    device: torch.device = torch.device("cpu")  # noqa: RUF009


def train_decoder(config: DecoderConfig, folder: Path) -> None:
    """Train the decoder, then write the VAE to `config.out`."""
    vae = begin(config.start, config.seed).to(config.device)
    parts = {"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}
    average = Average(parts, decay=0.995)
    optimizer = optimizer_of(vae, config.rate)
    run = Run(folder, parts, optimizer, average)
    run.resume()
    rng = np.random.default_rng(config.seed + run.step)
    torch.manual_seed(config.seed + run.step)
    clips = LongClips(
        vae, size=config.size, count=config.pool, cuts=config.cuts, rng=rng, redrawn=config.redrawn,
        shake=partial(shaken, vae=vae, most=config.jitter), redraw=redrawing(config.takes, vae, rng),
    )  # fmt: skip
    parameters = [p for p in vae.parameters() if p.requires_grad]
    bar = tqdm(total=config.steps, initial=run.step, desc="decoder", mininterval=5)
    while run.step < config.steps:
        done = run.step / config.steps
        for group in optimizer.param_groups:
            group["lr"] = config.rate * slope(done) * min(1.0, (run.step + 1) / 40)
        if run.step % 4 == 0:
            clips.renew()
        whole = done >= config.only_whole_from or (done >= config.whole_from and run.step % 2 == 0)
        part = clips.whole(max(1, config.batch // 3)) if whole else clips.crops(config.batch)
        half = done < config.single_from
        # Not cached: what autocast converts while the first frames go without gradient would go without ever after.
        with torch.autocast(config.device.type, dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            made = decode_part(vae, part.latents, part.warm)
        loss = crispness(made, part.true)
        optimizer.zero_grad(set_to_none=True)
        loss.total(config.strength if done >= config.strength_from else 0.0).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.update(parts, run.step)
        run.step += 1
        bar.update()
        if run.step % 20 == 0:
            run.log(
                pixels=loss.pixels.item(), edges=loss.edges.item(), changes=loss.changes.item(),
                strength=loss.strength.item(),
            )  # fmt: skip
        if run.step % config.save_every == 0:
            run.save()
    run.save()
    run.plot(["pixels", "edges", "changes", "strength"])
    average.copy_to(parts)
    Path(config.out).mkdir(parents=True, exist_ok=True)
    report = {"psnr_held_out_db": round(fidelity(vae, config), 2), "clips": config.held_out}
    (Path(config.out) / "report.json").write_text(json.dumps(report))
    vae.save_pretrained(config.out, safe_serialization=True)


def begin(folder: str, seed: int) -> Any:
    """The VAE to train, its encoder as it stays."""
    vae = finer_vae(AutoencoderKLWan.from_pretrained(folder), seed=seed)
    fold_causal_convs(vae)
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    vae.post_quant_conv.requires_grad_(True)
    return vae


def optimizer_of(vae: Any, rate: float) -> Muon:
    """Muon for the kernels inside, AdamW for biases and for what stands at either end."""
    inner: list[nn.Parameter] = []
    rest: list[nn.Parameter] = list(vae.post_quant_conv.parameters())
    for name, parameter in vae.decoder.named_parameters():
        end = name.startswith(("conv_in.", "conv_out."))
        (rest if end or parameter.dim() == 1 else inner).append(parameter)
    return Muon(inner, rest, rate)


def slope(done: float) -> float:
    """The rate over the way, as a share of its peak: level at first, then a cosine almost to nothing."""
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * max(0.0, (done - 0.15) / 0.85)))


def shaken(latents: Tensor, vae: Any, most: float) -> Tensor:
    """Noise as a transformer's latents have it: much in one clip, none in another; most of it white, some smooth."""
    count, channels, *shape = latents.shape
    level = most * torch.rand(count, 1, 1, 1, 1) * (torch.rand(count, 1, 1, 1, 1) > 0.25)
    level = level * torch.tensor(vae.config.latents_std).view(-1, 1, 1, 1)
    coarse = torch.randn(count, channels, *(max(1, side // 3) for side in shape))
    smooth = F.interpolate(coarse, shape, mode="trilinear")
    return latents + ((0.85 * torch.randn(latents.shape) + 0.35 * smooth) * level).to(latents)


def redrawing(checkpoint: str, vae: Any, rng: np.random.Generator) -> Redraw | None:
    """How the transformer of `checkpoint` redraws latents: from noise levels at which the outline still stands."""
    if not checkpoint:
        return None
    bundle = open_bundle(checkpoint, device=str(vae.device))
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))

    def redrawn(latents: Tensor, words: str) -> Tensor:
        true = ((latents - mean.to(latents)) / std.to(latents)).transpose(1, 2)
        made = redraw(bundle, true, words, [float(rng.uniform(0.2, 0.5)), 0.0])
        return made.to(latents).transpose(1, 2) * std.to(latents) + mean.to(latents)

    return redrawn


def decode_part(vae: Any, latents: Tensor, warm: int) -> Tensor:
    """The pictures (B, 3, T, H, W) of all latent frames but the first `warm`, and gradient from those alone."""
    cache: list[Tensor | None] = [None] * vae._cached_conv_counts["decoder"]
    made, z = [], latents
    if warm:
        with torch.no_grad():
            _pass(vae, z[:, :, :1], cache, first_chunk=True)
            if warm > 1:
                _pass(vae, z[:, :, 1:warm], cache)
    else:
        made.append(_pass(vae, z[:, :, :1], cache, first_chunk=True))
    if z.shape[2] > max(1, warm):
        made.append(_pass(vae, z[:, :, max(1, warm) :], cache))
    return unpatchify(torch.cat(made, 2).float(), patch_size=vae.config.patch_size)  # type: ignore[no-any-return]


def _pass(vae: Any, latents: Tensor, cache: list[Tensor | None], **which: bool) -> Any:
    return vae.decoder(vae.post_quant_conv(latents), feat_cache=cache, feat_idx=[0], **which)


@torch.no_grad()
def fidelity(vae: Any, config: DecoderConfig) -> float:
    """PSNR on clips without a cut that training never saw, dB."""
    rng, errors = np.random.default_rng(10_000 + config.seed), []
    for _ in range(config.held_out):
        true = to_tensor(draw_clip(config.size, 0.0, rng).pixels)[None].to(config.device)
        made = decode(vae, encode_moments(vae, true)[0]).clamp(-1, 1)
        errors.append(-10 * math.log10(float(F.mse_loss(made, true)) / 4))
    return float(np.mean(errors))
