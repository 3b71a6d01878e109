"""Bodies of the HTTP requests and answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from . import limits
from .base import Inbound, Outbound, PromptText, integer_schema, number
from .dial import Dial, FixedSteps
from .server import SessionState

Seed = Annotated[int, number("seed", 0, limits.SEED_MAX, whole=True), integer_schema(0, limits.SEED_MAX)]
Guidance = Annotated[
    float,
    number("guidance", *limits.GUIDANCE),
    WithJsonSchema({"type": "number", "minimum": limits.GUIDANCE[0], "maximum": limits.GUIDANCE[1]}),
]


class SessionRequest(Inbound):
    """POST /v1/sessions: what to make.

    `seed` left out = the server draws one; `guidance` 1 = off, left out = the model's own.
    """

    prompt: PromptText
    seed: Seed | None = None
    dial: Dial = Field(default_factory=Dial)
    guidance: Guidance | None = None


class SessionUrls(Outbound):
    """Where the parts of a session are: paths on the same server, or full addresses."""

    session: str
    control: str
    whep: str
    image: str
    score: str
    recording: str | None = None
    renders: str | None = None  # None: this server renders no takes


class SessionInfo(Outbound):
    """GET /v1/sessions/{id}."""

    id: str
    state: SessionState
    width: int
    height: int
    fps: float
    model: str
    prompt: str
    seed: int
    dial: Dial
    urls: SessionUrls
    role: Literal["steer", "watch"] = "steer"  # what the token that was sent allows


class SessionCreated(SessionInfo):
    """The answer to POST /v1/sessions: the session, the token that steers it, and one that only lets watch."""

    token: str
    view_token: str | None = None


class ImageAccepted(Outbound):
    """202 of POST .../image; `image_applied` or `error` on the control socket carries the same `re`."""

    re: str


class RenderRequest(Inbound):
    """POST .../renders: make this take again. `steps`: so many for every chunk; null = those of the live take, which
    gives its frames again bit for bit."""

    steps: FixedSteps | None = None


class RenderInfo(Outbound):
    """GET /v1/renders/{id}: how far it is. `progress`: 0 to 1; `frames`: of the finished video; `url`: where the MP4 is
    once it is done; `exact`: whether every chunk equals the live one (only known at the live steps)."""

    id: str
    state: Literal["queued", "running", "done", "failed"]
    progress: float
    steps: int | None = None
    frames: int
    url: str | None = None
    error: str | None = None
    exact: bool | None = None

    def dump(self) -> str:
        """With the nulls: they are answers here."""
        return self.model_dump_json()


class Vocabulary(Outbound):
    """The words a model was trained on, by kind, and a sentence with a {kind} for each of them."""

    words: dict[str, list[str]]
    caption: str


class ModelInfo(Outbound):
    """GET /v1/model: what is loaded and what it can do.

    guidance: its own, where a session does not say; guidance_range: what sessions may ask for. steps: the ceiling of a
    dial that does not say one. vocabulary: only of models with a closed one; others take free text.
    """

    name: str
    width: int
    height: int
    fps: float
    examples: list[str] = Field(default_factory=list)
    max_steps: int = limits.STEPS[1]
    chunk_frames: int = 12
    device: str = "cpu"
    guidance: float = 1.0
    guidance_range: tuple[float, float] = limits.GUIDANCE
    steps: int | None = None
    vocabulary: Vocabulary | None = None


class Problem(Outbound):
    """Every error over HTTP, `application/problem+json` (RFC 9457) with a `code` for programs."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
