"""What a rollout remembers of its own past, bounded: enough to go back to a chunk, or to start again after a crash.

A chunk's opening (counters, prompt, pictures still to be taken) and its finished latents are a few hundred kilobytes at
480p; the K/V and the codec's state, which are gigabytes there, follow from them. Where the codec's state is small the
newest records keep it all the same, and going back a chunk or two decodes nothing anew. Records are immutable and
shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from models.errors import RequestError
from models.rollout.conditioning import Conditioning
from models.rollout.prompt_state import PromptState
from models.vae.base import CodecState

KEPT = 96  # chunks: 72 s at 12 frames a chunk and 16 fps
STATES_KEPT = 4  # chunks one can go back without decoding anything anew, as far as their codec states take
STATES_BYTES = 64_000_000  # at most (the embedded model's: 6 MB each; Wan's at 480p: 1.8 GB, so none)


@dataclass(frozen=True)
class ChunkStart:
    """Everything but the past that decides a chunk, at the moment it began."""

    chunk: int
    frame: int
    shot_chunk: int
    steering: PromptState
    footage: Conditioning | None = None


@dataclass(frozen=True)
class ChunkRecord:
    """A finished chunk. sink: latents of the first chunk of its shot; codec: the decoder's state before this chunk."""

    opening: ChunkStart
    latents: Tensor  # (1, F, C, H, W)
    sink: Tensor
    codec: CodecState | None = None


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
            room -= held.codec.nbytes if held.codec else 0
            if room < 0 or index < -STATES_KEPT:
                self.records[index] = replace(held, codec=None)

    def clone(self) -> History:
        return History(self.records)

    def find(self, chunk: int, context_frames: int) -> tuple[ChunkRecord, list[Tensor]]:
        """The record of `chunk` and the window it saw; RequestError with the possible range when it is not there."""
        found = {r.opening.chunk: (r, self.window(r.opening, context_frames)) for r in self.records}
        record, window = found.get(chunk, (None, None))
        if record is not None and window is not None:
            return record, window
        possible = [index for index, (_, past) in found.items() if past is not None]
        span = f"chunks {possible[0]} to {possible[-1]} can" if possible else "no chunk is finished yet"
        raise RequestError(f"chunk {chunk!r} cannot be gone back to; {span}", code="invalid_chunk")

    def forget(self, chunk: int) -> None:
        """Forget `chunk` and what came after it."""
        self.records = [record for record in self.records if record.opening.chunk < chunk]

    def before(self, opening: ChunkStart) -> list[ChunkRecord]:
        """Remembered records of the same shot before `opening`, oldest first."""
        first = opening.chunk - opening.shot_chunk
        return [record for record in self.records if first <= record.opening.chunk < opening.chunk]

    def last(self, frames: int, before: ChunkStart | None = None) -> list[ChunkRecord]:
        """The newest records (of the shot before an opening), as many as hold `frames` latent frames."""
        records = self.records if before is None else self.before(before)
        count = 0
        while count < len(records) and frames > 0:
            count += 1
            frames -= records[-count].latents.shape[1]
        return records[len(records) - count :]

    @property
    def cheap_rewind_from(self) -> int | None:
        """The earliest chunk from which on every record holds the codec's state; None when the last does not."""
        first: int | None = None
        for record in reversed(self.records):
            if record.codec is None:
                break
            first = record.opening.chunk
        return first

    def window(self, opening: ChunkStart, context_frames: int) -> list[Tensor] | None:
        """Latents of the context that `opening` saw, sink first; None when too much of it is forgotten."""
        past = self.before(opening)
        if opening.shot_chunk == 0:
            return []
        if not past:
            return None
        room = context_frames - past[-1].sink.shape[1]
        chunks: list[Tensor] = []
        for record in reversed(past):
            if record.opening.shot_chunk == 0:
                break
            if record.latents.shape[1] > room:
                break
            room -= record.latents.shape[1]
            chunks.insert(0, record.latents)
        else:
            return None  # forgotten before the window was full
        return [past[-1].sink, *chunks]
