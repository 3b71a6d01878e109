"""Clocks, rates and rooms: what every bench here measures with."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch


@dataclass
class Spent:
    """Wall and processor seconds of a block. On a busy machine the latter is the one to compare."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


class Timed(AbstractContextManager[Spent]):
    """`with Timed(device) as spent:` fills `spent`, waiting for the device at both ends."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spent = Spent()

    def __enter__(self) -> Spent:
        synchronize(self.device)
        self._start = time.perf_counter(), time.process_time()
        return self.spent

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        synchronize(self.device)
        self.spent.wall = time.perf_counter() - self._start[0]
        self.spent.cpu = time.process_time() - self._start[1]


def synchronize(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def comparable(spent: Spent, device: torch.device) -> float:
    """Seconds that do not depend on what else the machine does: processor time on a CPU, wall time on a GPU."""
    return spent.cpu if device.type == "cpu" else spent.wall


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Floating-point operations a second of a large square product, the best of a few."""
    side = size or (8192 if device.type == "cuda" else 1024)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(5):
        with Timed(device) as spent:
            a @ b
        rates.append(2 * side**3 / max(comparable(spent, device), 1e-9))
    return max(rates)


def count_flops(work: Callable[[], Any]) -> int:
    """Floating-point operations of `work`, by torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def resident_bytes(device: torch.device) -> int:
    """Memory held: of the process on a CPU, allocated on a GPU."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * 4096
