"""Networks at the start of a stage: new weights, or the moving average of an earlier stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AnyFlowFARTransformer3DModel
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from models.training.network.toy_text_encoder import build_text_encoder, build_tokenizer


def fresh(config: dict[str, Any]) -> tuple[Any, Any, PreTrainedTokenizerFast]:
    """A new transformer, text encoder and tokenizer with random weights."""
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config["transformer"].items()}
    return AnyFlowFARTransformer3DModel(**arguments), build_text_encoder(arguments["text_dim"]), build_tokenizer()


def load_average(path: Path, modules: dict[str, torch.nn.Module]) -> None:
    """Load the averaged weights of a stage's state file `path` into `modules`, by name."""
    tensors = load_file(path)
    for name, module in modules.items():
        head = f"average/{name}."
        module.load_state_dict({k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)})
