"""Ours and diffusers' pipeline in one process: same weights, same noise; cost against age, parity beside speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.evaluation.report import Bar
from models.rollout import flowmap
from models.rollout.noise import chunk_noise
from models.rollout.rollout import Rollout

from .long_stream import long_stream, many_chunks, slid_deviation
from .profile import profile_chunk
from .reference import as_it_runs, pipeline, reference_latents
from .timed_chunk import PROMPT, run_chunk
from .timing import Spent, Timed, comparable, matmul_rate, synchronize

Tell = Callable[[str], None]


def bench_engine(
    bundle: Bundle, *, larger: Bundle | None = None, steps: int = 4, early: int = 20, late: int = 200,
    chunks: int = 800, endless: Bundle | None = None, endless_chunks: int = 2000, partition: Sequence[int] = (),
    tell: Tell = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Figures and bars of the engine: {"figures": {...}, "bars": [Bar, ...]}, the figures JSON-able.

    larger: another model to compare with diffusers over, for four chunks. early, late: the two ages, in chunks, whose
    cost is compared. chunks: length of the stream that is looked at for drift. endless: a small bundle for a stream of
    `endless_chunks`. partition: the video for the comparison, the model's own by default (81 frames). tell: gets a line
    on what runs now.
    """
    partition = tuple(partition or bundle.partition)
    with torch.no_grad():
        rate = matmul_rate(bundle.device, bundle.dtype)
        figures: dict[str, Any] = {
            "model": bundle.name,
            "size": [bundle.width, bundle.height],
            "guidance": bundle.guidance,
            "steps": steps,
            "threads": torch.get_num_threads(),
            "matmul_flops": rate,
            **compare(bundle, partition, steps, tell),
        }
        if larger is not None:
            figures["larger"] = {
                "model": larger.name,
                "size": [larger.width, larger.height],
                "guidance": larger.guidance,
                "parameters": sum(p.numel() for p in larger.transformer.parameters()),
                **compare(larger, partition[:4], steps, tell),  # diffusers' pipeline takes minutes for more
            }
        tell("where the time of a chunk goes")
        figures["profile"] = profile_chunk(bundle, steps, rate)
        tell("what the slid window costs in exactness")
        figures["slid_window_deviation"] = {
            mode: slid_deviation(bundle, mode, steps) for mode in ("exact", "rolling", "cheap")
        }
        tell(f"a stream of {max(chunks, late + 5)} chunks")
        figures["age"] = age = long_stream(bundle, steps, early, late, chunks)
        if endless is not None:
            tell(f"a small stream of {endless_chunks} chunks")
            figures["endless"] = many_chunks(endless, endless_chunks)
    ratio, frames = figures["times_faster"], frames_of(bundle, partition)
    bars = [
        Bar(f"times faster than diffusers, {frames} frames at {steps} steps", ratio, ">=", 3),
        Bar("largest relative difference from the reference", figures["parity_error"], "<=", 1e-4),
        *(
            Bar(f"{what} of chunk {late} over chunk {early}", age[what][1] / max(age[what][0], 1e-12), "<=", 1.05)
            for what in ("seconds", "flops", "memory")
        ),
    ]
    if larger is not None:
        bars.insert(1, Bar(f"times faster, {larger.name}", figures["larger"]["times_faster"], ">=", 3))
    if endless is not None:
        held = figures["endless"]
        bars += [
            Bar(f"memory after {endless_chunks} chunks over after {endless_chunks // 10}", held["growth"], "<=", 1.05),
            Bar("last position over the last one trained", held["last_position"] / held["trained_positions"], "<=", 1),
        ]
    return {"figures": figures, "bars": bars}


def compare(bundle: Bundle, partition: Sequence[int], steps: int, tell: Tell) -> dict[str, Any]:
    """A whole video with ours and with diffusers'."""
    tell(f"our rollout of {bundle.name}, {sum(partition)} latent frames")
    ours = time_ours(bundle, partition, steps)
    tell(f"diffusers' pipeline over {bundle.name}, as it ships")
    theirs = time_theirs(bundle, partition, steps)
    tell("parity with the reference, its padding dropped")
    return {
        "frames": frames_of(bundle, partition),
        "ours": ours,
        "diffusers": theirs,
        "times_faster": theirs["seconds"] / ours["seconds"],
        "parity_error": parity_error(bundle, partition, steps),
    }


def frames_of(bundle: Bundle, partition: Sequence[int]) -> int:
    """Pixel frames of a video of these chunks."""
    return (sum(partition) - 1) * bundle.frames_per_latent + 1


def new_rollout(bundle: Bundle, partition: Sequence[int]) -> Rollout:
    """A rollout that makes exactly the reference's video: its last chunk, and all of its past in view."""
    return Rollout(bundle, prompt=PROMPT, partition=partition, context_frames=sum(partition) - partition[-1])


def time_ours(bundle: Bundle, partition: Sequence[int], steps: int) -> dict[str, Any]:
    """Seconds of the whole video, by chunk and by kind of work, after two chunks to warm up."""
    sigmas = flowmap.schedule(steps, bundle.shift)
    warm = new_rollout(bundle, partition)
    for _ in partition[:2]:
        run_chunk(warm, sigmas)
    rollout, by_chunk = new_rollout(bundle, partition), []
    total: dict[str, Spent] = {}
    for _ in partition:
        made = run_chunk(rollout, sigmas)
        by_chunk.append(made.seconds(without=("decode",)))
        for kind, spent in made.spent.items():
            total[kind] = total.get(kind, Spent()) + spent
    parts = {kind: comparable(spent, bundle.device) for kind, spent in sorted(total.items())}
    return {
        "seconds": sum(parts.values()),
        "wall_seconds": sum(spent.wall for spent in total.values()),
        "by_kind": parts,
        "transformer_by_chunk": by_chunk,
    }


def time_theirs(bundle: Bundle, partition: Sequence[int], steps: int) -> dict[str, Any]:
    """The same for diffusers' pipeline, warmed up too; a chunk ends when its cache is written."""
    pipe, device = pipeline(bundle, stock=True), bundle.device
    marks: list[float] = []
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    write, decode = pipe.encode_kv_cache, pipe.vae.decode

    def marking(*args: Any, **options: Any) -> Any:
        out = write(*args, **options)
        synchronize(device)
        marks.append(clock())
        return out

    def decoding(*args: Any, **options: Any) -> Any:
        synchronize(device)
        marks.append(clock())
        return decode(*args, **options)

    pipe.encode_kv_cache, pipe.vae.decode = marking, decoding

    def run(chunks: Sequence[int]) -> None:
        pipe(
            prompt=PROMPT, height=bundle.height, width=bundle.width, num_frames=frames_of(bundle, chunks),
            num_inference_steps=steps, guidance_scale=bundle.guidance, chunk_partition=list(chunks), output_type="pt",
            latents=video_noise(bundle, chunks).transpose(1, 2).to(device, bundle.dtype),
        )  # fmt: skip

    with as_it_runs():
        run(partition[:2])
        marks.clear()
        with Timed(device) as spent:
            start = clock()
            run(partition)
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
    ours = torch.cat([run_chunk(rollout, sigmas).latents for _ in partition], 1)
    noise = video_noise(bundle, partition).to(bundle.device, bundle.dtype)
    theirs = reference_latents(
        bundle, PROMPT, partition=partition, steps=steps, noise=noise, guidance=bundle.guidance
    )  # fmt: skip
    return float((ours - theirs).abs().max() / theirs.abs().max())
