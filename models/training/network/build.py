"""Networks at the start of a stage: fresh ones, and the moving average of an earlier stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AnyFlowFARTransformer3DModel
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from models.training.network.toy_text_encoder import build_text_encoder, build_tokenizer


def fresh(config: dict[str, Any]) -> tuple[Any, Any, PreTrainedTokenizerFast]:
    """Transformer, text encoder and tokenizer as they start."""
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config["transformer"].items()}
    return AnyFlowFARTransformer3DModel(**arguments), build_text_encoder(arguments["text_dim"]), build_tokenizer()


def load_average(path: Path, modules: dict[str, torch.nn.Module]) -> None:
    tensors = load_file(path)
    for name, module in modules.items():
        head = f"average/{name}."
        module.load_state_dict({k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)})
