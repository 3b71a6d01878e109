"""A network, clips and a stage of distillation that are small enough to train in a test."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AnyFlowFARTransformer3DModel

from models.training.data.toy_clips import LatentClips
from models.training.data.windows import WorldClips
from models.training.distill import Distillation, Distiller
from models.training.network.passes import Network
from models.training.network.toy_text_encoder import build_text_encoder, build_tokenizer

STAGE = Distillation(
    steps=4, windows=(0.3, 0.3, 0.4), batch=(3,), fake_first=1, save_every=2, pairs=(0.5, 0.25, 0.25), guidance=3.0,
    weight="beta08", shift=5.0,
)  # fmt: skip


def network(*, checkpoint: bool = False) -> Network:
    torch.manual_seed(0)
    transformer = AnyFlowFARTransformer3DModel(
        num_attention_heads=2, attention_head_dim=24, in_channels=4, out_channels=4, text_dim=16, freq_dim=16,
        ffn_dim=32, num_layers=2, chunk_partition=(1, 3, 3, 3, 3),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return Network(transformer, build_text_encoder(16, 1).eval(), build_tokenizer(captions=50), checkpoint=checkpoint)


def clips(chunks: int = 4, count: int = 4) -> WorldClips:
    torch.manual_seed(3)
    scenes = torch.zeros(count, chunks, 5, dtype=torch.uint8)
    scenes[1:, chunks // 2 :, 1] = 3  # a change of colour in mid-clip
    return WorldClips(LatentClips(torch.randn(count, 1 + 3 * (chunks - 1), 4, 8, 8), scenes))


def distiller(folder: Path, stage: Distillation = STAGE) -> Distiller:
    return Distiller(network(), network(), network(), clips(), clips(1), stage, folder)
