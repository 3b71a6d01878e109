"""The `farcast` command: finds a command by its name, loads it, runs it, and prints an error as one line.

Commands are entry points of the group `farcast.commands`: farcast brings watch, score and schema, farcast-server the
others. This file imports neither, so `farcast watch` does not import torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from . import __version__
from .errors import FarcastError

GROUP = "farcast.commands"
SERVER = "Install farcast-server: pip install ./client/python . in a checkout of Farcast, or `make run` there."
BENCHES = "Benches come with the repository: git clone it, cd into it, `make run` once, then .venv/bin/farcast bench."
_SUMMARIES = {
    "serve": "Start the server and its page.",
    "generate": "Write a clip to a file.",
    "bench": "Measure something and print figures.",
    "eval": "What a checkpoint can do at 1 to 32 steps.",
    "info": "Say what a checkpoint is and which words it knows.",
    "doctor": "Check what this machine needs for a server.",
    "train": "Train the embedded model.",
    "up": "Start a fleet of servers on this machine.",
    "gateway": "Answer for a fleet of servers.",
    "drain": "Move the sessions of one server of a fleet to the others.",
    "render": "Replay a take at another step budget.",
    "score": "Show a take's score.",
    "watch": "Watch a server and save the video.",
    "sessions": "List and end the sessions of a server.",
    "schema": "Print the wire as AsyncAPI or JSON Schema.",
}


class Unavailable(Exception):
    """A command that cannot be loaded here; the message says why and what to do."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script. Exits with the command's status; 2 for wrong usage, 1 for errors."""
    args = list(sys.argv[1:] if argv is None else argv)
    commands = discover()
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage(commands))
        raise SystemExit(0 if args else 2)
    if args[0] in ("-V", "--version"):
        print(f"farcast {__version__}")
        raise SystemExit(0)
    name, rest = args[0], args[1:]
    if name not in commands:
        if name in _SUMMARIES:  # one of the server's, which is not installed here
            _fail(f"the command {name!r} comes with the server. {SERVER}")
        known = ", ".join(sorted(commands)) or "none; install farcast first"
        _fail(f"no command {name!r}. Commands: {known}.", status=2)
    try:
        command = load(commands[name])
    except Unavailable as error:
        _fail(str(error))
    run(command, rest, prog=f"farcast {name}")


def run(command: Callable[..., Any], args: list[str], *, prog: str) -> None:
    """Run a typer command; any error ends as one line on the terminal, never as a traceback."""
    try:
        command(args=args, prog_name=prog)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # `farcast ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if os.environ.get("FARCAST_DEBUG"):
            raise
        if isinstance(error, FarcastError):  # its message says what to do
            _fail(str(error))
        if isinstance(error, ImportError):
            _fail(str(_missing(error)))
        _fail(f"internal error: {type(error).__name__}: {error}. Set FARCAST_DEBUG=1 for the traceback.")


def discover() -> dict[str, EntryPoint]:
    """Announced commands by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def load(entry: EntryPoint) -> Callable[..., Any]:
    """The command behind an entry point. Raises Unavailable when its packages are not installed."""
    try:
        target = entry.load()
    except ModuleNotFoundError as error:
        if error.name == "bench":  # never part of a wheel
            raise Unavailable(BENCHES) from None
        if error.name == entry.module or (error.name or "").startswith("stream.cli"):
            raise Unavailable(f"the command {entry.name!r} is not part of this version.") from None
        raise _missing(error) from None
    except ImportError as error:
        raise _missing(error) from None
    import typer

    if isinstance(target, typer.Typer):
        return target
    app = typer.Typer(add_completion=False)
    app.command()(target)
    return app


def usage(commands: dict[str, EntryPoint]) -> str:
    """What `farcast --help` prints. Loads no command."""
    order = [*_SUMMARIES, *sorted(set(commands) - set(_SUMMARIES))]
    rows = [f"  {name:<10} {_SUMMARIES.get(name, '')}".rstrip() for name in order if name in commands]
    lines = ["Usage: farcast COMMAND [OPTIONS]", "", "Live video you can steer while it is generated.", ""]
    return "\n".join([*lines, "Commands:", *rows, "", "farcast COMMAND --help tells the options of a command."])


def _missing(error: ImportError) -> Unavailable:
    what = error.name or str(error)
    return Unavailable(f"this command needs {what}, which is not installed. {SERVER}")


def _fail(message: str, *, status: int = 1) -> None:
    print(f"farcast: {message}", file=sys.stderr)
    raise SystemExit(status)
