"""What a card does at a published size with random weights: step, append, decode, chunk; and diffusers' own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from models import flowmap
from models.bench.engine import PROMPT, frames_of, run_chunk, video_noise
from models.bench.measure import Spent, Timed, bar, count_flops, matmul_rate, median
from models.bench.reference import as_it_runs, pipeline
from models.bundle import Bundle
from models.rollout import Rollout

BUDGET_S = 540.0


def bench_gpu(
    bundle: Bundle, *, steps: Sequence[int] = (1, 2, 4, 8), repeats: int = 5, budget_s: float = BUDGET_S,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """{"figures": {...}, "bars": [...]}: milliseconds at a full window, fps and peak memory for each step budget.

    diffusers' runs come last and stop when `budget_s` is used up; what was left out is said in `skipped`.
    """
    start, device = time.monotonic(), bundle.device
    figures: dict[str, Any] = {"model": bundle.name, "size": [bundle.width, bundle.height], "dtype": str(bundle.dtype)}
    with torch.no_grad():
        tell("matrix rate of the card")
        rate = matmul_rate(device, bundle.dtype)
        figures["matmul_tflops"] = rate / 1e12
        tell("filling the window")
        _reset_peak(device)
        rollout = Rollout(bundle, prompt=PROMPT)
        while rollout._context.frames < rollout._context.geometry.context_frames:
            run_chunk(rollout, [1.0, 0.0], {})
        run_chunk(rollout, [1.0, 0.0], {})
        step_flops = count_flops(partial(_one_step, rollout.clone()))
        table = []
        for count in steps:
            tell(f"ours, {count} steps")
            table.append(_row(rollout, count, repeats))
        figures["ours"] = table
        figures["peak_memory_gb"] = _peak(device)
        step_ms = table[0]["step_ms"]
        figures["step_tflop"] = step_flops / 1e12
        figures["step_share_of_matmul_rate"] = step_flops / (step_ms / 1e3) / rate
        del rollout
        figures["diffusers"], figures["skipped"] = [], []
        for count in steps:
            if time.monotonic() - start > budget_s * 0.6:
                figures["skipped"].append(f"diffusers at {count} steps: out of time")
                continue
            tell(f"diffusers, {count} steps")
            figures["diffusers"].append(_their_row(bundle, count))
    bars = [bar(f"fps at {row['steps']} steps", row["fps"], ">=", float(bundle.fps)) for row in table]
    return {"figures": figures, "bars": bars}


def _one_step(rollout: Rollout) -> None:
    rollout.run(rollout.next(), r=0.0)


def _row(rollout: Rollout, count: int, repeats: int) -> dict[str, Any]:
    sigmas = flowmap.schedule(count, rollout.bundle.shift)
    run_chunk(rollout, sigmas, {})
    samples: dict[str, list[float]] = {"step": [], "append": [], "decode": [], "chunk": []}
    for _ in range(repeats):
        spent: dict[str, Spent] = {}
        with Timed(rollout.bundle.device) as whole:
            run_chunk(rollout, sigmas, spent)
        for kind in ("append", "decode"):
            samples[kind].append(spent[kind].wall)
        samples["step"].append(spent["step"].wall / count)
        samples["chunk"].append(whole.wall)
    frames = rollout.bundle.chunk_frames * rollout.bundle.frames_per_latent
    return {
        "steps": count,
        **{f"{kind}_ms": 1e3 * median(values) for kind, values in samples.items()},
        "fps": frames / median(samples["chunk"]),
    }


def _their_row(bundle: Bundle, count: int) -> dict[str, Any]:
    """diffusers' pipeline over the chunks up to a full window: the whole, and its fps."""
    partition = tuple(bundle.partition[:-1])
    pipe = pipeline(bundle, stock=True)
    _reset_peak(bundle.device)
    with as_it_runs(), Timed(bundle.device) as spent:
        pipe(
            prompt=PROMPT, height=bundle.height, width=bundle.width, num_frames=frames_of(bundle, partition),
            num_inference_steps=count, latents=video_noise(bundle, partition).transpose(1, 2).to(bundle.device),
            chunk_partition=list(partition), output_type="pt",
        )  # fmt: skip
    frames = frames_of(bundle, partition)
    return {
        "steps": count,
        "frames": frames,
        "seconds": spent.wall,
        "fps": frames / spent.wall,
        "peak_memory_gb": _peak(bundle.device),
    }


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def table_lines(figures: dict[str, Any]) -> list[str]:
    """The short table that comes last."""
    lines = ["steps   step ms  append ms  decode ms  chunk ms     fps   diffusers fps"]
    theirs = {row["steps"]: row["fps"] for row in figures["diffusers"]}
    for row in figures["ours"]:
        other = f"{theirs[row['steps']]:15.2f}" if row["steps"] in theirs else f"{'-':>15}"
        lines.append(
            f"{row['steps']:5d} {row['step_ms']:9.1f} {row['append_ms']:10.1f} {row['decode_ms']:10.1f} "
            f"{row['chunk_ms']:9.1f} {row['fps']:7.2f} {other}"
        )
    return lines
