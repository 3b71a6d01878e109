"""The child process that decodes one upload and ends. It trusts nothing: limits first, then the file, then the answer.

On the socket: a line of JSON (`Job`) and the file's bytes in; a line of JSON and the pixels, or an error, out.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from models.errors import MediaError
from models.media.read import clip_tail, fit_image, open_image
from stream.uploads.limits import CLIP, CLIP_BYTES, CLIP_FRAMES, CLIP_SECONDS, IMAGE, MESSAGE_BYTES, Limits


@dataclass(frozen=True)
class Job:
    """`size`: bytes of the file that follow. `fps` counts for clips only."""

    kind: Literal["image", "clip"]
    width: int
    height: int
    size: int
    fps: float = 0.0

    @property
    def limits(self) -> Limits:
        return IMAGE if self.kind == "image" else CLIP

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def serve_one(channel: socket.socket) -> None:
    """Receive a job, decode it within its limits, answer."""
    with channel.makefile("rb") as reader:
        job = Job(**json.loads(reader.readline(MESSAGE_BYTES)))
        job.limits.apply()
        data = reader.read(job.size)
    if len(data) < job.size:
        return  # the server is gone, or wants it no more
    try:
        pixels = decode(job, data)
    except MediaError as error:
        _answer(channel, {"code": error.code, "message": str(error)})
    except MemoryError:
        _answer(channel, {"code": "image_too_large", "message": "decoding this takes too much memory; scale it down"})
    else:
        _answer(channel, {"shape": pixels.shape})
        channel.sendall(pixels.data.cast("B"))


def decode(job: Job, data: bytes) -> np.ndarray:
    """uint8 (height, width, 3), or (frames, height, width, 3) of a clip. Raises MediaError, MemoryError."""
    if job.kind == "image":
        size = job.width, job.height
        return np.ascontiguousarray(fit_image(open_image(data, near=size), *size))
    return clip_tail(
        data,
        job.width,
        job.height,
        job.fps,
        seconds=CLIP_SECONDS,
        max_bytes=CLIP_BYTES,
        max_frames=CLIP_FRAMES,
    )


def _answer(channel: socket.socket, header: dict[str, Any]) -> None:
    channel.sendall(json.dumps(header).encode() + b"\n")
