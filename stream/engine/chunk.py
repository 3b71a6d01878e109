"""The chunk that a slot is making: what it takes on, and one attempt at it."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.governor import ChunkPlan, ChunkReport
from stream.types import Pixels

from .protocol import ChunkMade, PromptApplied


@dataclass
class ChunkInputs:
    """What the next finished chunk carries besides the chunks before it. Outlives a chunk that is begun again.

    opened: prompts in the order they took effect, None where a chunk was opened without a new one.
    image: the picture the chunk begins from. rebuilt: what of the rollout's memory was computed again before it
    ("context", "all" or ""). restarted: a prompt has begun the chunk again; once a chunk, or a flood of prompts would
    keep it from ever being finished.
    """

    opened: list[PromptApplied | None] = field(default_factory=list)
    image: Pixels | None = None
    rebuilt: str = ""
    restarted: bool = False


@dataclass
class ChunkInProgress:
    """One attempt at a chunk, from the decision on its budget to its frames.

    began: clock time of the first unit. replaces_queue: its frames replace those that wait to be shown.
    sigmas: noise levels reached, from 1. finish_early: no more steps than the floor, because a prompt waits.
    """

    plan: ChunkPlan
    began: float
    replaces_queue: bool = False
    sigmas: list[float] = field(default_factory=lambda: [1.0])
    finish_early: bool = False

    @property
    def steps(self) -> int:
        """Steps that have run."""
        return len(self.sigmas) - 1

    def made(
        self,
        inputs: ChunkInputs,
        frames: Pixels,
        report: ChunkReport,
        *,
        session: str,
        chunk: int,
        frame: int,
        now: float,
        free_since: float,
        serials: tuple[int, int],
    ) -> ChunkMade:
        """The event that carries its frames. free_since: when the device was free for it; serials: of the newest prompt
        and picture that it carries."""
        prompt_serial, image_serial = serials
        return ChunkMade(
            session,
            chunk,
            frame,
            frames,
            tuple(self.sigmas),
            took=now - self.began,
            cycle=now - free_since,
            budget=self.plan.deadline - self.began,
            late=report.late_s,
            made_at=now,
            prompt_serial=prompt_serial,
            image_serial=image_serial,
            replaces_queue=self.replaces_queue,
            opened=tuple(inputs.opened),
            shot=inputs.image,
            rebuilt=inputs.rebuilt,
        )
