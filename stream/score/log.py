"""The score as it grows: everything that decided a session's pixels, by chunk index. It replays (see `replay`).

Steady stretches cost next to nothing: a budget is written down when it changes, and the rest is one checksum a chunk.
What the engine reports of a chunk is what it really did, so what a governor cut short, a prompt that came while a chunk
was being opened, or a rewind are there as they happened. The document's types are in `farcast.protocol.score`.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from farcast.protocol.score import VERSION, prompt_entry
from PIL import Image

from stream.engine.protocol import ChunkMade, ModelFacts
from stream.governor import Dial
from stream.types import Pixels

MAX_ENTRIES = 100_000
MAX_IMAGE_BYTES = 64 * 1024 * 1024
OPENING = ("prompt", "image", "clip", "opened", "rebuilt")  # what decides a chunk's opening, and survives going back


class Picture:
    """Pixels on their way into a document: packed when somebody asks, and only once."""

    def __init__(self, pixels: Pixels | None, text: str = "") -> None:
        """`text`: of a picture that was packed before, in place of its pixels."""
        self.pixels = pixels
        self.size = len(text) if pixels is None else pixels.nbytes
        self._text = text

    def text(self) -> str:
        """PNG in base64; frames (N, H, W, 3) stand one below the other."""
        if not self._text and self.pixels is not None:
            data = io.BytesIO()
            rows = self.pixels.reshape(-1, *self.pixels.shape[-2:])
            Image.fromarray(np.ascontiguousarray(rows)).save(data, "PNG", compress_level=3)
            self._text = base64.b64encode(data.getvalue()).decode("ascii")
        return self._text


@dataclass
class Score:
    """Grows with the number of changes; full = the rest is not recorded, and the document says so."""

    model: str
    seed: int
    guidance: float
    width: int
    height: int
    fps: float
    weights: str = ""
    made_with: dict[str, Any] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = True
    chunks: int = 0
    frames: int = 0  # of the finished chunks
    checks: list[str] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)  # frames up to the end of each chunk
    _fresh: bool = True  # the first chunk is not made yet, so its prompt may still change
    _sigmas: tuple[float, ...] = ()
    _images: int = 0

    @classmethod
    def opening(
        cls,
        facts: ModelFacts,
        prompt: str,
        seed: int,
        guidance: float,
        dial: Dial,
        image: Pixels | None = None,
        clip: Pixels | None = None,
    ) -> Score:
        """The score of a session that begins."""
        made_with = {"device": facts.device, "threads": facts.threads, "library": facts.library}
        score = cls(facts.name, seed, guidance, facts.width, facts.height, facts.fps, facts.weights, made_with)
        score._add(prompt_entry(0, [(prompt, 1.0)], 0))
        score.dial(0, dial)
        if image is not None:
            score._picture({"chunk": 0, "image": Picture(image)})
        if clip is not None:
            score._picture({"chunk": 0, "clip": Picture(clip), "frames": len(clip)})
        return score

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> Score:
        """From what `saved` gave, after a trip through JSON."""
        names = ("model", "seed", "guidance", "width", "height", "fps", "weights", "made_with", "complete", "chunks")
        score = cls(**{name: saved[name] for name in names})
        score.checks, score._ends = list(saved["checks"]), list(saved["ends"])
        score.frames, score._fresh = (score._ends[-1] if score._ends else 0), not score.chunks
        for entry in saved["entries"]:
            packed = {kind: Picture(None, entry[kind]) for kind in ("image", "clip") if kind in entry}
            score.entries.append({**entry, **packed})
            score._images += sum(picture.size for picture in packed.values())
        score._sigmas = next((tuple(e["sigmas"]) for e in reversed(score.entries) if "sigmas" in e), ())
        return score

    def saved(self) -> dict[str, Any]:
        """Everything `restored` needs; `entries` may hold a Picture."""
        return {**self.document(), "checks": list(self.checks), "ends": list(self._ends)}

    def made(self, made: ChunkMade) -> None:
        """A chunk came: what it takes on, and the noise levels it went through."""
        if not self.complete:
            return
        if made.rebuilt:
            self._add({"chunk": made.chunk, "rebuilt": made.rebuilt})
        opened = list(made.opened)
        while opened and opened[-1] is None:
            opened.pop()  # nothing came after it, so it says nothing
        if self._fresh and any(opened):
            self.entries = [entry for entry in self.entries if "prompt" not in entry]
        self._fresh = False
        for change in opened:
            if change is None:
                self._add({"chunk": made.chunk, "opened": True})
            else:
                self._add(prompt_entry(made.chunk, list(change.parts), change.transition))
        if made.shot is not None:
            self._picture({"chunk": made.chunk, "image": Picture(made.shot)})
        if made.sigmas != self._sigmas:
            self._sigmas = made.sigmas
            self._add({"chunk": made.chunk, "steps": made.steps, "sigmas": list(made.sigmas)})
        if self.complete:
            self.chunks, self.frames = made.chunk + 1, made.frame + len(made.frames)
            self._ends.append(self.frames)
            self.checks.append("" if made.crc is None else f"{made.crc:08x}")

    def dial(self, chunk: int, dial: Dial) -> None:
        """Where the dial stood from the chunk on; for people, the budgets say what came of it."""
        setting = {"latency_ms": dial.latency_ms, "floor": dial.floor, "ceiling": dial.ceiling, "steps": dial.steps}
        self._add({"chunk": chunk, "dial": setting})

    def rewind(self, chunk: int) -> None:
        """What was made from this chunk on does not count any more; how it was opened does."""
        self._forget(chunk, lambda entry: any(kind in entry for kind in OPENING))

    def resumed(self, chunk: int) -> None:
        """A new engine process goes on from the start of this chunk, as it was before the chunk was opened."""
        self._forget(chunk, lambda entry: chunk == 0 and not {"sigmas", "opened", "rebuilt"} & set(entry))
        self._fresh = chunk == 0

    def _forget(self, chunk: int, stays: Any) -> None:
        """Entries from this chunk on; at the chunk itself `stays` decides. The dial stands where it stands."""
        later = [entry for entry in self.entries if entry["chunk"] >= chunk]
        kept = [entry for entry in later if entry["chunk"] == chunk and stays(entry) and "dial" not in entry]
        self.entries = [entry for entry in self.entries if entry["chunk"] < chunk] + kept
        if (dial := next((entry for entry in reversed(later) if "dial" in entry), None)) is not None:
            self._add({**dial, "chunk": chunk})
        self.chunks = min(self.chunks, chunk)
        del self.checks[chunk:], self._ends[chunk:]
        self.frames = self._ends[-1] if self._ends else 0
        budgets = [entry for entry in self.entries if "sigmas" in entry]
        self._sigmas = tuple(budgets[-1]["sigmas"]) if budgets else ()

    def document(self) -> dict[str, Any]:
        """The score so far, as `to_json` takes it. `chunks` is how many were made; an entry holds from its chunk on."""
        return {
            "score": VERSION,
            "model": self.model,
            "weights": self.weights,
            "seed": self.seed,
            "guidance": self.guidance,
            "width": self.width,
            "height": self.height,
            "fps": self.fps,
            "chunks": self.chunks,
            "complete": self.complete,
            "made_with": self.made_with,
            "checks": list(self.checks) if all(self.checks) else [],
            "entries": list(self.entries),
        }

    def _picture(self, entry: dict[str, Any]) -> None:
        picture: Picture = next(value for value in entry.values() if isinstance(value, Picture))
        self._images += picture.size
        if self._images > MAX_IMAGE_BYTES:
            self.complete = False
            return
        self._add(entry)

    def _add(self, entry: dict[str, Any]) -> None:
        if len(self.entries) >= MAX_ENTRIES or not self.complete:
            self.complete = False
            return
        self.entries.append(entry)


def to_json(document: dict[str, Any]) -> str:
    """A document as text. Packs pictures, so not for the event loop."""
    return json.dumps(document, default=Picture.text, allow_nan=False, separators=(",", ":"))
