"""`farcast bench NAME`: finds `bench.commands.NAME` and hands over; without a name it lists them."""

from __future__ import annotations

import ast
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

import bench.commands
from stream.errors import ConfigError, user_errors

app = typer.Typer(add_completion=False)


def names() -> list[str]:
    """Every bench there is, as it is typed."""
    found = (module.name for module in pkgutil.iter_modules(bench.commands.__path__))
    return sorted(name.replace("_", "-") for name in found)


def summary(name: str) -> str:
    """What a bench is for: its module's first line, read without importing it."""
    path = Path(bench.commands.__path__[0]) / f"{name.replace('-', '_')}.py"
    first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
    return first.partition(": ")[2] or first


# Each bench parses its own options, `--help` too.
PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command("bench", context_settings=PASS_ON)
@user_errors()
def run(context: typer.Context, name: Annotated[str | None, typer.Argument(help="Which bench.")] = None) -> None:
    """Measure something; every bench takes --json and --quick."""
    if name is None or name in ("-h", "--help"):
        typer.echo("Usage: farcast bench NAME [--json] [--quick] [OPTIONS]\n\nBenches:")
        for known in names():
            typer.echo(f"  {known:<16} {summary(known)}")
        return
    if name not in names():
        raise ConfigError(f"There is no bench {name!r}. There are: {', '.join(names())}.")
    module = import_module(f"bench.commands.{name.replace('-', '_')}")
    module.app(args=context.args, prog_name=f"farcast bench {name}")
