"""Long streams of ours: cost against age, memory and positions without end, drift of the picture, the slid window."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench.stats import median
from models.checkpoint.bundle import Bundle
from models.rollout import flowmap
from models.rollout.rollout import Rollout

from .timed_chunk import PROMPT, run_chunk
from .timing import count_flops, resident_bytes

AROUND = 4  # chunks to either side that an age's seconds are the median of
WINDOW_S = 10.0  # seconds of video a point of the drift curve looks at


def long_stream(bundle: Bundle, steps: int, early: int, late: int, chunks: int) -> dict[str, Any]:
    """A stream of `chunks` chunks: seconds, operations and memory of a chunk at two ages, and the picture all along."""
    rollout, sigmas = Rollout(bundle, prompt=PROMPT), flowmap.schedule(steps, bundle.shift)
    seconds: list[float] = []
    memory: dict[int, int] = {}
    flops: dict[int, int] = {}
    looks: list[dict[str, Any]] = []
    while rollout.chunk < max(chunks, late + AROUND + 1):
        if rollout.chunk in (early, late):
            flops[rollout.chunk] = count_flops(partial(run_chunk, rollout.clone(), sigmas))
            memory[rollout.chunk] = resident_bytes(bundle.device)
        second = rollout.frame / bundle.fps
        made = run_chunk(rollout, sigmas)
        seconds.append(made.seconds())
        looks.append({"second": second, **look(made.frames)})
    around = [median(seconds[age - AROUND : age + AROUND + 1]) for age in (early, late)]
    return {
        "chunks": [early, late],
        "seconds": around,
        "flops": [flops[early], flops[late]],
        "memory": [memory[early], memory[late]],
        "seconds_by_chunk": seconds,
        "drift": drift(looks),
    }


def look(frames: np.ndarray) -> dict[str, Any]:
    """uint8 (n, H, W, 3) to sharpness (mean gradient of the luma, 0..255), mean colour, and contrast between pixels."""
    luma = frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    steps = [np.abs(np.diff(luma, axis=axis)).mean() for axis in (1, 2)]
    return {
        "sharpness": float(np.mean(steps)),
        "colour": [float(value) for value in frames.reshape(-1, 3).mean(0)],
        "contrast": float(luma.std()),
    }


def drift(looks: list[dict[str, Any]]) -> dict[str, Any]:
    """The curve by windows of video, and its last window against the one that begins after ten seconds."""
    curve = []
    for window in range(int(looks[-1]["second"] // WINDOW_S) + 1):
        inside = [seen for seen in looks if seen["second"] // WINDOW_S == window]
        if inside:
            means = {key: np.mean([seen[key] for seen in inside], 0).tolist() for key in inside[0]}
            curve.append(means)
    young, old = curve[min(1, len(curve) - 1)], curve[-1]
    return {
        "curve": curve,
        "seconds": [young["second"], old["second"]],
        "sharpness": old["sharpness"] / max(young["sharpness"], 1e-6),
        "contrast": old["contrast"] / max(young["contrast"], 1e-6),
        "colour": float(np.abs(np.subtract(old["colour"], young["colour"])).max()),
    }


def many_chunks(bundle: Bundle, chunks: int) -> dict[str, Any]:
    """A stream at a small size, one step a chunk: does anything grow?"""
    rollout = Rollout(bundle, prompt=PROMPT)
    context = rollout.state.cache
    memory, last, store = [], 0, context.keys.shape[2]
    marks = [max(1, chunks * part // 10) for part in range(1, 11)]
    while rollout.chunk < chunks:
        while (unit := rollout.next()).kind != "step":
            rollout.run(unit)
        last = max(last, context.frames + rollout.state.latent_frames)
        segment, _ = context.current(rollout.state.latent_frames)
        assert segment.at + segment.length <= store
        run_chunk(rollout, [1.0, 0.0])
        if rollout.chunk in marks:
            memory.append(resident_bytes(bundle.device))
    return {
        "model": bundle.name,
        "size": [bundle.width, bundle.height],
        "chunks": marks,
        "memory": memory,
        "growth": memory[-1] / max(memory[0], 1),
        "last_position": last,  # latent frames in sight, the chunk in progress included
        "trained_positions": sum(bundle.partition),
        "records": len(rollout.state.history.records),
    }


def slid_deviation(bundle: Bundle, mode: str, steps: int, chunks: int = 12) -> float:
    """How far a chunk made from a window that slid is from one made from that window encoded anew, relative RMS."""
    sigmas, rollout = flowmap.schedule(steps, bundle.shift), Rollout(bundle, prompt=PROMPT, append=mode)
    for _ in range(chunks):
        run_chunk(rollout, sigmas)
    fresh = rollout.clone()
    fresh.refresh()
    ours, anew = run_chunk(rollout, sigmas).latents, run_chunk(fresh, sigmas).latents
    return float((ours - anew).norm() / anew.norm())
