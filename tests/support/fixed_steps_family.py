"""A second model family, in one entry: a Wan transformer made causal, at a fixed list of steps with re-noising.

Self-Forcing checkpoints are of this kind (arXiv 2506.08009): chunks of three latent frames, x0 predicted from the
velocity at each of four noise levels, noised again to the next, all context at full resolution.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from torch import Tensor

from models.checkpoint.bundle import Bundle, open_bundle
from models.checkpoint.families import Family, register
from models.network.transformer import StreamingTransformer
from models.rollout.flowmap import shifted
from stream.engine.torch_backend import TorchModel
from tests.support.small_bundle import small_bundle

TIMESTEPS = (1000, 750, 500, 250)


class CausalWan(StreamingTransformer):
    """A Wan transformer knows one noise level a step, and one patch size."""

    def embed_times(self, t: float, r: float) -> tuple[Tensor, Tensor]:
        embedder = self.module.condition_embedder
        time = embedder.timesteps_proj(torch.tensor([t * 1000.0], device=self.device))
        embedded = embedder.time_embedder(time.to(next(embedder.time_embedder.parameters()).dtype)).to(self.dtype)
        return embedded, embedder.time_proj(embedder.act_fn(embedded))

    def rope(self, frames: int, height: int, width: int, *, far: bool = False) -> Tensor:
        like = torch.empty(1, 0, frames, height, width, device=self.device)
        cosine, sine = (table.view(frames, -1, self.head_dim)[..., ::2] for table in self.module.rope(like))
        return torch.stack([cosine, sine], -1).float().contiguous()


FAMILY = Family(
    name="Self-Forcing",
    transformer="WanTransformer3DModel",
    pipeline="WanPipeline",
    scheduler="FlowMatchEulerDiscreteScheduler",
    network=CausalWan,
    partition=lambda config: (3,) * 7,
    near_chunks=lambda config: 5,
    sigmas=lambda config: (*(shifted(t / 1000, config.shift) for t in TIMESTEPS), 0.0),
)


def fixed_steps_bundle() -> Bundle:
    """64x64 pixels, random weights."""
    register(FAMILY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        transformer = WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=24, text_dim=32, freq_dim=32, ffn_dim=96, num_layers=3
        )
        with torch.no_grad():
            for parameter in transformer.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    transformer.eval().requires_grad_(False)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    return replace(
        small_bundle(), transformer=transformer, scheduler=scheduler, family=FAMILY, name="tiny-self-forcing"
    )


def open_model(source: str | None, device: str, threads: int, execution: str = "eager") -> TorchModel:
    """An engine factory: the folder of such a checkpoint."""
    register(FAMILY)
    return TorchModel(open_bundle(source, device=device, execution=execution))
