"""What a unit of work should take on a card that is not here: counted on the meta device, timed by a roofline.

A kernel takes as long as its operations at the card's rate, or as its bytes at the card's bandwidth, whichever is
longer, and no less than a launch (roofline: Williams et al., CACM 2009). The rates are what such cards reach in large
products, not their data sheets. Nothing here was measured on a card; `bench.engine.gpu` measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from models.checkpoint.random_weights import random_bundle
from models.rollout.rollout import Rollout
from models.vae.taehv import TinyDecoder

from .meter import Kernel, Meter

PROMPT = "a big red circle bouncing on a navy background"
LAUNCH_S = 2.5e-6
MODES = ("exact", "rolling", "cheap")


@dataclass(frozen=True)
class Card:
    """matrix, convolution: bf16 operations a second that are reached; bandwidth: bytes a second; memory: bytes."""

    name: str
    matrix: float
    convolution: float
    bandwidth: float
    memory: float

    def seconds(self, kernel: Kernel) -> float:
        """What one kernel takes."""
        rate = self.convolution if kernel.kind == "convolution" else self.matrix
        return max(kernel.flops / rate, kernel.bytes / self.bandwidth, LAUNCH_S)


H100 = Card("H100 80 GB", 600e12, 400e12, 2.6e12, 80e9)
H200 = Card("H200 141 GB", 600e12, 400e12, 3.7e12, 141e9)  # the same processor; 4.8 TB/s of memory for 3.35
CARDS = (H100, H200)


@dataclass(frozen=True)
class Cost:
    """One unit of work, counted. elementwise: bytes moved by kernels that do nothing but move and round."""

    unit: str
    flops: int
    bytes: int
    elementwise: int
    kernels: int
    peak: int
    seconds: dict[str, float]  # by the name of the card


def cost(unit: str, meter: Meter) -> Cost:
    """The totals of a meter, and its time on each of CARDS."""
    seconds = {card.name: sum(card.seconds(kernel) for kernel in meter.kernels) for card in CARDS}
    return Cost(unit, meter.flops(), meter.bytes(), meter.bytes("elementwise"), len(meter.kernels), meter.peak, seconds)


def meta_rollout(size: str, *, tiny_decoder: bool = False, **options: Any) -> Rollout:
    """A rollout of a published size in bf16 on the meta device. options: of Rollout."""
    bundle = random_bundle(size, device="meta", dtype=torch.bfloat16)
    if tiny_decoder:
        bundle = replace(bundle, tiny_decoder=TinyDecoder(device=torch.device("meta"), dtype=torch.bfloat16))
    return Rollout(bundle, prompt=PROMPT, **options)


def run_metered(rollout: Rollout, on_unit: Callable[[Any, Meter], None] = lambda unit, meter: None) -> None:
    """One chunk in one step, every unit under a meter of its own."""
    chunk = rollout.chunk
    while rollout.chunk == chunk:
        unit = rollout.next()
        with Meter() as meter:
            rollout.run(unit)
        on_unit(unit, meter)


def fill_window(rollout: Rollout) -> None:
    """Chunks until the window is full and slides."""
    cache = rollout.state.cache
    while cache.frames < cache.geometry.context_frames:
        run_metered(rollout)


def _load_window(rollout: Rollout) -> None:
    """Put chunks into the window until it is full, and encode them."""
    cache, bundle = rollout.state.cache, rollout.bundle
    latents = [chunk.latents for chunk in cache.chunks]
    while (missing := cache.geometry.context_frames - sum(each.shape[1] for each in latents)) > 0:
        shape = (1, min(missing, bundle.chunk_frames), *bundle.latent_shape)
        latents.append(torch.empty(shape, dtype=bundle.dtype, device=bundle.device))
    cache.load(latents)
    with Meter():
        rollout.run(rollout.next())


def unit_costs(size: str) -> list[Cost]:
    """Every kind of unit of a published size at 832x480, with a full window."""
    rollout = meta_rollout(size)
    costs: dict[str, Cost] = {}

    def keep(name: str) -> Callable[[Any, Meter], None]:
        def on_unit(unit: Any, meter: Meter) -> None:
            costs[name.format(unit.kind)] = cost(name.format(unit.kind), meter)

        return on_unit

    run_metered(rollout)
    run_metered(rollout, keep("{}, one chunk of context"))
    _load_window(rollout)
    for mode in MODES:
        twin = rollout.clone()
        twin.state.cache.mode = mode
        run_metered(twin, keep("{}, " + mode))
    guided = meta_rollout(size, guidance=4.0)
    run_metered(guided)
    _load_window(guided)
    run_metered(guided, keep("{}, guided"))
    rollout.prompt("a small yellow star spinning on a black background")
    run_metered(rollout, keep("{}, new prompt"))
    small = meta_rollout(size, tiny_decoder=True)
    run_metered(small)
    run_metered(small, keep("{}, TAEHV"))
    return [replace(costs[key], unit=name) for name, key in UNITS.items()]


UNITS = {
    "step": "step, exact",
    "step, guided": "step, guided",
    "append, one chunk of context": "append, one chunk of context",
    "append exact": "append, exact",
    "append rolling": "append, rolling",
    "append cheap": "append, cheap",
    "context again (new prompt)": "encode, new prompt",
    "decode, Wan": "decode, exact",
    "decode, TAEHV": "decode, TAEHV",
}
"""Row of the table: which unit of which run it is."""


def chunk_seconds(costs: list[Cost], card: Card, steps: int, *, decode: str = "decode, Wan") -> float:
    """A chunk of 12 frames at `steps` steps, append exact, everything counted, one unit after the other."""
    seconds = {c.unit: c.seconds[card.name] for c in costs}
    return steps * seconds["step"] + seconds["append exact"] + seconds[decode]


def table_lines(size: str, costs: list[Cost]) -> list[str]:
    """Markdown: the units, then chunks at several step counts."""
    lines = [
        f"## {size} at 832x480, bf16, eager, full window of 16 latent frames",
        "",
        "| unit | TFLOP | GB moved | of them elementwise | kernels | peak GB | "
        + " | ".join(f"ms, {card.name}" for card in CARDS) + " |",
        "|---|---|---|---|---|---|" + "---|" * len(CARDS),
    ]  # fmt: skip
    for row in costs:
        times = " | ".join(f"{1e3 * row.seconds[card.name]:.1f}" for card in CARDS)
        lines.append(
            f"| {row.unit} | {row.flops / 1e12:.1f} | {row.bytes / 1e9:.1f} | {row.elementwise / 1e9:.1f} | "
            f"{row.kernels} | {row.peak / 1e9:.2f} | {times} |"
        )
    lines += ["", "| chunk of 12 frames | " + " | ".join(f"ms (fps), {card.name}" for card in CARDS) + " |"]
    lines.append("|---|" + "---|" * len(CARDS))
    for decode in ("decode, Wan", "decode, TAEHV"):
        for steps in (1, 2, 4, 8):
            whole = [chunk_seconds(costs, card, steps, decode=decode) for card in CARDS]
            cells = " | ".join(f"{1e3 * seconds:.0f} ({12 / seconds:.1f})" for seconds in whole)
            lines.append(f"| {steps} step{'s' if steps > 1 else ''}, {decode} | {cells} |")
    return [*lines, ""]
