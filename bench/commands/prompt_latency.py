"""`farcast bench prompt-latency`: from Enter to the change of colour in a browser, at three latency targets."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from bench.live.prompt_latency import Turn, measure
from bench.live.server_process import serving, unit_costs
from bench.stats import median, quantile
from models.evaluation.report import Bar, machine, show

app = typer.Typer(add_completion=False)

TARGETS_MS = (500.0, 1000.0, 3000.0)
FLOOR = ("prompt", "encode", "step", "decode")  # units that must run between a prompt and its first frame


@app.command("prompt-latency")
def turns(
    model: Annotated[str | None, typer.Option(help="Checkpoint; left out = the embedded model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    url: Annotated[str | None, typer.Option(help="A server that runs already, in place of one of its own.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Prompts at each target.")] = 12,
    quick: Annotated[bool, typer.Option("--quick", help="Four prompts at each target: about a minute.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for the page (turns.md) and its plot.")] = None,
) -> None:
    """Type prompts into the page and look for them on screen. Needs a Chromium and Playwright."""
    found, units = asyncio.run(run(model, device, url, 4 if quick else count))
    figures, bars = judge(found, units)
    if plots is not None:
        from bench.live.prompt_latency_page import write

        write(found, figures, bars, machine(), plots)
    show("prompt-latency", figures, bars, as_json=as_json)


async def run(model: str | None, device: str, url: str | None, count: int) -> tuple[list[Turn], dict[str, float]]:
    """The turns, and the mean cost of every kind of unit in milliseconds."""
    if url is not None:
        return await _look(url, count)
    async with serving("--device", device, *(["--model", model] if model else [])) as server:
        return await _look(server.url, count)


async def _look(url: str, count: int) -> tuple[list[Turn], dict[str, float]]:
    url = url.rstrip("/") + "/"
    async with asyncio.timeout(180 + 40 * count * len(TARGETS_MS)):
        found = await measure(url, TARGETS_MS, count)
    async with httpx.AsyncClient(timeout=10.0) as client:
        metrics = (await client.get(f"{url}metrics")).text
    return found, unit_costs(metrics)


def judge(found: list[Turn], units: dict[str, float]) -> tuple[dict[str, Any], list[Bar]]:
    """Figures and bars. floor_ms: what must happen at the least, at mean costs: the units and the delivery."""
    delivery = median([t.seen_ms - t.server_ms for t in found if t.seen_ms is not None and t.server_ms is not None])
    floor = sum(units.get(kind, 0.0) for kind in FLOOR) + (0.0 if math.isnan(delivery) else delivery)
    figures: dict[str, Any] = {
        "units_ms": units,
        "delivery_ms": _round(delivery),
        "floor_ms": _round(floor),
        "targets": {},
    }
    bars = []
    for target in sorted({t.target_ms for t in found}):
        some = [t for t in found if t.target_ms == target]
        seen = [t.seen_ms for t in some if t.seen_ms is not None]
        server = [t.server_ms for t in some if t.server_ms is not None]
        p90 = _round(quantile(seen, 0.9))
        row = {
            "prompts": len(some),
            "seen": len(seen),
            "p50_ms": _round(median(seen)),
            "p90_ms": p90,
            "worst_ms": _round(max(seen, default=None)),
            "server_p50_ms": _round(median(server)),
            "server_p90_ms": _round(quantile(server, 0.9)),
            "steps": [t.steps for t in some],
            "each_ms": [_round(t.seen_ms) for t in some],
        }
        figures["targets"][f"{target:.0f}"] = row
        bars.append(Bar(f"seen within {target:.0f} ms, p90", p90, "<=", target))
    bars.append(Bar("prompts whose change was seen / sent", sum(t.seen_ms is not None for t in found) / len(found),
                    ">=", 0.9))  # fmt: skip
    return figures, bars


def _round(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 1)
