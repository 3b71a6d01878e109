"""A slot's state: its rollout, its governor, what has been shown of it, and the changes that wait.

And what a user's changes do to it: to the frames that wait, to the chunk in progress, and to the rollout, which may
have to go back.
"""

from __future__ import annotations

from models.errors import FarcastError
from stream.governor import CostModel, EngineSnapshot, Governor, plan_prompt
from stream.governor.prompt_policy import DELIVERY_S, GOES_BACK, REPLACES

from .backend import Clock, RolloutBackend
from .chunk import ChunkInProgress, ChunkInputs
from .device_queue import DeviceQueue, ImmediateTimer
from .playout_mirror import PlayoutMirror
from .protocol import (
    DialTaken,
    DropFrom,
    Event,
    ModelFacts,
    Open,
    Refused,
    Rewind,
    Rewound,
    SetDial,
    SetImage,
    SetPrompt,
    Superseded,
)

MARGIN = 2  # frames that may leave before the server hears that they should not
REWIND_S = 0.25  # at least so long between two rewinds; the last one asked for meanwhile is done then
MAX_OPENINGS = 2  # prompts that may open one chunk; with more, a flood of prompts would keep it from being begun


class SlotState:
    """`load`: by how much the other sessions stretch this one's work (1 = alone); set by the scheduler.

    device: the queue that all slots of the device share; None = a processor of its own.
    """

    def __init__(
        self,
        request: Open,
        rollout: RolloutBackend,
        facts: ModelFacts,
        costs: CostModel,
        *,
        max_lead: float,
        clock: Clock,
        device: DeviceQueue | None = None,
    ) -> None:
        self.session = request.session
        self.rollout = rollout
        self.facts = facts
        self.clock = clock
        self.costs = costs
        self.device = device or DeviceQueue(ImmediateTimer(clock), costs, clock)
        self.load = 1.0
        self.held = False  # paused: no chunks are made
        self.governor = Governor(
            request.dial,
            costs,
            chunk_seconds=facts.chunk_seconds,
            shift=facts.shift,
            lead_cap=max_lead,
            fixed_sigmas=facts.fixed_sigmas,
        )
        self.mirror = PlayoutMirror(request.session, facts.fps)
        self.current: ChunkInProgress | None = None
        self.inputs = ChunkInputs(rebuilt=rollout.rebuilt)
        self.asked = self.in_force = request.asked  # the newest prompt that the rollout was given, and that it applied
        self.prompt_serial = request.prompt_serial  # of the newest prompt and picture that a chunk carries
        self.image_serial = request.image_serial
        self.next_prompt: SetPrompt | None = None  # not carried by a chunk yet ...
        self.prompt_deferred = False  # ... nor given to the rollout: it must wait until the chunk in progress is made
        self.next_image: SetImage | None = None
        self.next_rewind: Rewind | None = None  # it came too soon after the last one
        self.rewound_at = -REWIND_S
        self.rewound = False  # and no chunk made since
        self.dry_since: float | None = None  # since when nothing waits to be shown
        self.image_chunk = 0  # the chunk of the last picture, which must be shown once
        self.replace_queue = False  # the next chunk to be opened replaces what waits to be shown
        self.due: float | None = None  # when the next chunk should be seen, because a prompt waits for it
        self.free_since = clock()  # when the previous chunk ended, moved on while waiting for room

    def lead(self, now: float) -> float:
        """Seconds of video that are made and not yet shown."""
        return self.mirror.frames(now) / self.facts.fps

    # --- changes that users ask for

    def set_prompt(self, change: SetPrompt) -> list[Event]:
        """Raises FarcastError for a prompt that the model refuses."""
        inputs = self.inputs
        if self.current is not None and (inputs.restarted or len(inputs.opened) >= MAX_OPENINGS):
            self.rollout.check_prompt(change.asked)
            self.prompt_deferred = True
        else:
            self.rollout.prompt(change.asked, transition=change.transition)
            self.prompt_deferred, self.asked = False, change.asked
        events: list[Event] = []
        if self.next_prompt is not None:
            events.append(Superseded(self.session, self.next_prompt.serial))
        self.next_prompt = change
        return events + self._hasten(change.at)

    def _pass_deferred_prompt(self) -> list[Event]:
        """The chunk is made, or taken back: the prompt that was deferred because of it goes to the rollout."""
        change = self.next_prompt
        if not self.prompt_deferred or change is None:
            return []
        self.prompt_deferred = False
        try:
            self.rollout.prompt(change.asked, transition=change.transition)
        except FarcastError as error:
            self.next_prompt = None
            return [Refused(self.session, change.serial, error.code, str(error))]
        self.asked = change.asked
        return []

    def set_dial(self, change: SetDial) -> list[Event]:
        """Raises FarcastError where the model runs at fixed noise levels."""
        if self.facts.fixed_sigmas:
            steps = len(self.facts.fixed_sigmas) - 1
            message = f"{self.facts.name} runs at a fixed list of {steps} steps; the dial does not apply."
            raise FarcastError(message, code="dial_fixed")
        self.governor.set_dial(change.dial)
        kept_ms = 1000.0 * self.governor.kept_s
        return [DialTaken(self.session, change.serial, self.rollout.chunk, self.rollout.frame, kept_ms)]

    def set_image(self, change: SetImage) -> list[Event]:
        self.rollout.image(change.image)
        self.next_image = change
        return self._hasten(change.at)

    def rewind(self, change: Rewind) -> list[Event]:
        """Raises FarcastError when the chunk is not there any more. The prompt asked for last stays in force."""
        now = self.clock()
        if now - self.rewound_at < REWIND_S:  # a flood of them would keep every chunk from being finished
            self.next_rewind = change
            return []
        self.next_rewind, self.rewound_at = None, now
        self._rewind(change.chunk)
        self.rewound = True
        self.rollout.prompt(self.asked)
        refusals = self._pass_deferred_prompt()
        self._abandon()
        self.inputs.restarted = self.replace_queue = False
        self.mirror.clear()
        return [*refusals, Rewound(self.session, change.serial, self.rollout.chunk, self.rollout.frame)]

    def waiting_rewind(self, now: float) -> Rewind | None:
        """The rewind that was put off and may be done now."""
        return self.next_rewind if now - self.rewound_at >= REWIND_S else None

    def _hasten(self, at: float) -> list[Event]:
        """A prompt or a picture asked for `at` is to be seen within the latency target: decide what becomes of the
        frames that wait and of the chunk in progress, and do it."""
        now = self.clock()
        if self.held or not self.mirror.report.playing:
            return []
        dial, frame_s = self.governor.dial, 1 / self.facts.fps
        keep = self._keep(now)
        plan = plan_prompt(
            self._moment(now, at, None if keep is None else keep[1]),
            self.costs,
            dial,
            chunk_seconds=self.facts.chunk_seconds,
            budget=self.governor.budget,
            load=self.load,
            frame_s=frame_s,
            can_rewind=keep is not None,
            can_restart=not self.inputs.restarted,
            keys=self.governor.forecast.keys,
        )
        self.replace_queue = plan.queue in REPLACES
        self.due = at + dial.latency_s - DELIVERY_S - (frame_s if self.replace_queue else 0.0)
        if plan.chunk == "finish" and self.current is not None:
            self.current.finish_early = True
        elif plan.chunk == "restart" and self.current is not None:
            self.inputs.restarted = True
            self.rollout.restart_chunk()
            self._abandon()
        if plan.queue in GOES_BACK and keep is not None:
            return self._go_back(keep[0], now)
        return []

    def _moment(self, now: float, at: float, kept: float | None) -> EngineSnapshot:
        """kept: frames that must still be shown when all that can be taken back is."""
        unit, current, launched = self.rollout.next(), self.current, self.device.busy(now)
        append = self.costs.estimate("append", 0.9, unit.cost_key) * self.load if unit.kind == "append" else 0.0
        shown_left = (self.mirror.rest(now) if kept is None else kept) / self.facts.fps
        return EngineSnapshot(
            elapsed=max(0.0, now - at),
            shown_left=shown_left,
            queued=max(0.0, self.lead(now) - shown_left),
            busy=launched + append,
            in_progress=current is not None,
            done=0 if current is None else current.steps,
            left=0 if current is None or self.rollout.sigma <= 0.0 else max(0, current.plan.steps - current.steps),
        )

    def _keep(self, now: float) -> tuple[int, float] | None:
        """The last chunk to be shown, and the frames to be shown up to its end, if the rest were taken back."""
        return self.mirror.keep(now, MARGIN, max(self.rollout.cheap_rewind_from - 1, self.image_chunk))

    def _go_back(self, chunk: int, now: float) -> list[Event]:
        """To the end of `chunk`; what was made after it will not be shown."""
        self._rewind(chunk + 1)
        if self.next_prompt is None:  # the one in force may have come after that chunk
            self.rollout.prompt(self.asked)
        refusals = self._pass_deferred_prompt()
        self.costs.observe("rewind", self.clock() - now)
        self.mirror.drop_from(chunk + 1)
        self._abandon()
        return [*refusals, DropFrom(self.session, self.rollout.chunk, self.rollout.frame)]

    def _rewind(self, chunk: int) -> None:
        """Take the rollout back, and note what of its memory has to be computed again."""
        same, begun = chunk == self.rollout.chunk, self.rollout.sigma < 1.0
        deep = chunk < self.rollout.cheap_rewind_from or (same and self.inputs.rebuilt == "all")
        self.rollout.rewind(chunk)
        if not same or begun:
            self.inputs.rebuilt = "all" if deep else "context"
        if not same:  # a picture that this chunk has taken stays with it
            self.inputs.image = None
        self.inputs.opened.clear()

    def _abandon(self) -> None:
        """The chunk in progress is not to be finished as it was begun."""
        if self.current is not None:
            self.governor.drop_chunk()
            self.current, self.free_since = None, self.clock()

    def refuse(self, kind: str, code: str, message: str) -> list[Event]:
        """A unit of this kind failed because of what it was asked for: the rollout goes on with what it had.

        Raises FarcastError when it had nothing else.
        """
        change: SetPrompt | SetImage | None = None
        if kind == "prompt" and self.next_prompt is not None:
            change, self.next_prompt, self.prompt_deferred = self.next_prompt, None, False
            self.rollout.cancel_prompt()
            self.asked = self.in_force
            if self.rollout.chunk == 0:  # nothing is in force yet
                self.rollout.prompt(self.asked)
        elif kind == "encode" and self.next_image is not None:
            change, self.next_image = self.next_image, None
            self.rollout.cancel_image()
        if change is None:
            raise FarcastError(message, code=code)
        return [Refused(self.session, change.serial, code, message)]
