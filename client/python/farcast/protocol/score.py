"""The score: a take as a document. Everything that decided its pixels, by chunk; it can be rendered again.

An entry holds from its `chunk` on (prompts, dial, budgets) or happens at it (image, clip, rebuilt), and entries stand
in the order in which they came into force. Readers refuse a newer version: half a score would render another take.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from ..errors import FarcastError
from . import limits
from .base import Pairs, integer_schema, invalid, mix_text, number, shown
from .dial import Dial

VERSION = 1
MAX_BYTES = 256 * 2**20
PNG = b"\x89PNG\r\n\x1a\n"


class ScoreError(FarcastError):
    """A score that cannot be used: not one, of a newer version, edited into nonsense, or of another model.

    code: "not_a_score", "newer_score", "invalid_score", "other_model", "incomplete_score".
    """

    code = "invalid_score"


def check_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise invalid(f"a prompt must be text, and not empty; got {shown(value)}")
    return value


def check_sigmas(value: Any) -> tuple[float, ...]:
    """Noise levels of one chunk: from 1 down to 0, each below the one before; [1] alone where pictures were given."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= limits.STEPS[1] + 1:
        raise invalid(f"`sigmas` must be a list of 1 to {limits.STEPS[1] + 1} numbers")
    if any(isinstance(x, bool) or not isinstance(x, int | float) or not 0 <= x <= 1 for x in value):
        raise invalid("`sigmas` must be numbers from 0 to 1")
    if value[0] != 1 or (len(value) > 1 and value[-1] != 0) or any(a <= b for a, b in pairwise(value)):
        raise invalid("`sigmas` must fall from 1 to 0, each below the one before")
    return tuple(map(float, value))


def check_png(value: Any) -> str:
    try:
        head = base64.b64decode(value[:64], validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        head = b""
    if not head.startswith(PNG):
        raise invalid("the picture is missing or damaged: it must be a PNG file in base64")
    return str(value)


ScoreChunk = Annotated[int, number("chunk", 0, limits.CHUNK_MAX, whole=True), integer_schema(0, limits.CHUNK_MAX)]
StepCount = Annotated[int, number("steps", 0, limits.STEPS[1], whole=True), integer_schema(0, limits.STEPS[1])]
Text = Annotated[str, BeforeValidator(check_text), WithJsonSchema({"type": "string", "minLength": 1})]
Sigmas = Annotated[
    tuple[float, ...],
    BeforeValidator(check_sigmas),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": 1,
            "maxItems": limits.STEPS[1] + 1,
        }
    ),
]
Png = Annotated[str, BeforeValidator(check_png), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]


class Part(BaseModel):
    """Unknown fields are refused: a word that is misspelt must not be passed over in silence."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="forbid", use_attribute_docstrings=True)


class ScoreEntry(Part):
    """One thing that came into force at `chunk`: exactly one of the fields below, and what belongs to it."""

    chunk: ScoreChunk
    prompt: Text | None = None
    """What is asked for from here on; with `mix`, the mix in words."""
    mix: Pairs | None = None
    """Belongs to `prompt`: the prompts that are blended, with their weights."""
    transition: Annotated[int, number("transition", 0, 64, whole=True), integer_schema(0, 64)] = 0
    """Belongs to `prompt`: chunks over which it comes in; 0 = at once."""
    image: Png | None = None
    """A new shot begins here, from this picture at the model's size."""
    clip: Png | None = None
    """The take goes on from these frames, one below the other in one picture. Only at chunk 0."""
    frames: Annotated[int, number("frames", 1, 100_000, whole=True), integer_schema(1, 100_000)] | None = None
    """Belongs to `clip`: how many they are."""
    sigmas: Sigmas | None = None
    """The noise levels that each chunk goes through from here on, as the live take did."""
    steps: (
        Annotated[int, number("steps", 0, limits.STEPS[1], whole=True), integer_schema(0, limits.STEPS[1])] | None
    ) = None
    """Belongs to `sigmas`: how many steps that is."""
    dial: Dial | None = None
    """Where the dial stood from here on. For people: `sigmas` says what came of it."""
    rebuilt: Literal["context", "all"] | None = None
    """The live take came back to this chunk (a rewind, or a new engine process): from here on its memory was made anew
    from the frames before, the context alone or the decoder's too. Changes the last bits only."""
    opened: Literal[True] | None = None
    """The chunk had been opened under what was in force before the prompt that follows. Matters in a transition."""

    @model_validator(mode="after")
    def _one_thing(self) -> ScoreEntry:
        things = [name for name in KINDS if getattr(self, name) is not None]
        if len(things) != 1:
            raise invalid(
                f"an entry must have exactly one of {', '.join(KINDS)}; it has {' and '.join(things) or 'none'}"
            )
        owners = {"mix": "prompt", "transition": "prompt", "frames": "clip", "steps": "sigmas"}
        for name, owner in owners.items():
            if name in self.model_fields_set and things != [owner]:
                raise invalid(f"`{name}` belongs to `{owner}`")
        if self.clip is not None and (self.frames is None or self.chunk):
            raise invalid("a clip needs `frames`, how many they are, and can only stand at chunk 0")
        if self.sigmas is not None and self.steps not in (None, len(self.sigmas) - 1):
            raise invalid(f"`steps` is {self.steps}, but `sigmas` makes {len(self.sigmas) - 1}")
        return self

    @property
    def kind(self) -> str:
        return next(name for name in KINDS if getattr(self, name) is not None)


