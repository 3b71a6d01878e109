"""`farcast eval`: a checkpoint at 1 to 32 steps, measured on the toy world, or videos for VBench."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from models.evaluation import report
from stream.errors import ConfigError, user_errors

if TYPE_CHECKING:
    from models.checkpoint.bundle import Bundle
    from models.evaluation.suite import Plan, Result

app = typer.Typer(add_completion=False)
MANY = 20  # prompts from which on clips are analysed in processes of their own


@app.command("eval")
@user_errors()
def evaluate(
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub id; left out = the embedded model.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Step counts, as 1,2,4,8,16,32.")] = None,
    prompts: Annotated[int | None, typer.Option(help="Prompts at every step count; 200 if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other prompts.")] = 0,
    minutes: Annotated[float | None, typer.Option(help="Length of the long take; 0 = none, 10 if left out.")] = None,
    method: Annotated[
        str, typer.Option("--sampler", help="flowmap, or renoise for endpoint-consistency students.")
    ] = "flowmap",
    guidance: Annotated[
        float | None, typer.Option(help="Classifier-free guidance; 1 = off, left out = the model's own.")
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER[@SAMPLER][@gGUIDANCE], several in a row: only their curves, the first one being the "
            "teacher; with --model, beside the model's own."
        ),
    ] = None,
    more: Annotated[
        list[str] | None, typer.Argument(help="Further checkpoints of --compare.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for plots, contact sheet, figures.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few prompts and step counts: about two minutes on two cores.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[
        int | None, typer.Option(help="Processes that analyse clips, beside the one that samples; default: free cores.")
    ] = None,
    vbench: Annotated[Path | None, typer.Option(help="Write videos for VBench into this folder instead.")] = None,
    prompt_list: Annotated[
        Path | None, typer.Option(help="With --vbench: VBench's prompts, a .txt or a folder of them.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="With --vbench: videos a prompt; as VBench wants.")] = None,
    frames: Annotated[int, typer.Option(help="With --vbench: frames a video.")] = 81,
) -> None:
    """Evaluate a checkpoint."""
    folder = out if out is not None else vbench
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give a folder to write into.")
    from models.evaluation.suite import QUICK, Plan
    from models.evaluation.tasks.sampler import Sampler
    from models.rollout.state import SAMPLERS

    if method not in SAMPLERS:
        raise ConfigError(f"--sampler must be {' or '.join(SAMPLERS)}, not {method!r}.")
    plan = asked_for(QUICK if quick else Plan(), seed=seed, steps=steps, prompts=prompts, minutes=minutes, jobs=jobs)
    if more and not compare:
        raise ConfigError(f"{more[0]!r} stands alone; put --compare before the checkpoints to compare.")
    if vbench is not None:
        if prompt_list is None:
            raise ConfigError("--vbench needs --prompt-list: VBench's prompts/prompts_per_dimension, or a .txt of it.")
        sampler = Sampler(opened(model, device), method, guidance)
        count = plan.base if steps is not None else 4
        show_vbench(write_vbench(sampler, vbench, prompt_list, count, samples, frames, seed), json)
        return
    others = {}
    for text in (*(compare or ()), *(more or ())):
        name, place, how, scale = rival(text, SAMPLERS)
        others[name] = Sampler(opened(place, device), how, guidance if scale is None else scale)
    if others and model is None:
        show_comparison(others, plan, out, json)
        return
    from models.evaluation.suite import examine
    from models.evaluation.thresholds import bars

    result = examine(Sampler(opened(model, device), method, guidance), plan, teller(), others)
    measured = bars(result.figures)
    document = report.document("eval", finite(result.figures), measured)
    if out is not None:
        draw(result, out)
        write_text(out / "eval.json", as_json(document))
    if json:
        print(as_json(document), flush=True)
    else:
        print(readable(result.figures, measured), flush=True)


def asked_for(
    plan: Plan, *, seed: int, steps: str | None, prompts: int | None, minutes: float | None, jobs: int | None = None
) -> Plan:
    """The plan with what the command line changes. Fewer prompts shorten the other parts as well."""
    change: dict[str, Any] = {"seed": seed}
    if jobs is not None:
        change["jobs"] = jobs
    elif (prompts or plan.prompts) >= MANY:  # starting a process takes longer than reading a few clips
        change["jobs"] = min(8, (os.cpu_count() or 1) - 1)
    if steps is not None:
        change["steps"] = step_counts(steps)
    if prompts is not None:
        few = max(1, prompts // 4)
        change |= {
            "prompts": prompts,
            "starts": min(plan.starts, few),
            "switches": min(plan.switches, 2 * few),
            "selftests": min(plan.selftests, max(6, 2 * prompts)),
        }
    if minutes is not None:
        change["minutes"] = minutes
    return replace(plan, **change)


def step_counts(text: str) -> tuple[int, ...]:
    """ "1,2,4" to numbers, in order and each once. Raises ConfigError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise ConfigError(f"--steps must be numbers like 1,2,4,8, not {text!r}.")
    return tuple(sorted({int(part) for part in parts}))


def rival(text: str, samplers: tuple[str, ...]) -> tuple[str, str, str, float | None]:
    """ "NAME=FOLDER@SAMPLER@gGUIDANCE" to its parts, the last two in any order or left out. Raises ConfigError."""
    name, equals, place = text.partition("=")
    how, scale = samplers[0], None
    while "@" in place:
        rest, _, end = place.rpartition("@")
        if end in samplers:
            how = end
        elif end[:1] == "g" and end[1:].replace(".", "", 1).isdigit():
            scale = float(end[1:])
        else:
            break
        place = rest
    if not (name and equals and place):
        raise ConfigError(f"--compare must be NAME=FOLDER, NAME=FOLDER@SAMPLER or NAME=FOLDER@g2.5, not {text!r}.")
    return name, place, how, scale


