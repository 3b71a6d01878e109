"""Training at the published sizes: start from a Wan 2.1 checkpoint, train LoRA adapters.

AnyFlow (arXiv 2605.13724) starts its causal student from bidirectional Wan weights: coarse patches by interpolation of
the fine ones (FAR, arXiv 2503.19325), the embedding of r as a copy of that of t, so that at r = t nothing has changed.
Then it trains adapters of rank 256 (LoRA, arXiv 2106.09685) on attention, feed-forward and time layers, and all weights
of the coarse patches. Adapters are peft's, added by diffusers, and a stage saves only what is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AnyFlowFARTransformer3DModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, UMT5EncoderModel

from models.checkpoint.files import find_bundle
from models.errors import ModelError
from models.training.run import device_of


@dataclass(frozen=True)
class Lora:
    """rank, alpha; targets: parts of the names of layers that get an adapter; whole: of those trained whole."""

    rank: int
    targets: tuple[str, ...]
    alpha: int = 0  # 0: as the rank
    whole: tuple[str, ...] = ()


def start_from_wan(transformer: Any, folder: Path) -> None:
    """Load the weights of a Wan or FAR transformer into an `AnyFlowFARTransformer3DModel`. Raises ModelError."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} has no weights (*.safetensors); give a checkpoint in diffusers layout")
    missing = set(transformer.state_dict())
    for file in files:
        tensors = load_file(file)
        try:
            result = transformer.load_state_dict(tensors, strict=False)
        except RuntimeError as error:
            raise ModelError(f"{file} is of another size than [transformer] says ({str(error)[:200]})") from error
        if result.unexpected_keys:
            raise ModelError(f"{file} holds {result.unexpected_keys[0]}, which a Wan 2.1 text-to-video model has not")
        missing -= set(tensors)
    new = {name for name in missing if name.startswith(("far_patch_embedding.", "condition_embedder.delta_embedder."))}
    if missing - new:
        raise ModelError(f"{folder} lacks {sorted(missing - new)[0]}; fetch the checkpoint again")
    if any(name.startswith("far_patch_embedding.") for name in new):
        coarsen_patches(transformer)
    if any("delta_embedder" in name for name in new):
        embedder = transformer.condition_embedder
        embedder.delta_embedder.load_state_dict(embedder.time_embedder.state_dict())


@torch.no_grad()
def coarsen_patches(transformer: Any) -> None:
    """Initialise the embedding of coarse patches by trilinear interpolation of the fine one's kernels."""
    fine, coarse = transformer.patch_embedding, transformer.far_patch_embedding
    kernels = fine.weight.view(-1, 1, *fine.kernel_size)
    wider = F.interpolate(kernels, size=coarse.kernel_size, mode="trilinear", align_corners=False)
    coarse.weight.copy_(wider.view_as(coarse.weight))
    coarse.bias.copy_(fine.bias)


def add_adapters(transformer: Any, lora: Lora) -> None:
    """Adapters on the linear layers whose names hold one of `lora.targets`; all else is frozen but for `whole`."""
    try:
        from peft import LoraConfig
    except ImportError:
        raise ModelError("adapters need peft: pip install '.[train]' in the checkout") from None
    names = [
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and any(target in name for target in lora.targets)
    ]
    if not names:
        raise ModelError(f"no linear layer is called like {', '.join(lora.targets)}; see [lora] targets")
    transformer.requires_grad_(False)
    transformer.add_adapter(
        LoraConfig(r=lora.rank, lora_alpha=lora.alpha or lora.rank, target_modules=names, lora_dropout=0.0, bias="none")
    )
    for name, parameter in transformer.named_parameters():
        if any(part in name for part in lora.whole):
            parameter.requires_grad_(True)


def fuse_adapters(transformer: Any) -> None:
    """Merge the adapters into the weights and remove them."""
    transformer.fuse_lora()
    transformer.unload_lora()


class TrainedOnly(nn.Module):
    """A module whose state dict is its trainable parameters, which is all that a stage saves."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._whole = (module,)  # in a tuple, so that it is not registered as a submodule

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]
        return {name: p for name, p in self._whole[0].named_parameters() if p.requires_grad}

    def load_state_dict(self, state: Mapping[str, Any], *_: Any, **__: Any) -> Any:  # type: ignore[override]
        known = {name for name, p in self._whole[0].named_parameters() if p.requires_grad}
        if known != set(state):
            strange = sorted(known ^ set(state))[0]
            raise ModelError(f"the saved stage has other adapters than [lora] says ({strange})")
        return self._whole[0].load_state_dict(state, strict=False)


def lora_settings(config: Mapping[str, Any], stage: str) -> Lora | None:
    """The adapters of a stage: its own `lora` table or the config's; None where weights are trained whole."""
    table = config.get(stage, {}).get("lora") or config.get("lora")
    if not table:
        return None
    choices: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return Lora(**choices)


def open_parts(config: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Transformer, frozen text encoder and tokenizer of a config's `checkpoint`, on its `device`. Raises ModelError."""
    folder = find_bundle(str(config["checkpoint"]))
    device = device_of(config)
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in config["transformer"].items()}
    model = AnyFlowFARTransformer3DModel(**arguments)
    start_from_wan(model, folder / "transformer")
    return model.to(device), *_text_parts(folder, device)


@cache
def _text_parts(folder: Path, device: torch.device) -> tuple[Any, Any]:
    """Text encoder and tokenizer, loaded once for all networks of a stage."""
    try:
        kind = torch.bfloat16 if device.type == "cuda" else torch.float32
        text_encoder = UMT5EncoderModel.from_pretrained(folder / "text_encoder", use_safetensors=True, dtype=kind)
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"the text encoder or tokenizer in {folder} cannot be read ({error})") from error
    return text_encoder.to(device).eval().requires_grad_(False), tokenizer


def load_trained(transformer: Any, path: Path) -> None:
    """Load the averaged weights of a stage that trained adapters."""
    tensors = load_file(path)
    head = "average/transformer."
    TrainedOnly(transformer).load_state_dict(
        {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
    )
