"""Ours and diffusers' pipeline in one process: same weights, same noise; cost against age, parity beside speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from models import flowmap
from models.bench.measure import Spent, Timed, bar, comparable, count_flops, matmul_rate, median, resident_bytes, settle
from models.bench.reference import as_it_runs, pipeline, reference_latents
from models.bundle import Bundle
from models.noise import chunk_noise
from models.rollout import Rollout

PROMPT = "a big red circle bouncing on a navy background"
Tell = Callable[[str], None]


def bench_engine(
    bundle: Bundle, *, steps: int = 4, late: int = 200, early: int = 20, partition: Sequence[int] = (),
    tell: Tell = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Figures and bars of issue "The engine": {"figures": {...}, "bars": [...]}, all JSON-able.

    late, early: the two ages, in chunks, whose cost is compared. partition: the video for the comparison with
    diffusers, the model's own by default (81 frames). tell: gets a line on what runs now.
    """
    partition = tuple(partition or bundle.partition)
    with torch.no_grad():
        tell(f"our rollout, {sum(partition)} latent frames")
        ours = time_ours(bundle, partition, steps)
        tell("diffusers' pipeline, as it ships")
        theirs = time_theirs(bundle, partition, steps)
        tell("parity with the reference, its padding dropped")
        parity = parity_error(bundle, partition, steps)
        tell(f"chunk {late} against chunk {early}")
        age = compare_ages(bundle, steps, early, late)
        tell("what the slid window costs in exactness")
        slid = {mode: slid_deviation(bundle, mode, steps) for mode in ("exact", "rolling", "cheap")}
        rate = matmul_rate(bundle.device, bundle.dtype)
    ratio = theirs["seconds"] / ours["seconds"]
    figures = {
        "model": bundle.name,
        "size": [bundle.width, bundle.height],
        "steps": steps,
        "threads": torch.get_num_threads(),
        "ours": ours,
        "diffusers": theirs,
        "times_faster": ratio,
        "parity_error": parity,
        "age": age,
        "slid_window_deviation": slid,
        "matmul_flops": rate,
        "share_of_matmul_rate": age["flops"][0] / max(age["seconds"][0], 1e-9) / rate,
    }
    return {
        "figures": figures,
        "bars": [
            bar(f"times faster than diffusers, {frames_of(bundle, partition)} frames at {steps} steps", ratio, ">=", 3),
            bar("largest relative difference from the reference", parity, "<=", 1e-4),
            *(
                bar(f"{what} of chunk {late} over chunk {early}", age[what][1] / max(age[what][0], 1e-12), "<=", 1.05)
                for what in ("seconds", "flops", "memory")
            ),
        ],
    }


def frames_of(bundle: Bundle, partition: Sequence[int]) -> int:
    """Pixel frames of a video of these chunks."""
    return (sum(partition) - 1) * bundle.frames_per_latent + 1


def new_rollout(bundle: Bundle, partition: Sequence[int]) -> Rollout:
    """A rollout that makes exactly the reference's video: its last chunk, and all of its past in view."""
    return Rollout(bundle, prompt=PROMPT, partition=partition, context_frames=sum(partition) - partition[-1])


def run_chunk(rollout: Rollout, sigmas: Sequence[float], spent: dict[str, Spent]) -> Tensor:
    """One chunk, its seconds by kind of unit added to `spent`; returns its latents."""
    stops, chunk, latents = iter(sigmas[1:]), rollout.chunk, None
    while rollout.chunk == chunk:
        unit = rollout.next()
        with Timed(rollout.bundle.device) as took:
            rollout.run(unit, r=next(stops) if unit.kind == "step" else None)
        spent[unit.kind] = spent.get(unit.kind, Spent()) + took
        latents = rollout.latents if unit.kind == "decode" else latents
    assert latents is not None
    return latents


def time_ours(bundle: Bundle, partition: Sequence[int], steps: int) -> dict[str, Any]:
    """Seconds of the whole video, by chunk and by kind of work, after one chunk to warm up."""
    sigmas = flowmap.schedule(steps, bundle.shift)
    run_chunk(new_rollout(bundle, partition), sigmas, {})
    rollout, by_chunk = new_rollout(bundle, partition), []
    total: dict[str, Spent] = {}
    for _ in partition:
        spent: dict[str, Spent] = {}
        run_chunk(rollout, sigmas, spent)
        by_chunk.append(sum(comparable(s, bundle.device) for kind, s in spent.items() if kind != "decode"))
        total = {kind: total.get(kind, Spent()) + spent.get(kind, Spent()) for kind in {*total, *spent}}
    parts = {kind: comparable(spent, bundle.device) for kind, spent in sorted(total.items())}
    return {
        "seconds": sum(parts.values()),
        "wall_seconds": sum(spent.wall for spent in total.values()),
        "by_kind": parts,
        "transformer_by_chunk": by_chunk,
    }


