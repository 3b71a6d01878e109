"""Stage one: the VAE on the toy world.

Trains diffusers' AutoencoderKLWan on short clips: crops first, whole pictures at the end. The loss is squared error,
then also L1 on pixels and on their differences (edges), and a light KL term (Kingma & Welling, arXiv 1312.6114).
Temporal resampling in the Wan VAE happens only while its feature cache is threaded through, so training drives encoder
and decoder as streaming does: the first frame alone, then the rest in one call.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from models.toyworld import random_scene, render, simulate
from models.training.run import Average, Run, learning_rate, rank_and_world, share_gradients
from models.vae.causal_conv import fold_causal_convs


@dataclass(frozen=True)
class VaeConfig:
    """Every choice of this stage. `model` holds the arguments of AutoencoderKLWan."""

    out: str
    model: dict[str, object]
    size: int = 128  # pixels a side of the clips
    steps: int = 2000
    pictures: float = 0.15  # the first part of training sees single frames: cheap, and they teach shapes and colours
    long_from: float = 0.5  # from here on clips are long: an endless stream lives far from a clip's padded start
    whole_from: float = 0.92  # the last part sees whole pictures instead of crops
    batch: int = 8
    crop: int = 48
    frames: int = 9
    long_frames: int = 33
    pool: int = 400
    rate: float = 2e-3
    kl: float = 2e-5
    edges: float = 0.1
    seed: int = 0
    save_every: int = 200
    held_out: int = 24  # clips that measure the result
    # Go on from the VAE in `start`, by default with its encoder, and so its latents, left as they are: what a
    # transformer has learned stays valid. `jitter` is noise on the latents, in units of their spread, as a
    # transformer's own have.
    start: str = ""
    jitter: float = 0.0
    encoder: bool = False  # with `start`: the encoder learns on too, and latents have to be made again
    device: torch.device = torch.device("cpu")  # noqa: RUF009


def train_vae(config: VaeConfig, folder: Path) -> None:
    """Train, then write the model with measured latent mean and std to `config.out`."""
    torch.manual_seed(config.seed)
    vae: Any
    if config.start:
        vae = AutoencoderKLWan.from_pretrained(config.start)
        vae.encoder.requires_grad_(config.encoder)
        vae.quant_conv.requires_grad_(config.encoder)
    else:
        vae = AutoencoderKLWan(**config.model)
        start_weights(vae)
    fold_causal_convs(vae)
    vae.to(config.device)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    shaken = config.jitter * torch.tensor(vae.config.latents_std).view(-1, 1, 1, 1).to(config.device)
    average = Average({"vae": vae}, decay=0.995)
    run = Run(folder, {"vae": vae}, optimizer, average)
    run.resume()
    rank, _ = rank_and_world()
    rng = np.random.default_rng(config.seed + run.step + 100 * rank)
    torch.manual_seed(config.seed + run.step + 100 * rank)  # the noise of the latents differs between processes
    pool = clip_pool(config.pool, config.long_frames, config.size, rng)
    bar = tqdm(total=config.steps, initial=run.step, desc="vae", mininterval=5, disable=rank > 0)
    while run.step < config.steps:
        done = run.step / config.steps
        pictures = done < config.pictures
        x = batch(pool, config, rng, done).to(config.device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run.step, config.steps, config.rate)
        with torch.set_grad_enabled(config.encoder or not config.start):
            mean, logvar = encode_moments(vae, x)
        spread = shaken if config.start else torch.exp(0.5 * logvar)
        y = decode(vae, mean + torch.randn_like(mean) * spread)
        pixel = F.mse_loss(y, x)
        edge = sum(F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in ((3, 4) if pictures else (2, 3, 4)))
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        # Edges and absolute error only once pictures stand: earlier they pull everything towards grey.
        sharpen = 0.0 if pictures else config.edges
        loss = pixel + sharpen * (edge + F.l1_loss(y, x)) + config.kl * kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        share_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.update({"vae": vae}, run.step)
        run.step += 1
        bar.update()
        if rank == 0 and run.step % 20 == 0:
            psnr = -10 * torch.log10(F.mse_loss(y, x) / 4)
            run.log(loss=loss.item(), pixel=pixel.item(), kl=kl.item(), psnr=psnr.item())
            bar.set_postfix(psnr=f"{psnr:.1f}", kl=f"{kl:.2f}")
        if rank == 0 and run.step % config.save_every == 0:
            run.save()
    if rank > 0:
        return
    run.save()
    run.plot(["loss", "pixel"])
    average.copy_to({"vae": vae})
    finish(vae, Path(config.out), config)


@torch.no_grad()
def finish(vae: Any, out: Path, config: VaeConfig) -> None:
    """Measure latents and reconstruction on clips that training never saw; write the model."""
    rng = np.random.default_rng(10_000 + config.seed)
    held_out = clip_pool(config.held_out, 49, config.size, rng)
    latents, errors = [], []
    for clip in held_out:
        x = to_tensor(clip)[None].to(vae.device)
        mean, _ = encode_moments(vae, x)
        errors.append(F.mse_loss(decode(vae, mean).clamp(-1, 1), x).item())
        latents.append(mean[0].cpu())
    stack = torch.stack(latents).transpose(0, 1).flatten(1)  # (C, everything)
    spread = stack.std(1)
    # A channel that carries next to nothing is not blown up to unit size: that would be noise to learn.
    spread = spread.clamp(min=0.3 * float(spread.max()))
    if config.encoder or not config.start:
        vae.register_to_config(latents_mean=stack.mean(1).tolist(), latents_std=spread.tolist())
    vae.save_pretrained(out, safe_serialization=True)
    psnr = float(np.mean([-10 * np.log10(e / 4) for e in errors]))
    report = {"psnr_held_out_db": round(psnr, 2), "clips": len(held_out), "latent_std": stack.std(1).tolist()}
    (out / "report.json").write_text(json.dumps(report))
    print(json.dumps(report))


def start_weights(vae: Any) -> None:
    """Begin as a network of pictures: the newest frame's tap carries the signal, older taps start at zero.

    PyTorch's default init shrinks activations layer after layer, and this VAE normalises every pixel, so what tells one
    picture from another starts hundreds of times smaller than the biases and training idles for thousands of steps.
    """
    for name, module in vae.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.Conv3d)):
            continue
        weight = module.weight
        with torch.no_grad():
            if module.bias is not None:
                module.bias.zero_()
            newest = weight[:, :, -1] if weight.dim() == 5 else weight
            weight.zero_()
            # After SiLU the mean square is about a third: 1.7 brings it back to one.
            gain = (
                0.5
                if name.endswith(("conv2", "proj", "resample.1"))
                else 1.7
                if name.endswith(("conv1", "conv_out"))
                else 1.0
            )
            if name.endswith("time_conv"):
                for half in newest.split(newest.shape[1]):
                    half.copy_(torch.eye(newest.shape[1])[:, :, None, None])
            else:
                newest.normal_(0.0, gain / math.sqrt(newest[0].numel()))
    with torch.no_grad():
        vae.quant_conv.bias[vae.config.z_dim :] = -6.0  # little noise at first


def clip_pool(count: int, frames: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(count, frames, size, size, 3) clips; a third of them change scene half-way."""
    clips = []
    for _ in tqdm(range(count), desc="draw clips", mininterval=5):
        cuts = [(0, random_scene(rng))]
        if rng.random() < 0.33:
            cuts.append((int(rng.integers(1, frames)), random_scene(rng)))
        clips.append(render(simulate(cuts, frames, rng), size))
    return np.stack(clips)


