"""The tiny decoder for Wan latents (TAEHV's `taew2_1`, by O. Boer Bohan), behind the interface of the Wan one.

Seven times smaller a picture for a hundredth of the work. The weights are the user's: one safetensors file with the
decoder's tensors under their own names (`decoder.1.weight`, ...; encoder tensors beside them are ignored). The network
is causal with a memory of one frame a block, so chunks decode one after another with that memory carried.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.errors import ModelError
from models.vae.base import VAEState

WIDTHS = (256, 128, 64, 64)
GROWS = (1, 2, 2)  # frames made of one, after each stage
TRIMMED = 3  # frames of the first latent that belong to no picture


class _Memory(nn.Module):
    """Residual block that also sees its own input of the frame before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return F.relu(self.conv(torch.cat([x, before], 1)) + x)


class _Grow(nn.Module):
    """One frame becomes `factor`."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width * factor, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).reshape(-1, *x.shape[1:])  # type: ignore[no-any-return]


class _SoftClamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _layers(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [_SoftClamp(), nn.Conv2d(channels, WIDTHS[0], 3, padding=1), nn.ReLU(inplace=True)]
    for width, grow, then in zip(WIDTHS[:-1], GROWS, WIDTHS[1:], strict=True):
        layers += [_Memory(width) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), _Grow(width, grow), nn.Conv2d(width, then, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Conv2d(WIDTHS[-1], 3, 3, padding=1))


class TinyDecoder:
    """A `models.vae.base.Decoder` for Wan 2.1 latents: 16 channels, 8x in space, 4x in time."""

    def __init__(self, channels: int = 16, *, device: torch.device | None = None, dtype: torch.dtype = torch.float32):
        self.decoder = _layers(channels).to(device or torch.device("cpu"), dtype).eval().requires_grad_(False)
        self.memory = sum(isinstance(layer, _Memory) for layer in self.decoder)  # frames its state can depend on

    def start(self) -> VAEState:
        """State of a decoder that has seen nothing."""
        return VAEState([None] * len(self.decoder))

    @torch.no_grad()
    def decode(self, state: VAEState, latents: Tensor) -> Tensor:
        """Normalised latents (1, F, C, H, W) to uint8 (frames, H, W, 3): 1 + 4 (F - 1) frames at first, then 4 F."""
        first = self.decoder[1]
        assert isinstance(first, nn.Conv2d)
        x: Any = latents[0].to(first.weight)
        for index, layer in enumerate(self.decoder):
            if isinstance(layer, _Memory):
                before = state.cache[index]
                before = torch.zeros_like(x[:1]) if before is None else before
                state.cache[index] = x[-1:].clone()
                x = layer(x, torch.cat([before, x[:-1]]))
            else:
                x = layer(x)
        if not state.started:
            x, state.started = x[TRIMMED:], True
        return x.float().clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


def open_tiny_decoder(file: str | Path, *, device: torch.device, dtype: torch.dtype, channels: int = 16) -> TinyDecoder:
    """Read a user's decoder. Raises ModelError when it is absent, pickled, damaged or of another model."""
    path = Path(file).expanduser()
    if path.suffix != ".safetensors":
        raise ModelError(f"the decoder {file} is not a .safetensors file; convert it to one", code="model_pickled")
    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"there is no decoder file {file}", code="model_not_found") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the decoder {file} is damaged; fetch it again", code="model_damaged") from error
    made = TinyDecoder(channels, device=device, dtype=dtype)
    own = {name.removeprefix("decoder."): value for name, value in state.items() if name.startswith("decoder.")}
    wanted = made.decoder.state_dict()
    for name, value in wanted.items():
        found = own.get(name)
        if found is None or found.shape != value.shape:
            shape = "absent" if found is None else "x".join(map(str, found.shape))
            raise ModelError(
                f"the decoder {path.name} is not a taew2_1: decoder.{name} is {shape}, "
                f"not {'x'.join(map(str, value.shape))}",
                code="model_shape",
            )
    made.decoder.load_state_dict({name: own[name] for name in wanted})
    return made
