"""`farcast render SCORE.json`: a live take made again, at more steps or bit for bit as it was."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from farcast.commands.score import read_score
from farcast.protocol import Score, limits

from models.media.write import Mp4, check_folder
from stream.errors import ConfigError, user_errors

from .options import Decoder, Lora

app = typer.Typer(add_completion=False)
LIVE = "live"


@app.command()
@user_errors()
def render(
    score: Annotated[Path, typer.Argument(help="The score of the take, from the page or GET .../score.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The MP4 to write.")],
    steps: Annotated[
        str,
        typer.Option(help="Steps a chunk, 1 to 50; live = those of the take, which gives its frames again exactly."),
    ] = LIVE,
    model: Annotated[
        str | None,
        typer.Option(help="Checkpoint folder or hub id the take was made with; left out = the embedded one."),
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Render with this model whatever made the take.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    decoder: Decoder = None,
    lora: Lora = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = as many as the live take had.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a take again from its score, prompts, images and rewinds included."""
    take, budget = read_score(score), budget_of(steps)
    check_folder(output)
    if not take.chunks:
        raise ConfigError("The take has no finished chunk, so there is nothing to render.")
    import torch

    from models.checkpoint.load import default_threads, open_weights
    from stream.score.replay import Replay

    torch.set_num_threads(threads or take.made_with.threads or default_threads())
    bundle = open_weights(model, device, decoder=decoder, lora=lora or ())
    replay = Replay(bundle, take, steps=budget, any_model=any_model)
    began, writing, made, differ, known = time.perf_counter(), 0.0, 0, [], 0
    digest = hashlib.sha256()
    with (
        Mp4(output, take.width, take.height, take.fps) as out,
        typer.progressbar(
            replay, length=take.chunks, label="chunks", file=sys.stderr, show_pos=True, hidden=not sys.stderr.isatty()
        ) as chunks,
    ):
        for chunk in chunks:
            wrote = time.perf_counter()
            out.write(chunk.frames)
            digest.update(chunk.frames.data)
            writing += time.perf_counter() - wrote
            made += len(chunk.frames)
            known += chunk.exact is not None
            if chunk.exact is False:
                differ.append(chunk.chunk)
    seconds = time.perf_counter() - began - writing
    report: dict[str, Any] = {
        "output": str(output),
        "frames": made,
        "chunks": take.chunks,
        "width": take.width,
        "height": take.height,
        "fps": take.fps,
        "steps": budget or LIVE,
        "model": replay.bundle.name,
        "exact": not differ if known else None,
        "chunks_that_differ": differ,
        "sha256": digest.hexdigest(),
        "seconds": round(seconds, 4),
        "realtime_factor": round(made / take.fps / seconds, 4),
    }
    if as_json:
        print(json.dumps(report))
    else:
        print("\n".join(report_lines(report, take)))
    for line in warnings(report, take):
        print(f"farcast render: {line}", file=sys.stderr)


def budget_of(steps: str) -> int | None:
    """None for the live steps. Raises ConfigError."""
    if steps == LIVE:
        return None
    low, high = limits.STEPS
    if not steps.isdigit() or not low <= int(steps) <= high:
        raise ConfigError(f"--steps must be a whole number from {low} to {high}, or {LIVE}; got {steps!r}.")
    return int(steps)


def report_lines(report: dict[str, Any], take: Score) -> list[str]:
    """The report for people."""
    steps = "the live steps" if report["steps"] == LIVE else f"{report['steps']} steps a chunk"
    lines = [
        f"{report['output']}: {report['frames']} frames in {report['chunks']} chunks at {steps}; "
        f"{report['seconds']:.1f} s, {report['realtime_factor']:.2f} times as fast as it plays"
    ]
    if report["exact"]:
        lines.append(f"Every one of the {report['chunks']} chunks is bit for bit the live one.")
    return lines


def warnings(report: dict[str, Any], take: Score) -> list[str]:
    """What the user should know besides."""
    lines = []
    if not take.complete:
        lines.append(f"the score was full, so the take went on after these {take.chunks} chunks.")
    if report["exact"] is False:
        made = take.made_with
        lines.append(
            f"{len(report['chunks_that_differ'])} of {report['chunks']} chunks differ from the live ones in their last "
            f"bits or more. They are the same on the like of what made them: {made.library} on {made.device} with "
            f"{made.threads} threads, and the same processor."
        )
    return lines