def batch(pool: NDArray[np.uint8], config: VaeConfig, rng: np.random.Generator, done: float) -> torch.Tensor:
    """(B, 3, T, h, w) in [-1, 1] for training at `done` (0..1) of its way; B falls as clips and crops grow."""
    size = pool.shape[2]
    whole = done >= config.whole_from
    side = size if whole else config.crop
    frames = 1 if done < config.pictures else config.frames
    if config.long_from <= done < config.whole_from:
        frames = config.long_frames
    # Pictures cost less than clips of the same pixel count are worth: take more of them.
    work = config.batch * (3 if frames == 1 else config.frames / frames) * (config.crop / side) ** 2
    items = []
    for _ in range(max(1, round(work))):
        clip = pool[rng.integers(len(pool))]
        start = rng.integers(len(clip) - frames + 1)
        corners = rng.integers(size - side + 1, size=(1 if whole else 4, 2))
        crops = [clip[start : start + frames, top : top + side, left : left + side] for top, left in corners]
        items.append(to_tensor(max(crops, key=lambda crop: float(crop[0].std()))))  # where there is something to see
    return torch.stack(items)


def to_tensor(clip: NDArray[np.uint8]) -> torch.Tensor:
    """(T, H, W, 3) uint8 to (3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(clip)).permute(3, 0, 1, 2).float() / 127.5 - 1


def encode_moments(vae: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log-variance, each (B, z, 1 + (T - 1) / 4, H', W'), of clips (B, 3, T, H, W); T = 1 + 4 n."""
    patch = vae.config.patch_size
    x = patchify(x, patch_size=patch) if patch else x
    cache: list[torch.Tensor | None] = [None] * vae._cached_conv_counts["encoder"]
    parts = [vae.encoder(x[:, :, :1], feat_cache=cache, feat_idx=[0])]
    if x.shape[2] > 1:
        parts.append(vae.encoder(x[:, :, 1:], feat_cache=cache, feat_idx=[0]))
    mean, logvar = vae.quant_conv(torch.cat(parts, dim=2)).chunk(2, dim=1)
    return mean, logvar.clamp(-20, 10)


def decode(vae: Any, z: torch.Tensor) -> torch.Tensor:
    """(B, z, L, H', W') to (B, 3, 1 + 4 (L - 1), H, W), not clamped."""
    z = vae.post_quant_conv(z)
    cache: list[torch.Tensor | None] = [None] * vae._cached_conv_counts["decoder"]
    parts = [vae.decoder(z[:, :, :1], feat_cache=cache, feat_idx=[0], first_chunk=True)]
    if z.shape[2] > 1:
        parts.append(vae.decoder(z[:, :, 1:], feat_cache=cache, feat_idx=[0]))
    x = torch.cat(parts, dim=2)
    patch = vae.config.patch_size
    return unpatchify(x, patch_size=patch) if patch else x
