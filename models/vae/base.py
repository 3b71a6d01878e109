"""What every decoder of latents offers, and the state it carries from call to call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass
class VAEState:
    """What a decoder or an encoder remembers. Tensors in `cache` are replaced, never written to."""

    cache: list[Any] = field(default_factory=list)
    started: bool = False

    def clone(self) -> VAEState:
        return VAEState(list(self.cache), self.started)

    @property
    def nbytes(self) -> int:
        """Memory of its tensors."""
        return sum(slot.nbytes for slot in self.cache if isinstance(slot, Tensor))


class Decoder(Protocol):
    """Latents to pictures; the Wan decoder and the tiny one (`models.vae.taehv`) both are."""

    @property
    def memory(self) -> int:
        """Latent frames the state can depend on."""
        ...

    def start(self) -> VAEState:
        """State before the first frame."""
        ...

    def decode(self, state: VAEState, latents: Tensor) -> Tensor:
        """(1, F, C, H, W) normalised latents to uint8 (frames, H, W, 3) on the same device; updates `state`."""
        ...
