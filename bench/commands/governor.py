"""`farcast bench governor`: the governor in simulation, against simpler controllers and the exact optimum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.governor.figures import run
from models.evaluation.report import Bar, show
from stream.errors import ConfigError

app = typer.Typer(add_completion=False)

COLUMNS = {
    "misses": "misses",
    "steps_of_best": "steps / best",
    "mean_steps": "steps",
    "changes_per_minute": "changes / min",
    "underruns_per_hour": "underruns / h",
}


@app.command("governor")
def governor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="One seed and shorter runs: under a minute.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for the page (governor.md) and its plots.")] = None,
) -> None:
    """Simulate the governor on synthetic devices and hold it against its bars."""
    if plots is not None and plots.exists() and not plots.is_dir():
        raise ConfigError(f"--plots must be a folder, and {plots} is a file.")
    figures, bars, cells = run(quick=quick)
    if plots is not None:
        from bench.governor.page import write
        from bench.governor.plots import draw

        plots.mkdir(parents=True, exist_ok=True)
        draw(figures, cells, plots)
        write(figures, bars, plots, quick=quick)
    if json:
        show("governor", figures, bars, as_json=True)
    else:
        typer.echo(table(figures, bars))


def table(figures: dict[str, Any], bars: list[Bar]) -> str:
    """The same for people."""
    width = 24
    lines = [" " * width + "".join(f"{title:>15}" for title in COLUMNS.values())]

    def rows(prefix: str, part: dict[str, Any]) -> None:
        for name, row in part.items():
            if isinstance(row, dict):
                lines.append(f"{prefix + name:{width}}" + "".join(f"{row[key]:15.4g}" for key in COLUMNS))

    rows("", figures["all"])
    for key in ("by_trace", "by_target_ms"):
        lines.append("")
        for name, part in figures[key].items():
            unit = " ms" if key == "by_target_ms" else ""
            rows(f"{name}{unit}: ", {"farcast": part["farcast"]})
    lines.append("\nprompt to pixel, seconds (p50 / p90), with the policy | without")
    for name, of in figures["prompt_to_pixel"].items():
        for target, both in of.items():
            if isinstance(both, dict):
                cells = [f"{both[k]['p50_s']:.2f} / {both[k]['p90_s']:.2f}" for k in ("policy", "none")]
                lines.append(f"{name + ', ' + target:{width}}  {cells[0]} | {cells[1]}")
    lines.append("")
    for bar in bars:
        lines.append(f"{'holds' if bar.holds else 'FAILS'}  {bar.name}: {bar.value:.4g} {bar.op} {bar.bound}")
    return "\n".join(lines)
