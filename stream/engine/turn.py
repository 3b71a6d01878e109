"""A new prompt (or picture) has come: is the chunk in progress restarted under it, finished now, or carried on?

What is already made must play out in any case, so the new prompt can be seen when the lead has run down or when its first
chunk is made, whichever is later. Restarting throws work away but is the quickest way to that chunk; carrying on costs the
remaining steps and a chunk's playing time. Take the gentlest choice that still meets the latency target.
"""

from __future__ import annotations

from enum import Enum

from stream.governor import ChunkPlan, CostModel, Dial

QUANTILE = 0.75


class Choice(Enum):
    CARRY_ON = "carry on"
    FINISH = "finish now"
    RESTART = "restart"


def choose(costs: CostModel, dial: Dial, plan: ChunkPlan, *, steps_done: int, load: float = 1.0) -> Choice:
    """`steps_done` of the chunk in progress; `load` stretches every cost."""

    def cost(kind: str) -> float:
        return costs.estimate(kind, QUANTILE) * load

    if steps_done <= 0:
        return Choice.RESTART  # nothing to lose but the encoding of the prompt before
    target = dial.latency_s
    turn = cost("prompt") + dial.least * cost("step") + cost("decode")
    rest = cost("decode") + cost("append")
    if (plan.steps - steps_done) * cost("step") + rest + turn <= target:
        return Choice.CARRY_ON
    if cost("step") + rest + turn <= target or dial.steps is not None:
        return Choice.FINISH if dial.steps is None else Choice.CARRY_ON
    return Choice.RESTART
