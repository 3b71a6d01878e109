"""Prompt to pixel: what a new prompt does to what is already made, and to what is being made.

Frames made but not shown can be played out, dropped (the rollout goes back to the end of the chunk on screen, so
nothing jumps), cut (likewise, and the new chunk replaces what is left of the one on screen) or jumped over (the new
chunk follows the last one made, and replaces all that waits). The chunk in progress can be carried on, finished now or
restarted under the new prompt. `plan_prompt` takes the gentlest of these that meets the latency target at the measured
costs, and about the quickest when none does. A pure function: the engine says where it stands, and does what comes
back.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

from .costs import CostModel
from .dial import Dial

Queue = Literal["play", "drop", "cut", "jump"]
Chunk = Literal["carry", "finish", "restart"]

# From the gentlest to the roughest. Lost are: nothing; the quality of one chunk; one unseen chunk; all unseen chunks;
# continuity, for the picture jumps ahead in time, by what the chunk on screen had left or by all that was in hand.
OPTIONS: tuple[tuple[Queue, Chunk], ...] = (
    ("play", "carry"),
    ("play", "finish"),
    ("play", "restart"),
    ("drop", "restart"),
    ("cut", "restart"),
    ("jump", "restart"),
    ("jump", "finish"),  # only where a restart is not possible
)
REPLACES: tuple[Queue, ...] = ("cut", "jump")  # the new chunk is shown when it is ready
GOES_BACK: tuple[Queue, ...] = ("drop", "cut")
DELIVERY_S = 0.1  # encode, network, jitter buffer and paint; 50-60 ms measured on loopback
DRY_S = 0.02  # a hold shorter than this is not seen


@dataclass(frozen=True)
class EngineSnapshot:
    """Where a session stands when a prompt is taken up. Seconds throughout.

    elapsed: since the client sent the prompt. shown_left: what must still be played if all that can be taken back is:
    the rest of the chunk on screen. queued: what is made beyond that. busy: what must run before anything else can.
    in_progress: a chunk is begun; done, left: its steps run and still planned (left 0: it is denoised and waits for its
    decode).
    """

    elapsed: float = 0.0
    shown_left: float = 0.0
    queued: float = 0.0
    busy: float = 0.0
    in_progress: bool = False
    done: int = 0
    left: int = 0


@dataclass(frozen=True)
class PromptPlan:
    """What to do. expected_s: send to pixel, 90 % quantile. dry_s: how long the last frame would have to be held.

    steps: budget of the first chunk under the new prompt. meets: expected_s is within the latency target.
    """

    queue: Queue
    chunk: Chunk
    steps: int
    expected_s: float
    dry_s: float
    meets: bool


def plan_prompt(
    moment: EngineSnapshot,
    costs: CostModel,
    dial: Dial,
    *,
    chunk_seconds: float,
    budget: int | None = None,
    load: float = 1.0,
    frame_s: float = 0.0,
    can_rewind: bool = True,
    can_restart: bool = True,
    q: float = 0.9,
    keys: Mapping[str, Hashable] | None = None,
) -> PromptPlan:
    """The gentlest plan that meets the target, first without and then with a visible hold; else about the quickest.

    budget: step budget in force, the most the first new chunk may get. frame_s: how long a frame is shown: a chunk that
    replaces what waits may just have missed the playout clock, and leaves with its next tick. can_rewind: whether the
    rollout can go back. can_restart: whether the chunk in progress may be begun again.
    """
    cost = {kind: costs.estimate(kind, q, (keys or {}).get(kind, ())) * max(1.0, load) for kind in _KINDS}
    most = dial.least if budget is None else min(max(budget, dial.least), dial.most)
    options = [
        _option(queue, chunk, moment, cost, dial, chunk_seconds, most, frame_s)
        for queue, chunk in OPTIONS
        if _possible(queue, chunk, moment, can_rewind, can_restart)
    ]
    smooth = (plan for plan in options if plan.meets and plan.dry_s <= DRY_S)
    met = (plan for plan in options if plan.meets)
    quickest = min(plan.expected_s for plan in options)
    nearly = (plan for plan in options if plan.expected_s <= quickest + frame_s)  # a frame is not worth a rougher one
    return next(smooth, None) or next(met, None) or next(nearly)


def _possible(queue: Queue, chunk: Chunk, moment: EngineSnapshot, can_rewind: bool, can_restart: bool) -> bool:
    if queue in GOES_BACK and not can_rewind:
        return False
    if not moment.in_progress:
        return chunk != "finish"
    if not can_restart:
        return chunk != "restart"
    return (queue, chunk) != ("jump", "finish")


_KINDS = ("prompt", "encode", "step", "decode", "append", "rewind")


def _option(
    queue: Queue,
    chunk: Chunk,
    moment: EngineSnapshot,
    cost: dict[str, float],
    dial: Dial,
    chunk_seconds: float,
    most: int,
    frame_s: float,
) -> PromptPlan:
    before = moment.busy + cost["prompt"] + cost["encode"]  # work ahead of the first new step
    lead = moment.shown_left + (0.0 if queue in GOES_BACK else moment.queued)
    dry = 0.0
    if moment.in_progress and chunk != "restart":
        left = moment.left if chunk == "carry" else min(moment.left, max(1, dial.least - moment.done))
        current = left * cost["step"] + cost["decode"]
        dry = max(0.0, moment.busy + current - lead)  # the old chunk itself may come late
        before += current + cost["append"]
        lead += chunk_seconds
    if queue in GOES_BACK:
        before += cost["rewind"]

    def ready(steps: int) -> float:
        return before + steps * cost["step"] + cost["decode"]

    def shown(steps: int) -> float:
        leaves = ready(steps) + frame_s if queue in REPLACES else max(ready(steps), lead + dry)
        return moment.elapsed + leaves + DELIVERY_S

    # More steps as long as the target is met and nothing new is held for it.
    floor = dial.least
    playing = lead + dry
    free = max(ready(floor), playing)
    steps = floor
    while steps < most and shown(steps + 1) <= dial.latency_s and ready(steps + 1) <= free:
        steps += 1
    dry += max(0.0, ready(steps) - playing)
    return PromptPlan(queue, chunk, steps, shown(steps), dry, shown(steps) <= dial.latency_s)