def opened(model: str | None, device: str) -> Bundle:
    """The checkpoint. Raises ModelError."""
    from models.checkpoint.load import open_weights

    return open_weights(model, device)


def teller() -> Callable[[str], None]:
    """Says on a terminal how far it is; says nothing where nobody looks."""
    if not sys.stderr.isatty():
        return lambda text: None
    return lambda text: print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def draw(result: Result, out: Path) -> None:
    """Plots and the contact sheet into `out`. Raises ConfigError."""
    from models.evaluation import plots
    from models.evaluation.contact_sheet import contact_sheet

    try:
        out.mkdir(parents=True, exist_ok=True)
        plots.draw_steps(result.figures, out / "eval-steps.png")
        if result.rivals:
            plots.draw_rivals(result.figures, out / "eval-curve.png")
        if result.moments:
            plots.draw_long(result.moments, out / "eval-long.png")
        contact_sheet(result.columns, result.tasks).save(out / "eval-sheet.webp", quality=75, method=6)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}. Choose another --out.") from None


def show_comparison(samplers: Mapping[str, Any], plan: Plan, out: Path | None, json: bool) -> None:
    """The curves of several checkpoints, printed and drawn. Raises ConfigError."""
    from models.evaluation import compare

    made = compare.compare(samplers, plan, teller())
    measured = compare.bars(made.figures)
    document = report.document("eval-compare", finite(made.figures), measured)
    if out is not None:
        from models.evaluation import plots
        from models.evaluation.contact_sheet import contact_sheet

        try:
            out.mkdir(parents=True, exist_ok=True)
            plots.draw_comparison(made.figures, out / "compare.png")
            contact_sheet(made.sheet(), made.tasks).save(out / "compare-sheet.webp", quality=75, method=6)
        except OSError as error:
            raise ConfigError(f"{out} cannot be written: {error.strerror}. Choose another --out.") from None
        write_text(out / "compare.json", as_json(document))
    lines = [compare.table(made.figures), *verdicts(measured)]
    print(as_json(document) if json else "\n".join(lines), flush=True)


def write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Choose another --out.") from None


def write_vbench(
    sampler: Any, folder: Path, prompt_list: Path, steps: int, samples: int | None, frames: int, seed: int
) -> dict[str, Any]:
    """Videos for every list; how many there are and how steady the new ones are."""
    from models.evaluation.tasks import vbench
    from models.media.write import Mp4

    if frames < 2:
        raise ConfigError(f"--frames is {frames}; VBench needs 2 or more.")

    def write(pixels: np.ndarray[Any, np.dtype[np.uint8]], path: Path) -> None:
        with Mp4(path, sampler.bundle.width, sampler.bundle.height, sampler.bundle.fps) as clip:
            clip.write(pixels)

    done: dict[str, Any] = {}
    for path in vbench.lists(prompt_list):
        prompts = vbench.read_prompts(path)
        todo = list(vbench.videos(prompts, seed, vbench.samples_for(path, samples)))
        steady = vbench.make(sampler, todo, folder / path.stem, write, steps=steps, frames=frames, progress=teller())
        done[path.stem] = {
            "videos": len(todo),
            "made": len(steady),
            "temporal_flickering": float(np.mean(steady)) if steady else None,
        }
    return {"model": sampler.bundle.name, "steps": steps, "folder": str(folder), "lists": done}


def show_vbench(figures: Mapping[str, Any], json: bool) -> None:
    report.show("eval", figures, [], as_json=json)
    if not json:
        print(f"Score with: vbench evaluate --videos_path {figures['folder']}/DIMENSION --dimension DIMENSION")


def readable(figures: Mapping[str, Any], measured: list[report.Bar]) -> str:
    """For people."""
    from models.evaluation.thresholds import table

    machine = ", ".join(f"{key} {value}" for key, value in report.machine().items())
    lines = [f"farcast eval {figures['model']}, {figures['prompts']} prompts, seed {figures['seed']}", machine, ""]
    lines += ["attributes asked for and recognised, per cent (95 % interval)", table(figures), ""]
    for name in ("i2v", "v2v"):
        if name in figures:
            lines.append(f"{name}: " + ", ".join(f"{key} {cell['value']:.3g}" for key, cell in figures[name].items()))
    for name, part in figures.get("switch", {}).items():
        lines.append(f"switch, {name}: " + ", ".join(f"{key} {cell['value']:.3g}" for key, cell in part.items()))
    if "long" in figures:
        lines.append(f"long run: {report.number(finite(figures['long']))}")
    return "\n".join([*lines, "", *verdicts(measured)])


def verdicts(measured: list[report.Bar]) -> list[str]:
    """Every bar in a line."""
    return [
        f"  {'holds' if bar.holds else 'FAILS'}  {bar.name}: {report.number(bar.value)} {bar.op} {bar.bound:g}"
        for bar in measured
    ]


def as_json(document: Mapping[str, Any]) -> str:
    import json as jsonlib

    return jsonlib.dumps(finite(document))


def finite(value: Any) -> Any:
    """JSON knows no NaN: what could not be measured is null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if np.isfinite(value) else None
    return value
