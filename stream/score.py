"""The score: everything that decided a session's pixels, by chunk index. It replays.

Steady stretches cost nothing: a budget is written down when it changes. What a governor cut short in the middle of a
chunk is there too, as the noise levels the chunk really went through.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from .answers import Answers
from .engine.messages import ChunkMade, DialSetting, ModelFacts, Pixels

VERSION = 1
MAX_ENTRIES = 100_000
MAX_IMAGE_BYTES = 64 * 1024 * 1024


@dataclass
class Score:
    """Grows with the number of changes, not with time; full = the rest is not recorded, and the document says so."""

    model: str
    seed: int
    guidance: float
    width: int
    height: int
    fps: float
    entries: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = True
    chunks: int = 0
    _carried: tuple[int, int] = (0, 0)  # serials of the prompt and the image of the newest chunk
    _sigmas: tuple[float, ...] = ()
    _images: int = 0

    @classmethod
    def opening(
        cls, facts: ModelFacts, prompt: str, seed: int, guidance: float, dial: DialSetting, image: Pixels | None
    ) -> Score:
        """The score of a session that begins."""
        score = cls(facts.name, seed, guidance, facts.width, facts.height, facts.fps)
        score.prompt(0, prompt)
        score.dial(0, dial)
        if image is not None:
            score.image(0, image)
        return score

    def prompt(self, chunk: int, text: str, transition: int = 0) -> None:
        """The prompt the chunk is made under, and from it on."""
        self._add({"chunk": chunk, "prompt": text, "transition": transition})

    def image(self, chunk: int, pixels: Pixels) -> None:
        """A new shot begins at the chunk, from this picture (already at the model's size)."""
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG", optimize=False)
        self._images += data.tell()
        if self._images > MAX_IMAGE_BYTES:
            self.complete = False
            return
        self._add({"chunk": chunk, "image": base64.b64encode(data.getvalue()).decode("ascii")})

    def made(self, made: ChunkMade, answers: Answers) -> None:
        """A chunk came: what it carries, and the noise levels it went through."""
        prompt, image = self._carried
        self._carried = (made.prompt_serial, made.image_serial)
        if made.prompt_serial != prompt and (change := answers.texts.get(made.prompt_serial)) is not None:
            self.prompt(made.chunk, change.text, change.transition)
        if made.image_serial != image and (shot := answers.shots.peek(made.image_serial)) is not None:
            self.image(made.chunk, shot.wanted.image)
        self.chunks = max(self.chunks, made.chunk + 1)
        if made.sigmas != self._sigmas:
            self._sigmas = made.sigmas
            self._add({"chunk": made.chunk, "steps": made.steps, "sigmas": list(made.sigmas)})

    def dial(self, chunk: int, dial: DialSetting) -> None:
        """Where the dial stood from the chunk on; for people, the budgets say what came of it."""
        setting = {"latency_ms": dial.latency_ms, "floor": dial.floor, "ceiling": dial.ceiling, "steps": dial.steps}
        self._add({"chunk": chunk, "dial": setting})

    def rewind(self, chunk: int) -> None:
        """What was made from this chunk on does not count any more."""
        if any("prompt" in e for e in self.entries if e["chunk"] >= chunk):
            self._carried = (-1, self._carried[1])  # the prompt in force is to be written down again
        self.entries = [e for e in self.entries if e["chunk"] < chunk]
        self.chunks = min(self.chunks, chunk)
        budgets = [e for e in self.entries if "sigmas" in e]
        self._sigmas = tuple(budgets[-1]["sigmas"]) if budgets else ()

    def document(self) -> dict[str, Any]:
        """As JSON. `chunks` is how many were made; an entry holds from its chunk on."""
        return {
            "score": VERSION,
            "model": self.model,
            "seed": self.seed,
            "guidance": self.guidance,
            "width": self.width,
            "height": self.height,
            "fps": self.fps,
            "chunks": self.chunks,
            "complete": self.complete,
            "entries": self.entries,
        }

    def _add(self, entry: dict[str, Any]) -> None:
        if len(self.entries) >= MAX_ENTRIES:
            self.complete = False
            return
        self.entries.append(entry)
