"""Videos for training: a folder of them with captions, encoded once by the checkpoint's VAE.

Every NAME.mp4 has its caption in NAME.txt. Videos with too few frames are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from models.errors import MediaError
from models.media.read import fit_clip, read_clip
from models.vae.wan import WanVAE

SUFFIXES = (".mp4", ".webm", ".mkv", ".mov")


def captioned(folder: Path) -> Iterator[tuple[Path, str]]:
    """Videos of a folder and their captions, in the order of their names. Raises MediaError."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES] if folder.is_dir() else []
    if not found:
        raise MediaError(f"{folder} holds no videos ({', '.join(SUFFIXES)}); see [videos] folder")
    for path in found:
        text = path.with_suffix(".txt")
        if not text.is_file():
            raise MediaError(f"{path.name} has no caption; write one into {text.name}")
        yield path, " ".join(text.read_text(encoding="utf-8").split())


@torch.no_grad()
def encode_videos(
    vae: Any, folder: Path, out: Path, *, frames: int, width: int, height: int, fps: int = 16, part: int = 0,
    parts: int = 1,
) -> int:  # fmt: skip
    """Write normalised latents of the first `frames` frames of each video to `out`, captions beside it; their number.

    Only videos whose number is `part` modulo `parts`, so that processes can share the work. Raises MediaError.
    """
    wan_vae = WanVAE(vae)
    latents, captions = [], []
    chosen = [pair for number, pair in enumerate(captioned(folder)) if number % parts == part]
    for path, caption in tqdm(chosen, desc="encode", mininterval=5):
        clip, own_fps = read_clip(path, max_seconds=frames / fps + 1)
        pixels = fit_clip(clip, own_fps, width=width, height=height, fps=fps)
        if len(pixels) < frames:
            continue
        latents.append(wan_vae.encode(wan_vae.start_encoder(), pixels[:frames])[0].to("cpu", torch.float16))
        captions.append(caption)
    if not latents:
        raise MediaError(f"no video in {folder} has {frames} frames at {fps} a second; see [videos] frames")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"latents": torch.stack(latents).contiguous()}, out)
    out.with_suffix(".txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    return len(latents)
