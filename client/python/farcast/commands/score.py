"""`farcast score show SCORE.json`: what happened in a take, readably. Needs no model and no server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..protocol import Score, ScoreEntry, ScoreError, parse_score
from ..protocol.score import MAX_BYTES

app = typer.Typer(add_completion=False)
WIDTH = 60  # of a line of budgets


@app.callback()
def score() -> None:
    """Look at the score of a take."""


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="The score, as GET /v1/sessions/ID/score gives it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as one JSON object.")] = False,
) -> None:
    """Print a score readably; a score that makes no sense is refused with the place where it does not."""
    take = read_score(file)
    if as_json:
        typer.echo(json.dumps(summary(take)))
    else:
        for line in readable(take):
            typer.echo(line)


def read_score(file: Path) -> Score:
    """The score in a file. Raises ScoreError."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ScoreError(f"{file} is over {MAX_BYTES // 2**20} MiB. Is it a score?", code="not_a_score")
        data = file.read_bytes()
    except OSError as error:
        raise ScoreError(f"{file} cannot be read: {error.strerror or error}.", code="no_file") from None
    return parse_score(data)


def summary(score: Score) -> dict[str, Any]:
    """The score in numbers."""
    kinds = [entry.kind for entry in score.entries]
    budgets = {len(sigmas) - 1 for _, _, sigmas in stretches(score)}
    return {
        "model": score.model,
        "weights": score.weights,
        "seed": score.seed,
        "guidance": score.guidance,
        "width": score.width,
        "height": score.height,
        "fps": score.fps,
        "chunks": score.chunks,
        "complete": score.complete,
        "prompts": kinds.count("prompt"),
        "images": kinds.count("image"),
        "clips": kinds.count("clip"),
        "returns": kinds.count("rebuilt"),
        "dial_moves": max(0, kinds.count("dial") - 1),
        "steps": [min(budgets), max(budgets)] if budgets else None,
        "checksums": bool(score.checks),
    }


def stretches(score: Score) -> Iterator[tuple[int, int, tuple[float, ...]]]:
    """(first chunk, last chunk, noise levels) for each stretch of one budget."""
    budgets = [(entry.chunk, entry.sigmas) for entry in score.entries if entry.sigmas is not None]
    for index, (chunk, sigmas) in enumerate(budgets):
        end = budgets[index + 1][0] if index + 1 < len(budgets) else score.chunks
        if end > chunk:
            yield chunk, end - 1, sigmas


def readable(score: Score) -> Iterator[str]:
    """The score in lines for people."""
    yield f"Take of {score.chunks} chunks, {score.width}x{score.height} at {score.fps:g} frames a second"
    weights = f" ({score.weights})" if score.weights else ""
    yield f"  model     {score.model}{weights}, guidance {score.guidance:g}, seed {score.seed}"
    made = score.made_with
    if made.library:
        threads = f", {made.threads} thread{'s' if made.threads != 1 else ''}" if made.threads else ""
        yield f"  made with {made.library} on {made.device}{threads}"
    if not score.complete:
        yield f"  The score was full: only the first {score.chunks} chunks of the take are in it."
    yield ""
    yield "  chunk"
    for entry in score.entries:
        if (line := words(entry)) is not None:
            yield f"  {entry.chunk:>5}  {line}"
    yield ""
    yield "  steps a chunk"
    line = ""
    for first, last, sigmas in stretches(score):
        part = f"{first}-{last}: {len(sigmas) - 1}" if last > first else f"{first}: {len(sigmas) - 1}"
        if len(line) + len(part) > WIDTH:
            yield f"    {line}"
            line = ""
        line += f", {part}" if line else part
    if line:
        yield f"    {line}"


def words(entry: ScoreEntry) -> str | None:
    """One entry in words; None for what is shown elsewhere."""
    match entry.kind:
        case "prompt":
            chunks = "one chunk" if entry.transition == 1 else f"{entry.transition} chunks"
            over = f", blended in over {chunks}" if entry.transition else ""
            return f"prompt  {entry.prompt}{over}"
        case "image":
            return f"image   a new shot from a picture ({len(entry.image or '') * 3 // 4 // 1024 + 1} KiB)"
        case "clip":
            return f"clip    goes on from {entry.frames} frames"
        case "dial":
            assert entry.dial is not None
            dial = entry.dial
            fixed = f"{dial.steps} steps" if dial.steps else f"{dial.floor} to {dial.ceiling} steps"
            return f"dial    {dial.latency_ms:.0f} ms, {fixed}"
        case "rebuilt":
            return "return  the take came back to this chunk"
        case _:
            return None
