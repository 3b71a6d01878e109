"""`farcast bench render`: how close a take rendered at more steps stays to the live one, and what it gains."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from farcast.commands.score import read_score

from bench.live.render_study import ANOTHER, Study, directed
from models.evaluation.report import Bar, machine, show
from stream.errors import ConfigError

if TYPE_CHECKING:

    pass

app = typer.Typer(add_completion=False)


@app.command("render")
def render(
    live_steps: Annotated[int, typer.Option(min=1, max=50, help="Steps of the live take.")] = 2,
    steps: Annotated[str, typer.Option(help="Step counts to render at, as 4,8,32.")] = "4,8,16,32",
    takes: Annotated[int, typer.Option(min=1, max=100, help="Takes to average over.")] = 4,
    seed: Annotated[int, typer.Option(help="Another seed directs other takes.")] = 0,
    score: Annotated[Path | None, typer.Option(help="This take, instead of takes directed here.")] = None,
    model: Annotated[str | None, typer.Option(help="Checkpoint; left out = the embedded model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    plots: Annotated[
        Path | None, typer.Option(help="Folder for the page render.md, its curves and the side-by-side clip.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A rough answer in under a minute.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Direct takes of three prompts and a picture, make each live and at other steps, and compare frame by frame."""
    budgets = counts(steps)
    if plots is not None and plots.exists() and not plots.is_dir():
        raise ConfigError(f"{plots} is a file; give a folder to write into.")
    if quick:
        takes, budgets = 1, [budgets[0], budgets[-1]] if len(budgets) > 1 else budgets
    import torch

    from models.checkpoint.load import default_threads, open_weights

    torch.set_num_threads(default_threads())
    bundle = open_weights(model, device)
    study = Study(bundle, budgets, live_steps if score is None else None)
    if score is not None:
        study.add(read_score(score), [])
    else:
        for number in range(takes):
            study.add(*directed(bundle, live_steps, seed + number))
            print(f"take {number + 1} of {takes}", file=sys.stderr)
    figures = study.figures()
    figures["live_steps"] = live_steps if score is None else "as the score says"
    if plots is not None:
        from bench.live.render_page import write

        plots.mkdir(parents=True, exist_ok=True)
        write(plots, figures, study, machine())
    show("render", {k: v for k, v in figures.items() if k != "curves"}, bars(figures, budgets), as_json=as_json)


def counts(text: str) -> list[int]:
    """ "4,8" to numbers, rising. Raises ConfigError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 1 <= int(part) <= 50 for part in parts):
        raise ConfigError(f"--steps must be step counts from 1 to 50 like 4,8,32; got {text!r}.")
    return sorted({int(part) for part in parts})


def bars(figures: dict[str, Any], budgets: Sequence[int]) -> list[Bar]:
    """What must hold: the live steps give the live frames, and more steps are nearer to it than another take."""
    rows = figures["by_steps"]
    most, other = rows[str(budgets[-1])], rows[ANOTHER]
    return [
        Bar("the live steps give the live frames again", float(figures["exact_at_live_steps"]), "==", 1.0),
        Bar(
            f"{budgets[-1]} steps: PSNR to the live take, dB, above another seed's",
            most["psnr_db"],
            ">",
            other["psnr_db"],
        ),
        Bar(f"{budgets[-1]} steps: colours differ less than another seed's", most["colours"], "<", other["colours"]),
    ]
