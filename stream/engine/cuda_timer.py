"""Units on a CUDA device, timed by its own events. Imported only inside the engine process, where the device is one."""

from __future__ import annotations

from typing import Any

import torch

from models.rollout.rollout import Rollout
from models.vae.stream_decoder import PendingFrames
from stream.types import Pixels

from .backend import Timing, Unit


class CudaTiming:
    """A unit between two events of the stream it was launched on. Not done before its frames are on the host."""

    def __init__(self, start: torch.cuda.Event, end: torch.cuda.Event, pending: PendingFrames | None) -> None:
        self.start, self.end, self.pending = start, end, pending

    def done(self) -> bool:
        return self.end.query() if self.pending is None else self.pending.ready()

    def seconds(self) -> float:
        self.end.synchronize()
        return float(self.start.elapsed_time(self.end)) / 1e3

    def frames(self) -> Pixels | None:
        return None if self.pending is None else self.pending.result()


class CudaTimer:
    """Launches units and leaves them to the device."""

    def launch(self, rollout: Any, unit: Unit, r: float | None) -> Timing:
        """rollout: a `models.rollout.rollout.Rollout`."""
        assert isinstance(rollout, Rollout)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        pending = rollout.launch(rollout.next(), r=r)
        end.record()
        return CudaTiming(start, end, pending)
