"""`farcast bench interference`: what a live session feels of a take that is rendered beside it on the same machine."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import farcast
import typer
from farcast.events import Chunk, DeadlineMissed, Underrun

from bench.live.server_process import serving
from bench.stats import quantile
from models.evaluation.report import Bar, show

app = typer.Typer(add_completion=False)

SETTLE = 5.0  # seconds before anything is counted
PROMPT = "a big red star spinning on a navy background"


@app.command("interference")
def beside(
    model: Annotated[str | None, typer.Option(help="Checkpoint; left out = the embedded model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    steps: Annotated[int, typer.Option(min=1, max=50, help="Steps of the render.")] = 32,
    seconds: Annotated[float, typer.Option(min=1, help="How long to watch, alone and then with the render.")] = 30.0,
    quick: Annotated[bool, typer.Option("--quick", help="A rough answer in under a minute.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """One viewer of one session, first alone, then while the server renders that take at many steps."""
    options = ["--device", device, *(["--model", model] if model else [])]
    figures, bars = asyncio.run(measure(options, steps, 10.0 if quick else seconds))
    show("interference", figures, bars, as_json=as_json)


@dataclass
class Phase:
    """What was seen in one stretch of time."""

    frames: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    missed: int = 0
    underruns: int = 0
    seconds: float = 0.0

    def figures(self, name: str) -> dict[str, Any]:
        took = [chunk.took_ms for chunk in self.chunks]
        return {
            f"{name}_fps": round(self.frames / max(self.seconds, 1e-6), 3),
            f"{name}_steps_mean": round(statistics.fmean(c.steps for c in self.chunks), 2) if took else None,
            f"{name}_chunk_ms_median": round(statistics.median(took), 1) if took else None,
            f"{name}_chunk_ms_p95": round(quantile(took, 0.95), 1) if took else None,
            f"{name}_deadlines_missed": self.missed,
            f"{name}_underruns": self.underruns,
        }


async def measure(options: Sequence[str], steps: int, seconds: float) -> tuple[dict[str, Any], list[Bar]]:
    """Start a server and watch it. Raises EngineFailed when it does not start."""
    async with (
        serving(*options) as server,
        farcast.connect(server.url, prompt=PROMPT, seed=1) as live,
        asyncio.timeout(4 * seconds + 120),
    ):
        await live.frames().get()
        await asyncio.sleep(SETTLE)
        alone = await watch(live, seconds)
        progress: list[farcast.protocol.RenderInfo] = []
        rendering = asyncio.create_task(live.render(steps=steps, progress=progress.append))
        while not progress or progress[-1].state == "queued":
            await asyncio.sleep(0.05)
            if rendering.done():
                break
        both = await watch(live, seconds)
        rendered = progress[-1].progress if progress else 0.0
        failure = rendering.exception() if rendering.done() else None
        rendering.cancel()
        with contextlib.suppress(asyncio.CancelledError, farcast.FarcastError):
            await rendering
    figures = {"model": server.model, "render_steps": steps, "seconds": seconds}
    figures |= alone.figures("alone") | both.figures("beside") | {"rendered_share": round(rendered, 3)}
    figures["render_error"] = None if failure is None else f"{type(failure).__name__}: {failure}"
    bars = [
        Bar("the render goes on", 0.0 if failure is not None else 1.0, "==", 1.0),
        Bar("frames a second beside a render, share of those alone", ratio(figures, "fps"), ">=", 0.98),
        Bar("underruns that came with the render", float(both.underruns - alone.underruns), "<=", 0.0),
    ]
    return figures, bars


def ratio(figures: dict[str, Any], name: str) -> float:
    beside, alone = float(figures[f"beside_{name}"]), float(figures[f"alone_{name}"])
    return round(beside / max(alone, 1e-6), 4)


async def watch(live: farcast.Live, seconds: float) -> Phase:
    """Count what comes for a while."""
    phase, began = Phase(), time.monotonic()
    listening = asyncio.create_task(listen(live, phase))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for _ in live.frames():
                phase.frames += 1
    phase.seconds = time.monotonic() - began
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    return phase


async def listen(live: farcast.Live, phase: Phase) -> None:
    async for event in live.events():
        match event:
            case Chunk():
                phase.chunks.append(event)
            case Underrun():
                phase.underruns += 1
            case DeadlineMissed():
                phase.missed += 1
