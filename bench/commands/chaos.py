"""`farcast bench chaos`: random faults while three sessions stream: lost sessions, seconds until the picture moves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.chaos.rounds import Setting, measure
from bench.transport.subprocesses import run
from models.evaluation.report import Bar, show
from stream.config import ServerConfig

app = typer.Typer(add_completion=False)


@app.command("chaos")
def chaos(
    rounds: Annotated[int, typer.Option(help="Faults, one after the other.", min=1)] = 100,
    model: Annotated[str | None, typer.Option(help="Checkpoint; left out = the embedded model.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of every chunk, fixed, so that pixels can be compared.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the order of faults, and of the sessions.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="8 rounds: every fault once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    engine: Annotated[str, typer.Option(hidden=True)] = ServerConfig.engine,
) -> None:
    """A server of its own on loopback (Linux). Takes about ten seconds a round."""
    setting = Setting(8 if quick else rounds, seed=seed, steps=steps, model=model, engine=engine)
    figures = run(measure(setting, lambda line: typer.echo(line, err=True)))
    show("chaos", figures, bars(figures), as_json=as_json)


def bars(figures: dict[str, Any]) -> list[Bar]:
    killed = figures["by_fault"].get("engine killed")
    statuses = sum(status != 0 for status in figures["exit_statuses_after_sigterm"])
    found = [
        Bar("sessions lost", len(figures["sessions_lost"]), "==", 0),
        Bar("clients not told", len(figures["clients_not_told"]), "==", 0),
        Bar("tracebacks in the server's log", figures["tracebacks"], "==", 0),
        Bar("ends of the server that nobody asked for", figures["server_exits_by_itself"], "==", 0),
        Bar("other exit statuses than 0 after SIGTERM", statuses, "==", 0),
        Bar("chunks compared with an uninterrupted run", figures["chunks_compared"], ">", 0),
        Bar("pixels equal: chunks that differ", len(figures["chunks_that_differ"]), "==", 0),
    ]
    if killed is not None:
        found.insert(1, Bar("engine killed: median s until the picture moves", killed["median_s"], "<=", 2.0))
    return found
