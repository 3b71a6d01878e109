"""A take made again from its score: the same prompts, pictures and returns, at the live steps or at others.

At the live steps, and on the like of what made it, the frames come out bit for bit: what the live take did to its
memory (see `rebuilt` in the score) is done again at the same place. It knows rollouts and scores; no files, no server.
"""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from farcast.protocol import Score, ScoreEntry, ScoreError
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.checkpoint.bundle import Bundle
from models.checkpoint.fingerprint import fingerprint
from models.errors import FarcastError, RequestError
from models.network.text_encoder import Prompt
from models.rollout import snapshot
from models.rollout.flowmap import schedule_for
from models.rollout.rollout import Rollout

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Replayed:
    """One chunk made again. frames: uint8 (n, H, W, 3); exact: whether they are those of the live take, None where that
    is not known; events: what came into force with it."""

    chunk: int
    frame: int
    frames: Pixels
    sigmas: tuple[float, ...]
    exact: bool | None
    events: tuple[str, ...]


class Replay:
    """Checked when it is made: raises ScoreError for a score of another model or with a damaged picture."""

    def __init__(self, bundle: Bundle, score: Score, *, steps: int | None = None, any_model: bool = False) -> None:
        if not any_model:
            check_model(bundle, score)
        self.bundle = bundle
        self.score = score
        self.steps = steps
        self._fixed = None if steps is None else tuple(schedule_for(bundle, steps))
        self._entries: dict[int, list[ScoreEntry]] = defaultdict(list)
        self._pictures: dict[int, Pixels] = {}  # by id of their entry
        for entry in score.entries:
            self._entries[entry.chunk].append(entry)
            if entry.kind in ("image", "clip"):
                self._pictures[id(entry)] = frames_of(entry, score.width, score.height)

    def __iter__(self) -> Iterator[Replayed]:
        """Chunk after chunk. Raises ScoreError where the score does not say how to go on."""
        rollout = self._begin()
        live: tuple[float, ...] = ()
        for chunk in range(self.score.chunks):
            entries = self._entries.get(chunk, [])
            first = chunk == 0
            for entry in entries:
                live = entry.sigmas or live
                try:
                    rollout = self._apply(rollout, entry, skip=first)
                except FarcastError as error:
                    raise ScoreError(f"The score makes no sense at chunk {chunk}: {error}.") from error
                first = first and entry.kind != "prompt"
            frame = rollout.frame
            made = self._make(rollout, chunk, self._fixed or live)
            check = self.score.checks[chunk] if self.score.checks and self.steps is None else None
            exact = None if check is None else f"{zlib.crc32(made.data):08x}" == check
            events = tuple(entry.kind for entry in entries if entry.kind not in ("sigmas", "dial"))
            yield Replayed(chunk, frame, made, self._fixed or live, exact, events)

    def _begin(self) -> Rollout:
        opening = {entry.kind: entry for entry in reversed(self._entries[0])}
        image, clip = (self._pictures.get(id(opening.get(kind))) for kind in ("image", "clip"))
        try:
            return Rollout(
                self.bundle,
                prompt=asked(opening["prompt"]),
                seed=self.score.seed,
                guidance=self.score.guidance,
                image=None if image is None else image[0],
                clip=clip,
                clip_fps=None if clip is None else self.score.fps,
            )
        except FarcastError as error:
            raise ScoreError(f"The take cannot begin: {error}.") from error

    def _apply(self, rollout: Rollout, entry: ScoreEntry, *, skip: bool) -> Rollout:
        """skip: the rollout was begun with the first prompt, and the first pictures, already."""
        if entry.kind == "prompt":
            if not skip:
                rollout.prompt(asked(entry), transition=entry.transition)
            open_prompt(rollout)
        elif entry.kind == "opened":
            open_prompt(rollout)
        elif entry.kind == "image" and entry.chunk > 0:
            rollout.image(self._pictures[id(entry)][0])
        elif entry.rebuilt == "all":
            rollout = snapshot.load(self.bundle, snapshot.save(rollout.state, full=False))
        elif entry.rebuilt == "context":
            while rollout.sigma == 1.0:  # it can go back from a chunk that is begun only
                rollout.run(rollout.next())
            rollout.rewind(entry.chunk)
        return rollout

    def _make(self, rollout: Rollout, chunk: int, sigmas: tuple[float, ...]) -> Pixels:
        try:
            return np.ascontiguousarray(rollout.next_chunk(sigmas))
        except RequestError as error:
            raise ScoreError(
                f"The score does not say which steps chunk {chunk} takes. Give a number of steps."
            ) from error


def open_prompt(rollout: Rollout) -> None:
    """Let what was asked for come into force now, before anything else is asked for."""
    while (unit := rollout.next()).kind == "prompt":
        rollout.run(unit)


def asked(entry: ScoreEntry) -> Prompt:
    """What an entry asks for, as a rollout takes it."""
    return [(text, weight) for text, weight in entry.mix] if entry.mix else entry.prompt or ""


def frames_of(entry: ScoreEntry, width: int, height: int) -> Pixels:
    """The pictures of an `image` or `clip` entry, uint8 (n, height, width, 3). Raises ScoreError."""
    count = entry.frames or 1
    try:
        with Image.open(io.BytesIO(base64.b64decode(entry.image or entry.clip or "", validate=True))) as image:
            if image.size != (width, height * count):
                raise ScoreError(
                    f"The {entry.kind} at chunk {entry.chunk} is {image.size[0]}x{image.size[1]}; "
                    f"the score says {width}x{height * count}. Was it edited by hand?"
                )
            pixels = np.array(image.convert("RGB"))
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise ScoreError(
            f"The {entry.kind} at chunk {entry.chunk} is damaged. Download the score again.", code="invalid_score"
        ) from None
    return pixels.reshape(count, height, width, 3)


def check_model(bundle: Bundle, score: Score) -> None:
    """Raises ScoreError when the score was made with another model."""
    for what, theirs, ours in (
        ("model", score.model, bundle.name),
        ("size", f"{score.width}x{score.height}", f"{bundle.width}x{bundle.height}"),
        ("frame rate", score.fps, float(bundle.fps)),
        ("version of the model", score.weights, fingerprint(bundle) if score.weights else ""),
    ):
        if theirs != ours:
            raise ScoreError(
                f"The score was made with another model: its {what} is {theirs}, here it is {ours}. "
                "Open the model it was made with (--model), or take this one all the same (--any-model).",
                code="other_model",
            )
