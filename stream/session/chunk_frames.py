"""What the engine's chunks become in the server: frames in a queue, and messages for the clients that steer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farcast.protocol import Chunk, DeadlineMissed, ServerMessage

from stream.engine.protocol import ChunkMade, ModelFacts
from stream.types import Pixels
from stream.video.playout import Playout


@dataclass(frozen=True)
class Frame:
    """One frame in the queue. `opens`: the chunk it is the first frame of."""

    pixels: Pixels
    index: int
    chunk: int
    opens: ChunkMade | None = None


def frames_of(made: ChunkMade, *, after: int) -> list[Frame]:
    """The frames of a chunk, without those up to index `after`, which an engine that died had made already."""
    frames = [Frame(pixels, made.frame + i, made.chunk) for i, pixels in enumerate(made.frames)]
    frames = [frame for frame in frames if frame.index > after]
    if frames:
        first = frames[0]
        frames[0] = Frame(first.pixels, first.index, first.chunk, made)
    return frames


def chunk_messages(made: ChunkMade, facts: ModelFacts, playout: Playout[Frame], prompt: str) -> Iterator[ServerMessage]:
    """What clients are sent about a chunk."""
    seconds = len(made.frames) / facts.fps
    yield Chunk(
        index=made.chunk,
        frame=made.frame,
        frames=len(made.frames),
        steps=made.steps,
        took_ms=made.took * 1e3,
        deadline_ms=made.budget * 1e3,
        lead_ms=playout.lead * 1e3,
        fps=playout.rate,
        realtime_factor=seconds / max(made.cycle, 1e-3),
        prompt=prompt,
    )
    if made.late > 0:
        yield DeadlineMissed(chunk=made.chunk, late_ms=made.late * 1e3)
