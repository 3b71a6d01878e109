"""Messages between the server and the engine process: small frozen values over one pipe.

`session` names the session, `serial` a user's change (counted up by the server), so that every change can be answered.
Times are `time.monotonic()` seconds, one clock for all processes of a host.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from models.checkpoint.vocabulary import Vocabulary
from stream.governor import Dial
from stream.types import Mix, Pixels

from .heartbeat import HANG_S


@dataclass(frozen=True)
class ModelFacts:
    """What the loaded model makes. `chunk_frames`: pixel frames of a chunk after the first."""

    name: str
    width: int
    height: int
    fps: float
    chunk_frames: int
    examples: tuple[str, ...] = ()
    device: str = "cpu"
    shift: float = 5.0
    guidance: float = 1.0  # where a session does not say
    weights: str = ""  # a fingerprint of the model's numbers
    threads: int = 0  # of the CPU
    library: str = ""  # what computes, with its version
    fixed_sigmas: tuple[float, ...] = ()  # noise levels the model must run at, 1 down to 0; () = any
    guidance_range: tuple[float, float] | None = None  # what a session may ask for; None = anything on the wire
    steps: int | None = None  # the default ceiling of the dial; None = the wire's
    vocabulary: Vocabulary | None = None  # None: free text

    @property
    def chunk_seconds(self) -> float:
        return self.chunk_frames / self.fps


@dataclass(frozen=True)
class EngineOptions:
    """`factory`: "module:function" called with (model, device, threads, execution), and decoder= and lora= if given."""

    factory: str
    model: str | None = None
    device: str = "auto"
    threads: int = 0
    execution: str = "eager"
    max_lead: float = 6.0
    level: int = logging.INFO
    decoder: str | None = None
    lora: tuple[str, ...] = ()
    hang_s: float = HANG_S  # see heartbeat


# --- server -> engine


@dataclass(frozen=True)
class Open:
    """Begin a session. `snapshot` (from `Saved`) continues one instead of starting from the prompt."""

    session: str
    prompt: str
    seed: int
    dial: Dial
    guidance: float = 1.0
    image: Pixels | None = None
    clip: Pixels | None = None
    clip_fps: float | None = None
    snapshot: bytes | None = None
    prompt_serial: int = 0
    image_serial: int = 0
    mix: Mix = ()  # in place of the prompt

    @property
    def asked(self) -> str | Mix:
        return self.mix or self.prompt


@dataclass(frozen=True)
class Close:
    session: str


@dataclass(frozen=True)
class SetPrompt:
    session: str
    serial: int
    text: str
    transition: int = 0
    at: float = 0.0  # when it came
    mix: Mix = ()  # in place of the text, which then is the mix in words

    @property
    def asked(self) -> str | Mix:
        return self.mix or self.text


@dataclass(frozen=True)
class SetDial:
    session: str
    serial: int
    dial: Dial


@dataclass(frozen=True)
class SetImage:
    """A picture the video goes on from, at the next chunk."""

    session: str
    serial: int
    image: Pixels
    at: float = 0.0


@dataclass(frozen=True)
class SetPaused:
    """Stop (or go on) making chunks for a session; its state stays."""

    session: str
    on: bool


@dataclass(frozen=True)
class Rewind:
    session: str
    serial: int
    chunk: int


@dataclass(frozen=True)
class PlayoutReport:
    """Where playout stands `at`: `left` frames wait, after the first `received` messages of this engine process that
    change the queue (`ChunkMade`, `DropFrom`, `Rewound`). `playing`: a frame was shown, so they leave by the clock."""

    session: str
    received: int
    left: int
    at: float
    fps: float
    playing: bool = True


@dataclass(frozen=True)
class Shutdown:
    pass


Command = Open | Close | SetPrompt | SetDial | SetImage | SetPaused | Rewind | PlayoutReport | Shutdown


# --- engine -> server


@dataclass(frozen=True)
class Ready:
    facts: ModelFacts
    seconds: float  # from the start of the process


@dataclass(frozen=True)
class LoadFailed:
    """The model cannot be opened; the process ends."""

    code: str
    message: str


@dataclass(frozen=True)
class PromptApplied:
    """A prompt that came into force at a chunk's opening, over `transition` chunks."""

    parts: Mix
    transition: int = 0


@dataclass(frozen=True)
class ChunkMade:
    """Frames of one chunk. `took`: seconds from its first unit of work to its frames. `late` > 0: seconds past the
    deadline."""

    session: str
    chunk: int
    frame: int
    frames: Pixels
    sigmas: tuple[float, ...]
    took: float
    cycle: float  # from the end of the previous chunk to the end of this one, without waiting for room
    budget: float  # seconds it had when it was planned
    late: float
    made_at: float
    prompt_serial: int
    image_serial: int
    replaces_queue: bool = False  # its frames replace those that wait to be shown
    # For the score: what decided this chunk besides the chunks before it.
    opened: tuple[PromptApplied | None, ...] = ()  # prompts in the order they took effect; None = nothing new
    shot: Pixels | None = None  # the picture it begins from
    rebuilt: str = ""  # "context" or "all": what of the rollout's memory was computed again before it
    crc: int | None = None  # of the frames; filled in on the way to the server

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1


@dataclass(frozen=True)
class DialTaken:
    """kept_ms: the latency really kept, less than the target where the bound on the lead allows no more."""

    session: str
    serial: int
    chunk: int
    frame: int
    kept_ms: float


@dataclass(frozen=True)
class Superseded:
    """The prompt `serial` was replaced before any chunk carried it."""

    session: str
    serial: int


@dataclass(frozen=True)
class Rewound:
    session: str
    serial: int
    chunk: int
    frame: int


@dataclass(frozen=True)
class DropFrom:
    """What was made from chunk `chunk` (first frame `frame`) on is not to be shown; it will be made anew."""

    session: str
    chunk: int
    frame: int


@dataclass(frozen=True)
class Refused:
    """A change that the model would not take; the session goes on."""

    session: str
    serial: int
    code: str
    message: str


@dataclass(frozen=True)
class SessionLost:
    """A session that cannot go on; the others do."""

    session: str
    code: str
    message: str


@dataclass(frozen=True)
class Evicted:
    """The session's slot was given up for want of memory. Opened again from its snapshot, it can go on."""

    session: str
    code: str
    message: str


@dataclass(frozen=True)
class Saved:
    """Enough to continue the session after chunk `chunk` in another engine process."""

    session: str
    chunk: int
    blob: bytes


@dataclass(frozen=True)
class Measured:
    """Cost of one unit of work, for the metrics."""

    kind: str
    seconds: float


Event = (
    Ready
    | LoadFailed
    | ChunkMade
    | DialTaken
    | Superseded
    | Rewound
    | DropFrom
    | Refused
    | SessionLost
    | Evicted
    | Saved
    | Measured
)
