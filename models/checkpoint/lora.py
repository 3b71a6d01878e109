"""LoRA adapters in diffusers' (or the original Wan) layout, added into the transformer's weights for good.

W += scale * (alpha / rank) * B A (Hu et al., arXiv 2106.09685). That is what diffusers' `fuse_lora` leaves behind;
doing the sum here spares the dependency on peft and keeps the weights where the engine's views expect them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import WanLoraLoaderMixin
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.errors import ModelError

_PREFIX = "transformer."


@torch.no_grad()
def fuse_lora(transformer: Any, file: str | Path, scale: float = 1.0) -> int:
    """Add the adapter in `file` (one .safetensors) to `transformer`, in place. Returns how many layers it changed.

    Raises ModelError when it is not there, pickled, or not made for this transformer; then nothing is changed.
    """
    path = Path(file).expanduser()
    if path.suffix != ".safetensors":
        raise ModelError(f"the LoRA {file} is not a .safetensors file; convert it to one", code="model_pickled")
    if not path.is_file():
        raise ModelError(f"there is no LoRA file {file}", code="model_not_found")
    try:
        state, alphas = WanLoraLoaderMixin.lora_state_dict(str(path), use_safetensors=True), _alphas(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"the LoRA {file} cannot be read ({str(error)[:200]})") from error
    parameters = dict(transformer.named_parameters())
    changes: list[tuple[Tensor, Tensor]] = []
    used: set[str] = set()
    for name in sorted(state):
        if not name.endswith(".lora_A.weight"):
            continue
        layer = name.removesuffix(".lora_A.weight")
        up_name, target = f"{layer}.lora_B.weight", f"{layer.removeprefix(_PREFIX)}.weight"
        down, up, weight = state[name], state.get(up_name), parameters.get(target)
        if up is None or weight is None:
            what = "its other half" if up is None else f"a layer {target} in the model"
            raise ModelError(f"the LoRA {path.name} does not fit: {name} lacks {what}", code="model_shape")
        if (up.shape[0], down.shape[1]) != weight.flatten(1).shape or up.shape[1] != down.shape[0]:
            raise ModelError(
                f"the LoRA {path.name} does not fit: {layer} is {up.shape[0]}x{down.shape[1]} there and "
                f"{'x'.join(map(str, weight.shape))} in the model",
                code="model_shape",
            )
        rank = down.shape[0]
        alpha = float(state[f"{layer}.alpha"]) if f"{layer}.alpha" in state else alphas(layer, rank)
        changes.append((weight, (up.float() @ down.float()).mul_(scale * alpha / rank).view(weight.shape)))
        bias_name, bias = f"{layer}.lora_B.bias", parameters.get(f"{layer.removeprefix(_PREFIX)}.bias")
        if bias_name in state and bias is not None:
            changes.append((bias, state[bias_name].float() * (scale * alpha / rank)))
        used |= {name, up_name, f"{layer}.alpha", bias_name}
    unknown = sorted(set(state) - used)
    if unknown or not changes:
        raise ModelError(
            f"the LoRA {path.name} holds {unknown[0] if unknown else 'no layers'}, which cannot be fused; "
            "give a plain LoRA for this transformer",
            code="model_shape",
        )
    for parameter, change in changes:
        parameter.add_(change.to(parameter))
    return len({id(parameter) for parameter, _ in changes})


def _alphas(path: Path) -> Any:
    """layer, rank -> alpha from the adapter's own metadata; without any, alpha is the rank."""
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
    config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    default = config.get(f"{_PREFIX}lora_alpha")
    pattern = config.get(f"{_PREFIX}alpha_pattern") or {}

    def alpha(layer: str, rank: int) -> float:
        own = pattern.get(layer.removeprefix(_PREFIX), default)
        return float(rank if own is None else own)

    return alpha
