"""`farcast bench batching`: would units of several sessions run faster as one batch than one after the other?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer

from models.checkpoint.bundle import Bundle
from models.checkpoint.load import default_threads, open_weights
from models.evaluation.report import Bar, show
from models.rollout.kv_cache import KVCache, window

app = typer.Typer(add_completion=False)

Unit = Callable[[], object]


@app.command("batching")
def batching(
    model: Annotated[str | None, typer.Option(help="Checkpoint; left out = the embedded model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Of the CPU; 0 = as many as the server takes.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Steps, context encodes and decodes of 1, 2 and 3 sessions in one call, against as many calls."""
    torch.set_num_threads(threads or default_threads())
    bundle = open_weights(model, device)
    figures = measure(bundle, repeats=8 if quick else 30)
    best = max(row["gain"] for rows in figures.values() for row in rows)
    show("batching", {"threads": torch.get_num_threads(), "guided": bundle.guidance > 1.0, **figures},
         [Bar("best gain of a batch over one after the other", best, ">=", 0.0)], as_json=as_json)  # fmt: skip


def measure(bundle: Bundle, *, repeats: int, most: int = 3) -> dict[str, list[dict[str, Any]]]:
    """For each kind of unit and number of sessions: ms in one call, and by how much that beats as many calls."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, unit in (("step", _step), ("context", _context), ("decode", _decode)):
        times = interleaved([unit(bundle, count) for count in range(1, most + 1)], repeats, bundle.device)
        found[kind] = [
            {"sessions": count, "ms": round(1e3 * took, 2), "gain": round(count * times[0] / took - 1.0, 3)}
            for count, took in enumerate(times, 1)
        ]
    return found


def interleaved(units: list[Unit], repeats: int, device: torch.device) -> list[float]:
    """Median seconds of each, taken in turns so that a busy moment of the machine hits all alike."""
    times: list[list[float]] = [[] for _ in units]
    with torch.no_grad():
        for turn in range(repeats + 2):  # two to warm up
            for unit, some in zip(units, times, strict=True):
                began = time.perf_counter()
                unit()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if turn >= 2:
                    some.append(time.perf_counter() - began)
    return [statistics.median(some) for some in times]


def _full(bundle: Bundle, sessions: int) -> tuple[KVCache, Any, int]:
    """A full context of `sessions` takes, each with the rows that guidance needs, and their prompts."""
    rows = sessions * (2 if bundle.guidance > 1.0 else 1)
    context = KVCache(bundle.network, window(bundle), batch=rows)
    prompt = bundle.network.prompt_kv(
        [bundle.prompts.encode(text) for text in (bundle.examples or ("a circle",))][:1] * rows
    )
    context.push(_noise(bundle, 1))
    while context.frames < context.geometry.context_frames:
        context.push(_noise(bundle, bundle.chunk_frames))
        context.encode(prompt)
    return context, prompt, rows


def _step(bundle: Bundle, sessions: int) -> Unit:
    context, prompt, rows = _full(bundle, sessions)
    segment, rope = context.current(bundle.chunk_frames)
    latents = _noise(bundle, bundle.chunk_frames).expand(rows, -1, -1, -1, -1)
    modulation = bundle.network.modulation(0.9, 0.5)
    shape = (bundle.chunk_frames, *bundle.latent_shape)
    network = bundle.network
    return lambda: network.velocity(network.embed(latents), segment, rope, modulation, prompt, context, shape)


def _context(bundle: Bundle, sessions: int) -> Unit:
    context, prompt, _ = _full(bundle, sessions)

    def encode() -> None:
        context.invalidate()
        context.encode(prompt)

    return encode


def _decode(bundle: Bundle, sessions: int) -> Unit:
    """The decoder takes frames as a batch of pictures, so those of several sessions are simply more frames."""
    state = bundle.decoder.start()
    bundle.decoder.decode(state, _noise(bundle, 1))
    latents = _noise(bundle, sessions * bundle.chunk_frames)
    return lambda: bundle.decoder.decode(state.clone(), latents)


def _noise(bundle: Bundle, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(1, frames, *bundle.latent_shape, generator=generator).to(bundle.device, bundle.dtype)
