"""The decoder of a rollout: its state between chunks, and the copy of frames from the device to the host.

On a GPU decoding runs on a stream of its own beside the next steps, and one pinned copy a chunk brings the pixels over;
on a CPU there is nothing to wait for and frames are ready at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from models.vae.base import Decoder, VAEState


class PendingFrames:
    """uint8 frames (n, H, W, 3) being copied to the host; `result` waits for them."""

    def __init__(self, frames: Tensor) -> None:
        """Called on the stream that makes `frames`."""
        self._arrived: torch.cuda.Event | None = None
        if frames.device.type != "cuda":
            self._frames = frames
            return
        self._frames = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True)
        self._frames.copy_(frames, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record()

    def ready(self) -> bool:
        """True when `result` will not wait."""
        return self._arrived is None or self._arrived.query()

    def result(self) -> np.ndarray:
        """The frames."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._frames.numpy()


class StreamDecoder:
    """State of the decoder before the next chunk. replay: earlier latents to decode first to have it."""

    def __init__(self, decoder: Decoder, state: VAEState | None = None, replay: Sequence[Tensor] = ()) -> None:
        self.decoder = decoder
        self.state = decoder.start() if state is None else state.clone()
        self.replay = list(replay)
        self.before: VAEState | None = None  # the state before the last chunk decoded, while that one is in progress

    @property
    def known(self) -> VAEState | None:
        """The state before the chunk in progress; None while it is not known."""
        return self.before or (None if self.replay else self.state)

    def replay_one(self) -> None:
        """Decode one chunk of the past, for the state alone."""
        latents = self.replay.pop(0)
        with decode_stream(latents):
            self.decoder.decode(self.state, latents)

    def deliver(self, latents: Tensor) -> PendingFrames:
        """Start to decode the chunk in progress, (1, F, C, H, W)."""
        self.before = self.state.clone()
        with decode_stream(latents):
            return PendingFrames(self.decoder.decode(self.state, latents))

    def clone(self) -> StreamDecoder:
        twin = StreamDecoder(self.decoder, self.state, self.replay)
        twin.before = self.before
        return twin

    def synchronize(self) -> None:
        """Let the current stream wait for decoding in progress, before it reads the state."""
        for slot in self.state.cache:
            if isinstance(slot, Tensor) and slot.device.type == "cuda":
                torch.cuda.current_stream(slot.device).wait_stream(_stream(slot.device))
                return


@contextmanager
def decode_stream(latents: Tensor) -> Iterator[None]:
    """Work on `latents` beside whatever the current stream does next. All states live on this one stream."""
    if latents.device.type != "cuda":
        yield
        return
    stream = _stream(latents.device)
    stream.wait_stream(torch.cuda.current_stream(latents.device))
    with torch.cuda.stream(stream):
        yield
    latents.record_stream(stream)  # the allocator must not hand them out while the decoder reads them


@lru_cache(maxsize=8)
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
