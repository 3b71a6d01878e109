"""Several checkpoints on the same prompts and seeds: quality against steps.

AnyFlow's claim (arXiv 2605.13724): a student whose flow map was trained on its own rollouts is as good at few steps as
its teacher at many, and does not get worse with more, as endpoint-consistency students do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.evaluation.judge.worker_pool import AnalyserPool
from models.evaluation.prompts import Task, draw
from models.evaluation.report import Bar
from models.evaluation.suite import Plan
from models.evaluation.tasks import t2v
from models.evaluation.tasks.sampler import Sampler

NEAR = 0.05  # difference of quality to the teacher that is allowed


@dataclass(frozen=True)
class Comparison:
    """figures: ready for JSON. columns: a list a checkpoint, one column a number of steps."""

    figures: dict[str, Any]
    tasks: list[Task]
    columns: dict[str, list[t2v.Column]]

    def sheet(self) -> list[t2v.Column]:
        """Columns of the contact sheet: every checkpoint at the fewest steps and at the base."""
        counts = self.figures["steps"]
        shown = {str(counts[0]), str(self.figures["base"])}
        return [
            t2v.Column(f"{name}, {column.name}", column.clips, column.stills, column.seconds)
            for name, columns in self.columns.items()
            for column in columns
            if column.name in shown
        ]


def compare(samplers: Mapping[str, Sampler], plan: Plan, progress: t2v.Progress) -> Comparison:
    """Text to video by every checkpoint. The first one is the teacher, which the others are compared with."""
    tasks = draw("t2v", plan.prompts, plan.seed)
    columns: dict[str, list[t2v.Column]] = {}
    with AnalyserPool(plan.jobs) as pool:
        for name, sampler in samplers.items():

            def tell(text: str, name: str = name) -> None:
                progress(f"{name}, {text}")

            columns[name] = [t2v.text_to_video(sampler, tasks, count, tell, pool) for count in plan.steps]
    figures: dict[str, Any] = {
        "prompts": plan.prompts, "seed": plan.seed, "steps": list(plan.steps), "base": plan.base,
        "checkpoints": {
            name: {
                "model": sampler.bundle.name, "sampler": sampler.method, "guidance": sampler.scale,
                "t2v": {column.name: t2v.summary(column, tasks) for column in columns[name]},
                **_held(columns[name], next(iter(columns.values())), tasks, plan.base),
            }
            for name, sampler in samplers.items()
        },
    }  # fmt: skip
    return Comparison(figures, tasks, columns)


def _held(
    columns: Sequence[t2v.Column], first: Sequence[t2v.Column], tasks: Sequence[Task], base: int
) -> dict[str, dict[str, float]]:
    """Paired differences of quality: this one's most steps less its base, and its base less the first one's most."""
    few = next(column for column in columns if column.name == str(base))
    return {
        "more_steps": t2v.against(columns[-1], few, tasks),
        "few_against_first": t2v.against(few, first[-1], tasks),
    }


def bars(figures: Mapping[str, Any], name: str = "anyflow") -> list[Bar]:
    """The claim as bars on the checkpoint `name`, where it is among those compared and not the first."""
    first, most = next(iter(figures["checkpoints"])), figures["steps"][-1]
    if name not in figures["checkpoints"] or name == first:
        return []
    part = figures["checkpoints"][name]
    more, few = part["more_steps"], part["few_against_first"]
    return [
        Bar(f"{name}: quality at {most} steps less that at {figures['base']}, with its error",
         more["value"] + more["error95"], ">=", 0.0),
        Bar(f"{name} at {figures['base']} steps less {first} at {most}, with its error",
         few["value"] + few["error95"], ">=", -NEAR),
    ]  # fmt: skip


def table(figures: Mapping[str, Any]) -> str:
    """Quality (share of the attributes asked for) and fidelity of every checkpoint, a line each, for people."""
    counts = [str(count) for count in figures["steps"]]
    width = max(len(name) for name in figures["checkpoints"])
    lines = [f"{'':{width}}  " + "  ".join(f"{count + ' steps':>12}" for count in counts)]
    for kind, unit, digits in (("quality", 100, 1), ("fidelity", 1, 2)):
        lines.append(f"{kind}, {'per cent' if kind == 'quality' else 'dB'} (standard error)")
        for name, part in figures["checkpoints"].items():
            cells = [part["t2v"][count][kind] for count in counts]
            values = [f"{unit * c['value']:.{digits}f} ({unit * c['error']:.{digits}f})" for c in cells]
            lines.append(f"{name:{width}}  " + "  ".join(f"{value:>12}" for value in values))
    most = figures["steps"][-1]
    lines.append(f"paired differences of quality, with 95 % error: {most} steps less {figures['base']}; "
                 f"{figures['base']} steps less {next(iter(figures['checkpoints']))} at {most}")  # fmt: skip
    for name, part in figures["checkpoints"].items():
        more, few = part["more_steps"], part["few_against_first"]
        lines.append(
            f"{name:{width}}  {100 * more['value']:+.1f} ± {100 * more['error95']:.1f}    "
            f"{100 * few['value']:+.1f} ± {100 * few['error95']:.1f}"
        )
    return "\n".join(lines)
