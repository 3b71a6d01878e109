"""A checkpoint, opened: the five parts of a pipeline and what is known about them.

`open_bundle` reads a folder or hub id in diffusers layout (`models.checkpoint.files` checks it first); `random_bundle`
makes one with random weights at a published size. A bundle is shared by all rollouts and holds no state of any.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from models.checkpoint.device import pick_device, pick_dtype
from models.checkpoint.families import ANYFLOW_FAR, Family
from models.checkpoint.files import find_bundle, load_parts
from models.checkpoint.limits import read_limits
from models.checkpoint.lora import fuse_lora
from models.checkpoint.vocabulary import Vocabulary
from models.errors import ModelError
from models.network.execution import EXECUTIONS, check_execution
from models.network.text_encoder import PromptEncoder
from models.network.transformer import StreamingTransformer
from models.vae.base import Decoder
from models.vae.taehv import TinyDecoder, open_tiny_decoder
from models.vae.wan import WanVAE

TINY = Path(__file__).parents[1] / "tiny"
CARD = "farcast.json"  # optional beside model_index.json, see `save_bundle`
DEFAULT_EXAMPLES = (
    "a big red circle bouncing on a navy background",
    "a small yellow star spinning on a black background",
)


@dataclass(frozen=True)
class Bundle:
    """Everything needed to stream. width, height: pixels; fps: frames a second; chunk_frames: latent frames a chunk."""

    transformer: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype
    name: str
    width: int
    height: int
    fps: int = 16
    examples: tuple[str, ...] = DEFAULT_EXAMPLES
    guidance: float = 1.0  # classifier-free guidance it looks best under; 1 = off, as for distilled checkpoints
    guidance_range: tuple[float, float] | None = None  # guidance that does not damage the picture; None = not measured
    steps: int | None = None  # from this step count on more steps measure no better; None = not measured
    vocabulary: Vocabulary | None = None  # of a checkpoint trained on a closed vocabulary
    tiny_decoder: TinyDecoder | None = None  # stands in for the VAE's decoder where a user supplies one
    execution: str = "eager"  # how passes through the network run, see `models.network.execution.EXECUTIONS`
    family: Family = ANYFLOW_FAR
    adapters: tuple[tuple[str, float], ...] = ()  # LoRAs fused into the transformer: (hash of the file, scale)

    @property
    def chunk_frames(self) -> int:
        """Latent frames of a full chunk."""
        return max(self.partition)

    @property
    def first_chunk_frames(self) -> int:
        """Latent frames of the first chunk of a shot."""
        return self.partition[0]

    @property
    def streams(self) -> bool:
        """False for bidirectional checkpoints, which only `generate` can run."""
        return self.family.network is not None

    @property
    def fixed_sigmas(self) -> tuple[float, ...]:
        """The noise levels that the model must run at, 1 down to 0; () = any (`models.rollout.flowmap.schedule`)."""
        return () if self.family.sigmas is None else self.family.sigmas(self.scheduler.config)

    @property
    def sampler(self) -> str:
        """How a chunk is denoised, see `models.rollout.state.RolloutState`."""
        return "renoise" if self.fixed_sigmas else "flowmap"

    @property
    def near_chunks(self) -> int:
        """Chunks of context at full resolution."""
        return self.family.near_chunks(self.transformer.config)

    @property
    def partition(self) -> tuple[int, ...]:
        """Latent frames of each chunk of the longest video the model was trained on."""
        return self.family.partition(self.transformer.config)

    @property
    def frames_per_latent(self) -> int:
        """Pixel frames every latent frame but the first stands for."""
        return int(self.vae.config.scale_factor_temporal or 4)

    @property
    def shift(self) -> float:
        """Shift of the sigma schedule."""
        return float(self.scheduler.config.shift)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent frame."""
        factor = int(self.vae.config.scale_factor_spatial or 8)
        return int(self.transformer.config.in_channels), self.height // factor, self.width // factor

    @cached_property
    def network(self) -> StreamingTransformer:
        """The streaming forward passes over `transformer`."""
        if self.family.network is None:
            raise ModelError(
                f"{self.name} is a bidirectional checkpoint and cannot stream; open a FAR one "
                "(nvidia/AnyFlow-FAR-...), or use `farcast generate`, which runs it offline",
                code="model_cannot_stream",
            )
        return self.family.network(self.transformer, EXECUTIONS[check_execution(self.execution, self.device)]())

    @cached_property
    def wan_vae(self) -> WanVAE:
        """The VAE, chunk by chunk."""
        return WanVAE(self.vae)

    @property
    def decoder(self) -> Decoder:
        """Latents to frames: the tiny decoder if there is one, else the VAE's."""
        return self.tiny_decoder or self.wan_vae

    @cached_property
    def prompts(self) -> PromptEncoder:
        """The text encoder."""
        return PromptEncoder(self.text_encoder, self.tokenizer)