KINDS = ("prompt", "image", "clip", "sigmas", "dial", "rebuilt", "opened")


class MadeWith(Part):
    """Where the frames were made: they come out bit for bit the same only on the like of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    device: str = ""
    threads: int = 0
    library: str = ""


class Score(Part):
    """A take. `chunks`: how many there are; `model`, `weights`: what made it, the latter a fingerprint of its numbers;
    `checks`: a CRC-32 of the frames of each chunk as they were live; `complete`: false when the take went on after
    the score was full."""

    score: Literal[1]
    model: str
    weights: str = ""
    seed: int
    guidance: Annotated[float, number("guidance", *limits.GUIDANCE)] = 1.0
    width: Annotated[int, number("width", 1, 16384, whole=True), integer_schema(1, 16384)]
    height: Annotated[int, number("height", 1, 16384, whole=True), integer_schema(1, 16384)]
    fps: Annotated[float, number("fps", 0.1, 1000)]
    chunks: Annotated[int, number("chunks", 0, limits.CHUNK_MAX, whole=True), integer_schema(0, limits.CHUNK_MAX)]
    complete: bool = True
    made_with: MadeWith = Field(default_factory=MadeWith)
    checks: list[str] = Field(default_factory=list)
    entries: list[ScoreEntry]

    @model_validator(mode="after")
    def _in_order(self) -> Score:
        at = [entry.chunk for entry in self.entries]
        for number_, (a, b) in enumerate(pairwise(at), start=1):
            if b < a:
                raise invalid(f"entry {number_} is of chunk {b}, after one of chunk {a}; entries must stand in order")
        first = {entry.kind for entry in self.entries if entry.chunk == 0}
        if "prompt" not in first:
            raise invalid("there is no prompt at chunk 0")
        if {"image", "clip"} <= first:
            raise invalid("the take begins from an image and from a clip; it can only be one of them")
        if self.checks and len(self.checks) != self.chunks:
            raise invalid(f"there are {len(self.checks)} `checks` for {self.chunks} chunks")
        return self

    def at(self, chunk: int) -> Iterator[ScoreEntry]:
        """The entries of that chunk, in order."""
        return (entry for entry in self.entries if entry.chunk == chunk)

    @property
    def prompt_words(self) -> str:
        """The first prompt, for people."""
        return next(entry.prompt for entry in self.entries if entry.prompt is not None)


def parse_score(data: str | bytes | dict[str, Any]) -> Score:
    """A score that makes sense, or ScoreError with what is wrong with it and what to do."""
    if isinstance(data, str | bytes):
        if len(data) > MAX_BYTES:
            raise ScoreError(f"The file is over {MAX_BYTES // 2**20} MiB. Is it a score?", code="not_a_score")
        try:
            data = json.loads(data)
        except (ValueError, RecursionError):
            raise ScoreError("The file is not JSON, so it is no score. Was it cut short?", code="not_a_score") from None
    if not isinstance(data, dict) or "score" not in data:
        raise ScoreError("This is not a score: it lacks `score`, the version of the format.", code="not_a_score")
    version = data["score"]
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise ScoreError(
            f"The score is of version {version}; this Farcast reads up to {VERSION}. Update Farcast to use it.",
            code="newer_score",
        )
    try:
        return Score.model_validate(data)
    except ValidationError as error:
        raise ScoreError(f"The score makes no sense: {_explain(error, data)}. Was it edited by hand?") from None


def _explain(error: ValidationError, data: dict[str, Any]) -> str:
    """The first problem, with the place where it is."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = list(first["loc"])
    place = ""
    if where[:1] == ["entries"] and len(where) > 1 and isinstance(where[1], int):
        entry = data["entries"][where[1]]
        chunk = entry.get("chunk") if isinstance(entry, dict) else None
        place = f"entry {where[1]} (chunk {shown(chunk)}): "
        where = where[2:]
    name = ".".join(str(part) for part in where)
    match first["type"]:
        case "invalid":
            return place + first["msg"].rstrip(".")
        case "missing":
            return f"{place}`{name}` is missing"
        case "extra_forbidden":
            return f"{place}`{name}` is not a known field"
        case _:
            return f"{place}`{name}`: {first['msg']}; got {shown(first['input'])}"


def prompt_entry(chunk: int, parts: list[tuple[str, float]], transition: int) -> dict[str, Any]:
    """A prompt, or a mix, as an entry of the document."""
    entry: dict[str, Any] = {"chunk": chunk, "prompt": mix_text(parts) if len(parts) > 1 else parts[0][0]}
    if len(parts) > 1:
        entry["mix"] = [[text, weight] for text, weight in parts]
    if transition:
        entry["transition"] = transition
    return entry