def time_theirs(bundle: Bundle, partition: Sequence[int], steps: int) -> dict[str, Any]:
    """The same for diffusers' pipeline; a chunk ends when its cache is written."""
    pipe, device = pipeline(bundle, stock=True), bundle.device
    marks: list[float] = []
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    write = pipe.encode_kv_cache

    def marking(*args: Any, **options: Any) -> Any:
        out = write(*args, **options)
        settle(device)
        marks.append(clock())
        return out

    pipe.encode_kv_cache = marking
    decode = pipe.vae.decode

    def decoding(*args: Any, **options: Any) -> Any:
        settle(device)
        marks.append(clock())
        return decode(*args, **options)

    pipe.vae.decode = decoding
    noise = video_noise(bundle, partition).transpose(1, 2)
    with as_it_runs(), Timed(device) as spent:
        start = clock()
        pipe(
            prompt=PROMPT, height=bundle.height, width=bundle.width, num_frames=frames_of(bundle, partition),
            num_inference_steps=steps, latents=noise.to(device), chunk_partition=list(partition), output_type="pt",
        )  # fmt: skip
        end = clock()
    return {
        "seconds": comparable(spent, device),
        "wall_seconds": spent.wall,
        "decode": end - marks[-1],
        "transformer_by_chunk": [b - a for a, b in zip([start, *marks], marks, strict=False)],
    }


def video_noise(bundle: Bundle, partition: Sequence[int], seed: int = 0) -> Tensor:
    """The noise of our chunks as one (1, F, C, H, W)."""
    return torch.cat([chunk_noise(seed, i, (f, *bundle.latent_shape)) for i, f in enumerate(partition)])[None]


def parity_error(bundle: Bundle, partition: Sequence[int], steps: int) -> float:
    """Largest difference of latents from the reference without its padding, relative to the largest latent."""
    sigmas, rollout = flowmap.schedule(steps, bundle.shift), new_rollout(bundle, partition)
    ours = torch.cat([run_chunk(rollout, sigmas, {}) for _ in partition], 1)
    noise = video_noise(bundle, partition).to(bundle.device)
    theirs = reference_latents(bundle, PROMPT, partition=partition, steps=steps, noise=noise)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def compare_ages(bundle: Bundle, steps: int, early: int, late: int) -> dict[str, Any]:
    """Seconds, operations and memory of a chunk at two ages, each the median of the chunks around it."""
    rollout, sigmas = Rollout(bundle, prompt=PROMPT), flowmap.schedule(steps, bundle.shift)
    seconds: list[float] = []
    memory: dict[int, int] = {}
    flops: dict[int, int] = {}
    while rollout.chunk < late + 5:
        spent: dict[str, Spent] = {}
        if rollout.chunk in (early, late):
            flops[rollout.chunk] = count_flops(partial(run_chunk, rollout.clone(), sigmas, {}))
            memory[rollout.chunk] = resident_bytes(bundle.device)
        run_chunk(rollout, sigmas, spent)
        seconds.append(sum(comparable(s, bundle.device) for s in spent.values()))
    around = [median(seconds[age - 4 : age + 5]) for age in (early, late)]
    return {
        "chunks": [early, late],
        "seconds": around,
        "flops": [flops[early], flops[late]],
        "memory": [memory[early], memory[late]],
        "seconds_by_chunk": seconds,
    }


def slid_deviation(bundle: Bundle, mode: str, steps: int, chunks: int = 12) -> float:
    """How far a chunk made from a window that slid is from one made from that window encoded anew, relative RMS."""
    sigmas, rollout = flowmap.schedule(steps, bundle.shift), Rollout(bundle, prompt=PROMPT, append=mode)
    for _ in range(chunks):
        run_chunk(rollout, sigmas, {})
    fresh = rollout.clone()
    fresh.refresh()
    ours, anew = run_chunk(rollout, sigmas, {}), run_chunk(fresh, sigmas, {})
    return float((ours - anew).norm() / anew.norm())
