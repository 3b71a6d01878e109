"""What a card does at a published size with random weights: step, append, decode, chunk; and diffusers' own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.stats import median
from models.checkpoint.bundle import Bundle
from models.errors import FarcastError
from models.evaluation.report import Bar
from models.rollout import flowmap
from models.rollout.rollout import Rollout

from .against_diffusers import frames_of, video_noise
from .reference import as_it_runs, pipeline
from .timed_chunk import PROMPT, run_chunk
from .timing import Timed, count_flops, matmul_rate

BUDGET_S = 540.0


def bench_gpu(
    bundle: Bundle, *, steps: Sequence[int] = (1, 2, 4, 8), ways: Sequence[str] = ("eager",), repeats: int = 5,
    budget_s: float = BUDGET_S, tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """{"figures": {...}, "bars": [...]}: milliseconds at a full window, fps and peak memory for each step budget.

    ways: of `models.network.execution`, each measured and compared with the first; one that fails is named in
    `failed`, and the rest goes on. diffusers' runs come last and stop when `budget_s` is used up; what was left out is
    said in `skipped`.
    """
    start, device = time.monotonic(), bundle.device
    figures: dict[str, Any] = {"model": bundle.name, "size": [bundle.width, bundle.height], "dtype": str(bundle.dtype)}
    figures |= {"ours": [], "failed": [], "diffusers": [], "skipped": []}
    with torch.no_grad():
        tell("matrix rate of the card")
        rate = matmul_rate(device, bundle.dtype)
        figures["matmul_tflops"] = rate / 1e12
        first: Tensor | None = None
        for way in ways:
            if figures["ours"] and time.monotonic() - start > budget_s * 0.5:
                figures["skipped"].append(f"ours, {way}: out of time")
                continue
            tell(f"filling the window, {way}")
            try:
                rows, latents = _rows(replace(bundle, execution=way), steps, repeats, tell)
            except (FarcastError, RuntimeError, OSError, ImportError) as error:  # no compiler or memory: others count
                figures["failed"].append(
                    f"{way}: {(str(error).strip().splitlines() or [type(error).__name__])[0][:300]}"
                )
                continue
            first = latents if first is None else first
            apart = float((latents - first).float().norm() / first.float().norm())
            figures["ours"] += [{"way": way, "difference": apart, **row} for row in rows]
        if figures["ours"]:
            row = figures["ours"][0]
            figures["step_tflop"] = row["step_flops"] / 1e12
            figures["step_share_of_matmul_rate"] = row["step_flops"] / (row["step_ms"] / 1e3) / rate
        for count in steps:
            if time.monotonic() - start > budget_s * 0.6:
                figures["skipped"].append(f"diffusers at {count} steps: out of time")
                continue
            tell(f"diffusers, {count} steps")
            figures["diffusers"].append(_their_row(bundle, count))
    best = {
        count: max((row["fps"] for row in figures["ours"] if row["steps"] == count), default=0.0) for count in steps
    }
    bars = [Bar(f"fps at {count} steps", fps, ">=", float(bundle.fps)) for count, fps in best.items()]
    return {"figures": figures, "bars": bars}


def _rows(
    bundle: Bundle, steps: Sequence[int], repeats: int, tell: Callable[[str], None]
) -> tuple[list[dict[str, Any]], Tensor]:
    """A row a step budget, and the latents of the last chunk that fills the window, for comparison."""
    _reset_peak(bundle.device)
    rollout = Rollout(bundle, prompt=PROMPT)
    while rollout.state.cache.frames < rollout.state.cache.geometry.context_frames:
        latents = run_chunk(rollout, [1.0, 0.0]).latents
    run_chunk(rollout, [1.0, 0.0])
    rows = []
    flops = count_flops(partial(_one_step, rollout.clone())) if bundle.execution == "eager" else None
    for count in steps:
        tell(f"ours, {bundle.execution}, {count} steps")
        rows.append({**_row(rollout, count, repeats), "step_flops": flops, "peak_memory_gb": _peak(bundle.device)})
    return rows, latents


def _one_step(rollout: Rollout) -> None:
    rollout.run(rollout.next(), r=0.0)


def _row(rollout: Rollout, count: int, repeats: int) -> dict[str, Any]:
    sigmas = flowmap.schedule(count, rollout.bundle.shift)
    run_chunk(rollout, sigmas)
    samples: dict[str, list[float]] = {"step": [], "append": [], "decode": [], "chunk": []}
    for _ in range(repeats):
        with Timed(rollout.bundle.device) as whole:
            spent = run_chunk(rollout, sigmas).spent
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
            num_inference_steps=count, guidance_scale=bundle.guidance,
            latents=video_noise(bundle, partition).transpose(1, 2).to(bundle.device, bundle.dtype),
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
    lines = ["way             steps   step ms  append ms  decode ms  chunk ms     fps  peak GB   diffusers fps"]
    theirs = {row["steps"]: row["fps"] for row in figures["diffusers"]}
    for row in figures["ours"]:
        other = f"{theirs[row['steps']]:15.2f}" if row["steps"] in theirs else f"{'-':>15}"
        peak = "-" if row["peak_memory_gb"] is None else f"{row['peak_memory_gb']:.1f}"
        lines.append(
            f"{row['way']:<15} {row['steps']:5d} {row['step_ms']:9.1f} {row['append_ms']:10.1f} "
            f"{row['decode_ms']:10.1f} {row['chunk_ms']:9.1f} {row['fps']:7.2f} {peak:>8} {other}"
        )
    return [*lines, *(f"failed: {line}" for line in figures["failed"]), *figures["skipped"]]