def open_bundle(
    source: str | Path | None = None, *, device: str = "auto", dtype: torch.dtype | None = None,
    width: int | None = None, height: int | None = None, lora: Sequence[str | Path | tuple[str | Path, float]] = (),
    decoder: str | Path | None = None, execution: str = "eager",
) -> Bundle:  # fmt: skip
    """Open a checkpoint: a folder, a hub id, or None for the embedded model. Raises ModelError.

    lora: adapters to fuse, each a .safetensors file or (file, scale). decoder: a TAEHV file (`models.vae.taehv`).
    execution: "eager", or for a GPU "compile", "graphs", "compile+graphs": slower to start, quicker a step.
    device: "auto" takes a GPU when there is one. dtype: None takes bfloat16 on a GPU and float32 on a CPU.
    """
    if source is None:
        source = TINY
        if not (TINY / "model_index.json").is_file():
            raise ModelError(
                "the embedded model is not in this installation; name a folder or a hub id with --model",
                code="model_not_found",
            )
    place = pick_device(device)
    check_execution(execution, place)
    kind = dtype or pick_dtype(place)
    folder = find_bundle(source)
    parts, family = load_parts(folder, place, kind)
    card = _read_card(folder)
    try:
        limits = read_limits(card)
    except ModelError as error:
        raise ModelError(f"{folder / CARD} cannot be used: {error}; correct it or delete it") from error
    factor = int(parts["vae"].config.scale_factor_spatial or 8)
    default = (832, 480) if factor == 8 else (128, 128)
    bundle = Bundle(
        **parts, device=place, dtype=kind, family=family,
        name=str(card.get("name", folder.name if Path(source).exists() else source)),
        width=width or int(card.get("width", default[0])),
        height=height or int(card.get("height", default[1])),
        fps=int(card.get("fps", 16)),
        examples=tuple(card.get("examples", DEFAULT_EXAMPLES)),
        guidance=float(card.get("guidance", 1.0)),
        **limits,
        execution=execution,
    )  # fmt: skip
    check_sizes(bundle)
    return customise(bundle, decoder=decoder, lora=lora)


def customise(
    bundle: Bundle, *, decoder: str | Path | None = None, lora: Sequence[str | Path | tuple[str | Path, float]] = ()
) -> Bundle:
    """The bundle with a user's decoder and adapters, see `open_bundle`. LoRAs are fused in place. Raises ModelError."""
    if decoder is not None:
        if int(bundle.vae.config.scale_factor_spatial or 8) != 8:
            raise ModelError(f"{bundle.name} has latents of another kind; the tiny decoder is for Wan 2.1 ones")
        tiny = open_tiny_decoder(decoder, device=bundle.device, dtype=bundle.dtype, channels=bundle.latent_shape[0])
        bundle = replace(bundle, tiny_decoder=tiny)
    fused = []
    for adapter in lora:
        file, scale = adapter if isinstance(adapter, tuple) else (adapter, 1.0)
        fuse_lora(bundle.transformer, file, scale)
        fused.append((hashlib.sha256(Path(file).expanduser().read_bytes()).hexdigest(), scale))
    return replace(bundle, adapters=(*bundle.adapters, *fused))


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Write `bundle` in diffusers layout with safetensors, and its `farcast.json`.

    That has name, width, height, fps, examples and guidance, and where they are known steps, guidance_range and the
    entries of `Vocabulary.card`.
    """
    import diffusers

    cls: Any = getattr(diffusers, bundle.family.pipeline)
    pipeline = cls(
        tokenizer=bundle.tokenizer, text_encoder=bundle.text_encoder, transformer=bundle.transformer,
        vae=bundle.vae, scheduler=bundle.scheduler,
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    card = {key: getattr(bundle, key) for key in ("name", "width", "height", "fps", "examples", "guidance")}
    card |= {key: value for key in ("guidance_range", "steps") if (value := getattr(bundle, key)) is not None}
    card |= bundle.vocabulary.card() if bundle.vocabulary is not None else {}
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def check_sizes(bundle: Bundle) -> None:
    """ModelError when the picture size cannot be cut into the model's patches."""
    factor = int(bundle.vae.config.scale_factor_spatial or 8)
    config = bundle.transformer.config
    patch = getattr(config, "compressed_patch_size", config.patch_size)
    for side, value, cells in (("height", bundle.height, patch[1]), ("width", bundle.width, patch[2])):
        unit = factor * cells
        if value < unit or value % unit:
            below, above = max(unit, value // unit * unit), value // unit * unit + unit
            raise ModelError(
                f"{side} is {value}; it must be a multiple of {unit} for this model, such as {below} or {above}",
                code="invalid_size",
            )


def _read_card(folder: Path) -> Mapping[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / CARD} cannot be read ({error}); correct it or delete it") from error
    if not isinstance(card, dict):
        raise ModelError(f"{folder / CARD} must hold one JSON object; correct it or delete it")
    return card


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it would warn after a fork, and prompts are short
