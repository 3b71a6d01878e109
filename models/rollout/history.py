"""Records of finished chunks, bounded: enough to rewind to a chunk, or to restore a rollout after a crash.

A chunk's start (counters, prompt, input frames still to be encoded) and its finished latents are a few hundred
kilobytes at 480p; the K/V and the decoder's state, which are gigabytes there, are computed from them. Where the
decoder's state is small the newest records hold it too, and rewinding by a few chunks decodes nothing again. Records
are immutable and shared by copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from models.errors import RequestError
from models.rollout.conditioning import Conditioning
from models.rollout.prompt_state import PromptState
from models.vae.base import VAEState

KEPT = 96  # chunks: 72 s at 12 frames a chunk and 16 fps
STATES_KEPT = 4  # records that hold the decoder's state, as far as these take
STATES_BYTES = 64_000_000  # at most (the embedded model's: 6 MB each; Wan's at 480p: 1.8 GB, so none)


@dataclass(frozen=True)
class ChunkStart:
    """Everything but the context that decides a chunk, when it starts. shot_chunk: its index within its shot."""

    chunk: int
    frame: int
    shot_chunk: int
    prompt: PromptState
    conditioning: Conditioning | None = None


@dataclass(frozen=True)
class ChunkRecord:
    """A finished chunk. sink: latents of the first chunk of its shot; decoder: its state before the chunk."""

    start: ChunkStart
    latents: Tensor  # (1, F, C, H, W)
    sink: Tensor
    decoder: VAEState | None = None


class History:
    """The last KEPT records, in order."""

    def __init__(self, records: Sequence[ChunkRecord] = ()) -> None:
        self.records = list(records)[-KEPT:]

    def add(self, record: ChunkRecord) -> None:
        self.records.append(record)
        del self.records[:-KEPT]
        room = STATES_BYTES
        for index in range(-1, -min(len(self.records), STATES_KEPT + 1) - 1, -1):
            held = self.records[index]
            room -= held.decoder.nbytes if held.decoder else 0
            if room < 0 or index < -STATES_KEPT:
                self.records[index] = replace(held, decoder=None)

    def clone(self) -> History:
        return History(self.records)

    def find(self, chunk: int, context_frames: int) -> tuple[ChunkRecord, list[Tensor]]:
        """The record of `chunk` and its context (latents, sink first). Raises RequestError with the possible range."""
        found = {r.start.chunk: (r, self.window(r.start, context_frames)) for r in self.records}
        record, window = found.get(chunk, (None, None))
        if record is not None and window is not None:
            return record, window
        possible = [index for index, (_, past) in found.items() if past is not None]
        span = f"chunks {possible[0]} to {possible[-1]} can" if possible else "no chunk is finished yet"
        raise RequestError(f"cannot rewind to chunk {chunk!r}; {span}", code="invalid_chunk")

    def forget(self, chunk: int) -> None:
        """Drop the records of `chunk` and of all chunks after it."""
        self.records = [record for record in self.records if record.start.chunk < chunk]

    def before(self, start: ChunkStart) -> list[ChunkRecord]:
        """Records of the same shot before `start`, oldest first."""
        first = start.chunk - start.shot_chunk
        return [record for record in self.records if first <= record.start.chunk < start.chunk]

    def last(self, frames: int, before: ChunkStart | None = None) -> list[ChunkRecord]:
        """The newest records (of the same shot before a chunk's start), as many as hold `frames` latent frames."""
        records = self.records if before is None else self.before(before)
        count = 0
        while count < len(records) and frames > 0:
            count += 1
            frames -= records[-count].latents.shape[1]
        return records[len(records) - count :]

    @property
    def cheap_rewind_from(self) -> int | None:
        """The earliest chunk from which on every record holds the decoder's state; None when the last does not."""
        first: int | None = None
        for record in reversed(self.records):
            if record.decoder is None:
                break
            first = record.start.chunk
        return first

    def window(self, start: ChunkStart, context_frames: int) -> list[Tensor] | None:
        """Latents of the context at `start`, sink first; None when some of it is no longer in the records."""
        past = self.before(start)
        if start.shot_chunk == 0:
            return []
        if not past:
            return None
        room = context_frames - past[-1].sink.shape[1]
        chunks: list[Tensor] = []
        for record in reversed(past):
            if record.start.shot_chunk == 0:
                break
            if record.latents.shape[1] > room:
                break
            room -= record.latents.shape[1]
            chunks.insert(0, record.latents)
        else:
            return None  # the records end before the window is full
        return [past[-1].sink, *chunks]
