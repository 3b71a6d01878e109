"""Where the time of a chunk goes: by unit of work against the machine's matmul rate, and by kind of operation."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch.profiler import ProfilerActivity, profile

from bench.stats import median
from models.checkpoint.bundle import Bundle
from models.rollout import flowmap
from models.rollout.rollout import Rollout

from .timed_chunk import PROMPT, run_chunk
from .timing import comparable, count_flops

KINDS = {  # operation names that contain one of these words, in this order
    "convolutions": ("conv",),
    "matrix products": ("addmm", "aten::mm", "bmm", "linear", "matmul"),
    "attention": ("attention", "softmax"),
    "copies": ("cat", "copy_", "clone", "contiguous", "index", "stack"),
}
REST = "norms, activations and other pointwise work"


def profile_chunk(bundle: Bundle, steps: int, rate: float, repeats: int = 5) -> dict[str, Any]:
    """A chunk of a full window. rate: operations a second of a large matrix product."""
    rollout, sigmas = Rollout(bundle, prompt=PROMPT), flowmap.schedule(steps, bundle.shift)
    while rollout.state.cache.frames < rollout.state.cache.geometry.context_frames:
        run_chunk(rollout, [1.0, 0.0])
    made = [run_chunk(rollout, sigmas) for _ in range(repeats)]
    units: dict[str, Any] = {}
    for kind in ("step", "decode", "append"):
        calls = steps if kind == "step" else 1
        seconds = median([comparable(chunk.spent[kind], bundle.device) for chunk in made]) / calls
        flops = count_flops(partial(_until, rollout.clone(), kind)) - count_flops(
            partial(_before, rollout.clone(), kind)
        )
        units[kind] = {
            "calls": calls,
            "seconds": seconds,
            "flops": flops,
            "share_of_matmul_rate": flops / max(seconds, 1e-9) / rate,
        }
    total = sum(unit["calls"] * unit["flops"] for unit in units.values())
    seconds = sum(unit["calls"] * unit["seconds"] for unit in units.values())
    return {
        "units": units,
        "seconds": seconds,
        "flops": total,
        "share_of_matmul_rate": total / max(seconds, 1e-9) / rate,
        "operations": operations(rollout, sigmas),
    }


def _before(rollout: Rollout, kind: str) -> None:
    while rollout.next().kind != kind:
        rollout.run(rollout.next())


def _until(rollout: Rollout, kind: str) -> None:
    _before(rollout, kind)
    rollout.run(rollout.next())


def operations(rollout: Rollout, sigmas: list[float]) -> dict[str, float]:
    """Shares of a chunk's processor time by kind of operation."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run_chunk(rollout, sigmas)
    shares = dict.fromkeys((*KINDS, REST), 0.0)
    for event in seen.key_averages():
        if event.key.startswith("aten::"):
            kind = next((kind for kind, words in KINDS.items() if any(word in event.key for word in words)), REST)
            shares[kind] += event.self_cpu_time_total
    total = sum(shares.values()) or 1.0
    return {kind: value / total for kind, value in shares.items()}
