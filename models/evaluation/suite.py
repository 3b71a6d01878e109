"""The evaluation of a checkpoint: the analyser's self-test, then every task of `models.evaluation.tasks`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from models.errors import RequestError
from models.evaluation.judge.selftest import SelfTest, selftest
from models.evaluation.judge.worker_pool import AnalyserPool
from models.evaluation.prompts import Task, draw
from models.evaluation.tasks import i2v_v2v, long_video, prompt_switch, t2v
from models.evaluation.tasks.sampler import Sampler
from models.rollout.flowmap import check_steps

MAX_PROMPTS = 10_000
MAX_JOBS = 256
BASE = 4  # the step count of starts, prompt changes and the long take, and the one that others are compared with


@dataclass(frozen=True)
class Plan:
    """How much to run; 0 leaves a part out. prompts: of text to video, a step count. minutes: of the long video."""

    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    prompts: int = 200
    starts: int = 40
    switches: int = 80
    selftests: int = 200
    minutes: float = 10.0
    seed: int = 0
    jobs: int = 0  # processes that analyse clips beside the one that samples them

    def __post_init__(self) -> None:
        if not self.steps:
            raise RequestError("no step count given; use --steps 1,2,4,8 or leave it out")
        for count in self.steps:
            check_steps(count)
        if not 0 <= self.jobs <= MAX_JOBS:
            raise RequestError(f"jobs is {self.jobs}; it must be from 0 (no process beside this one) to {MAX_JOBS}")
        for name in ("prompts", "starts", "switches", "selftests"):
            value = getattr(self, name)
            if not 0 <= value <= MAX_PROMPTS:
                raise RequestError(f"{name} is {value}; it must be from 0 to {MAX_PROMPTS}")
        if self.prompts < 1:
            raise RequestError("prompts is 0; at least one prompt is needed")
        if not 0 <= self.minutes <= 24 * 60:
            raise RequestError(f"minutes is {self.minutes}; it must be from 0 (no long run) to 1440")

    @property
    def base(self) -> int:
        """`BASE` when it is among the step counts, else the nearest there is."""
        return min(self.steps, key=lambda count: abs(count - BASE))


QUICK = Plan(steps=(1, 4), prompts=4, starts=1, switches=2, selftests=6, minutes=0.1)


@dataclass(frozen=True)
class Result:
    """figures: for JSON. columns, tasks, moments: for plots and the contact sheet. rivals: others' columns."""

    figures: dict[str, Any]
    tasks: list[Task]
    columns: list[t2v.Column]
    moments: list[long_video.Moment] = field(default_factory=list)
    rivals: dict[str, list[t2v.Column]] = field(default_factory=dict)


def examine(sampler: Sampler, plan: Plan, progress: t2v.Progress, rivals: dict[str, Sampler] | None = None) -> Result:
    """Run the plan on one checkpoint, and text to video on every rival with the same prompts and seeds."""
    with AnalyserPool(plan.jobs) as pool:
        return _examine(sampler, plan, progress, rivals or {}, pool)


def _examine(
    sampler: Sampler, plan: Plan, progress: t2v.Progress, rivals: dict[str, Sampler], pool: AnalyserPool
) -> Result:
    figures: dict[str, Any] = {"model": sampler.bundle.name, "seed": plan.seed, "prompts": plan.prompts}
    tested = _analyser(plan, progress, pool) if plan.selftests else {}
    tasks = draw("t2v", plan.prompts, plan.seed)
    columns = t2v.run(sampler, tasks, plan.steps, plan.seed, progress, pool)
    figures["t2v"] = {column.name: t2v.summary(column, tasks) for column in columns}
    figures["against_4"] = _against(columns, tasks, plan)
    if plan.starts:
        figures |= i2v_v2v.run(sampler, draw("starts", plan.starts, plan.seed), plan.base, plan.seed, progress)
    if plan.switches:
        cases = prompt_switch.draw(plan.switches, plan.seed)
        figures["switch"] = prompt_switch.summary(prompt_switch.run(sampler, cases, plan.base, progress))
    moments = []
    if plan.minutes:
        moments = long_video.run(sampler, draw("long", 1, plan.seed)[0], plan.base, plan.minutes, progress)
        figures["long"] = long_video.summary(moments)
    others = {
        name: [t2v.text_to_video(other, tasks, count, progress, pool) for count in plan.steps]
        for name, other in rivals.items()
    }
    if others:
        figures["rivals"] = {
            name: {column.name: t2v.summary(column, tasks) for column in made} for name, made in others.items()
        }
    if tested:
        figures["analyser"] = {kind: test.result().figures for kind, test in tested.items()}
    return Result(figures, tasks, columns, moments, others)


def _analyser(plan: Plan, progress: t2v.Progress, pool: AnalyserPool) -> dict[str, Future[SelfTest]]:
    """The self-test. Started first: with processes in the pool it runs beside the sampling of the first clips."""
    tests = {}
    for kind, degraded in (("true", False), ("degraded", True)):
        progress(f"analyser on {plan.selftests} {kind} clips")
        tests[kind] = pool.submit(selftest, plan.selftests, seed=plan.seed, degraded=degraded)
    return tests


def _against(columns: Sequence[t2v.Column], tasks: Sequence[Task], plan: Plan) -> dict[str, Any]:
    """Paired differences of every larger step count and 4 steps, on the same prompts and seeds."""
    by_name = {column.name: column for column in columns}
    if BASE not in plan.steps:
        return {}
    return {
        str(count): t2v.against(by_name[str(count)], by_name[str(BASE)], tasks)
        for count in sorted(plan.steps)
        if count > BASE
    }
