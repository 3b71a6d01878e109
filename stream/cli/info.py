"""`farcast info`: what a checkpoint is and what it takes, without a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.errors import user_errors

from .options import Model

if TYPE_CHECKING:
    from models.checkpoint.bundle import Bundle

app = typer.Typer(add_completion=False)

LICENCES = (
    ("nvidia/", "NVIDIA's weights are for non-commercial use only; the licence is at https://huggingface.co/{source}."),
    ("", "The weights' licence is that of whoever published {source}; read it there."),
)
EMBEDDED = "Apache-2.0, as the rest of Farcast."


@app.command()
@user_errors()
def info(
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print a checkpoint's name, size, licence, steps, guidance and vocabulary. Opens it on the CPU."""
    from models.checkpoint.load import open_weights

    bundle = open_weights(model, "cpu", "eager")
    found = facts(bundle, model)
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))


def facts(bundle: Bundle, source: str | None) -> dict[str, Any]:
    """What the command prints, ready for JSON; null where the checkpoint does not say."""
    known = bundle.vocabulary
    return {
        "name": bundle.name,
        "parameters": sum(p.numel() for p in bundle.transformer.parameters()),
        "width": bundle.width,
        "height": bundle.height,
        "fps": bundle.fps,
        "streams": bundle.streams,
        "licence": licence(source),
        "steps": bundle.steps,
        "guidance": bundle.guidance,
        "guidance_range": bundle.guidance_range,
        "vocabulary": None if known is None else {kind: list(words) for kind, words in known.words.items()},
        "caption": None if known is None else known.caption,
        "examples": list(bundle.examples) if known is not None or source is None else [],
    }


def licence(source: str | None) -> str:
    """A note on the licence of the weights in `source`, a folder or hub id; None is the embedded model."""
    if source is None:
        return EMBEDDED
    if source.startswith("random:"):
        return "Random weights; there is nothing to license."
    return next(note for start, note in LICENCES if source.startswith(start)).format(source=source)


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    picture = f"{found['width']}x{found['height']} at {found['fps']} fps"
    size = f"{found['parameters'] / 1e6:.3g} million parameters in the transformer, {picture}"
    offline = "" if found["streams"] else "; bidirectional, for `farcast generate` only"
    rows = [
        (found["name"], size + offline),
        ("licence", found["licence"]),
        ("steps", _steps(found["steps"])),
        ("guidance", _guidance(found["guidance"], found["guidance_range"])),
    ]
    if found["vocabulary"] is None:
        rows.append(("vocabulary", "free text"))
    else:
        rows += [(kind, ", ".join(words)) for kind, words in found["vocabulary"].items()]
        rows.append(("caption", found["caption"]))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _steps(steps: int | None) -> str:
    return "1 to 50" if steps is None else f"1 to 50; more than {steps} measure no better"


def _guidance(own: float, span: tuple[float, float] | None) -> str:
    return f"{own:g}" + ("" if span is None else f"; {span[0]:g} to {span[1]:g} can be asked for")
