"""One take, for as long as anyone watches: the loop of opening a chunk, denoising it, decoding it and remembering it.

A rollout is a state machine. `next` says which unit of work must run, `run` runs it, and between any two units the
caller may do something else: run another rollout, stop for good, take a copy, or finish the chunk early by stepping to
r = 0. It does not know clocks, deadlines or viewers. All state is here; the bundle is shared and never written to.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models import flowmap
from models.bundle import Bundle
from models.codec import CodecState
from models.context import Context, Geometry
from models.errors import RequestError
from models.media import fit_clip, fit_image
from models.noise import chunk_noise
from models.prompts import BlendKind, Prompt
from models.steering import Steering
from models.transformer import PromptKV, Segment

UnitKind = Literal["prompt", "encode", "step", "decode", "append"]


@dataclass(frozen=True)
class Unit:
    """A piece of work. Units of one kind with equal `cost_key` take about as long."""

    kind: UnitKind
    cost_key: tuple[Hashable, ...]


class Rollout:
    """One take. Chunk 0 of a shot is 1 latent frame (1 pixel frame), later ones 3 (`chunk_frames`; 12 pixel frames).

    prompt: what to show; image: the first frame (any size); clip: uint8 (n, H, W, 3) at `clip_fps`, to be continued.
    guidance above 1 steps twice as much, against `negative`. append: "exact", "rolling" or "cheap" (see `context`).
    partition: latent frames of the first chunks, where a video of known length wants a shorter last one.
    Raises PromptError, MediaError, RequestError.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        prompt: Prompt,
        seed: int = 0,
        image: Image.Image | None = None,
        clip: np.ndarray | None = None,
        clip_fps: float | None = None,
        guidance: float = 1.0,
        negative: str = "",
        append: str = "exact",
        partition: Sequence[int] = (),
        context_frames: int | None = None,
    ) -> None:
        if image is not None and clip is not None:
            raise RequestError("start from an image or from a clip, not from both")
        if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 1.0 <= guidance <= 20.0:
            raise RequestError(f"guidance is {guidance!r}; it must be a number from 1 (off) to 20")
        self.bundle = bundle
        self.seed = int(seed)
        self.guidance = float(guidance)
        self.negative = negative
        self.partition = tuple(partition)
        self.chunk = 0
        self.frame = 0
        self.sigma = 1.0
        self._latents: Tensor | None = None  # of the chunk in progress, once begun: (1, F, C, H, W)
        self._decoded = False
        self._shot_chunk = 0  # index of the chunk within its shot
        self._given: np.ndarray | None = None  # frames to take as they are, from the chunk in progress on
        self._encoder_state: CodecState | None = None
        self._steering = Steering().wished(prompt)
        self._opened_for: int | None = None  # the chunk whose prompt is settled
        self._prompt_kv: PromptKV | None = None
        self._place: tuple[Segment, Tensor] | None = None  # of the chunk in progress, see Context.current
        geometry = window(bundle, context_frames)
        self._context = Context(bundle.network, geometry, batch=2 if self.guided else 1, mode=append)
        self._codec_state = bundle.codec.start()
        if image is not None:
            self._give(fit_image(image, bundle.width, bundle.height)[None])
        elif clip is not None:
            self._give(fit_clip(clip, clip_fps, width=bundle.width, height=bundle.height, fps=bundle.fps))
        self._new_shot: np.ndarray | None = None

    # -- what a user may change ----------------------------------------------------------------------------------

    @property
    def guided(self) -> bool:
        """True when classifier-free guidance is on."""
        return self.guidance > 1.0

    @property
    def text(self) -> str:
        """The prompt in force for the chunk in progress, in words."""
        return self._steering.text

    @property
    def latents(self) -> Tensor | None:
        """Latents of the chunk in progress at noise level `sigma`, (1, F, C, H, W); None before it has begun."""
        return self._latents

    def prompt(self, text: Prompt, *, transition: int = 0, kind: BlendKind = "linear") -> None:
        """Ask for another prompt from the next chunk that starts; the last one asked for wins. Raises PromptError."""
        self._steering = self._steering.wished(text, transition, kind)
        if self._opened_for == self.chunk and not self._begun:
            self._opened_for = None

    def image(self, image: Image.Image) -> None:
        """Cut to a new shot that starts from this picture, at the next chunk that starts. Raises MediaError."""
        self._new_shot = fit_image(image, self.bundle.width, self.bundle.height)[None]

    def restart_chunk(self) -> None:
        """Throw the chunk in progress away; it starts again from the same noise, under the newest prompt."""
        if not self._decoded:
            self._latents, self.sigma, self._place = None, 1.0, None
            if self._steering.due:
                self._opened_for = None

    # -- the state machine ---------------------------------------------------------------------------------------

    @property
    def _begun(self) -> bool:
        return self._latents is not None

    @property
    def frames(self) -> int:
        """Latent frames of the chunk in progress."""
        if self._latents is not None:
            return self._latents.shape[1]
        if self._given is not None:
            return self._given_count() // self.bundle.frames_per_latent + (self._shot_chunk == 0)
        if self._shot_chunk < len(self.partition):
            return self.partition[self._shot_chunk]
        return 1 if self._shot_chunk == 0 else self.bundle.chunk_frames

    def next(self) -> Unit:
        """The unit that must run now. Asking changes nothing."""
        if not self._begun:
            if self._opened_for != self.chunk and self._steering.due:
                return Unit("prompt", ())
            if self._new_shot is not None:
                return Unit("encode", ("picture", 1))
            if self._context.stale:
                return Unit("encode", ("context", self._context.pending_tokens()))
            if self._given is not None:
                return Unit("encode", ("picture", self.frames))
        if self.sigma > 0.0:
            return Unit("step", (self.frames, self._context.frames, self.guided))
        if not self._decoded:
            return Unit("decode", (self.frames,))
        return Unit("append", (self.frames, self._context.frames, self._context_will_change))

    @property
    def _context_will_change(self) -> bool:
        return self._steering.due or self._new_shot is not None

    def run(self, unit: Unit, *, r: float | None = None) -> np.ndarray | None:
        """Run `unit`, which must be what `next` said. A step goes to noise level r, or to 0 when none is given.

        Returns the chunk's frames for "decode", uint8 (n, H, W, 3); None otherwise. Raises RequestError for a bad r.
        """
        assert unit.kind == self.next().kind, f"next is {self.next().kind}, not {unit.kind}"
        with torch.no_grad():
            if unit.kind == "prompt":
                self._open()
            elif unit.kind == "encode":
                self._encode()
            elif unit.kind == "step":
                self._step(0.0 if r is None else float(r))
            elif unit.kind == "decode":
                return self._decode()
            else:
                self._append()
        return None

    def _open(self) -> None:
        self._steering = self._steering.opened(self.bundle.prompts)
        self._opened_for = self.chunk
        assert self._steering.embedding is not None
        rows = [self._steering.embedding]
        if self.guided:
            rows.insert(0, self.bundle.prompts.encode(self.negative))
        self._prompt_kv = self.bundle.network.prompt_kv(rows)
        self._context.invalidate()

    def _encode(self) -> None:
        if self._new_shot is not None:
            self._cut(self._new_shot)
        if self._context.stale:
            assert self._prompt_kv is not None
            self._context.encode(self._prompt_kv)
        elif self._given is not None:
            assert self._encoder_state is not None
            count = self._given_count()
            taken, rest = self._given[:count], self._given[count:]
            self._latents = self.bundle.codec.encode(self._encoder_state, taken).to(self.bundle.dtype)
            self.sigma = 0.0
            self._given = rest if len(rest) >= self.bundle.frames_per_latent else None
            if self._given is None:
                self._encoder_state = None

    def _step(self, r: float) -> None:
        if not 0.0 <= r < self.sigma:
            raise RequestError(f"r is {r}; it must be at least 0 and below the noise level reached, {self.sigma:.4f}")
        network = self.bundle.network
        shape = (self.frames, *self.bundle.latent_shape)
        if self._latents is None:
            noise = chunk_noise(self.seed, self.chunk, shape)
            self._latents = noise.to(self.bundle.device, self.bundle.dtype)[None]
        if self._place is None:
            self._place = self._context.current(self.frames)
        assert self._prompt_kv is not None
        x = self._latents
        tokens = network.embed(x).expand(self._context.batch, -1, -1)
        modulation = network.modulation(self.sigma, r)
        u = network.velocity(tokens, self._place[0], self._place[1], modulation, self._prompt_kv, self._context, shape)
        if self.guided:
            against, towards = u.chunk(2)
            u = against + self.guidance * (towards - against)
        self._latents = flowmap.step(x, u, self.sigma, r)
        self.sigma = r

    def _decode(self) -> np.ndarray:
        assert self._latents is not None
        frames = self.bundle.codec.decode(self._codec_state, self._latents)
        self._decoded = True
        return frames.cpu().numpy()

    def _append(self) -> None:
        assert self._latents is not None
        self._context.push(self._latents)
        if not self._context_will_change:  # else it is about to be encoded anew, or dropped
            assert self._prompt_kv is not None
            self._context.encode(self._prompt_kv)
        self.frame += self.pixel_frames
        self.chunk += 1
        self._shot_chunk += 1
        self._latents, self._place, self._decoded, self.sigma = None, None, False, 1.0

    @property
    def pixel_frames(self) -> int:
        """Pixel frames of the chunk in progress."""
        first = self._shot_chunk == 0
        return (self.frames - first) * self.bundle.frames_per_latent + first

    # -- pictures taken as they are ------------------------------------------------------------------------------

    def _give(self, frames: np.ndarray) -> None:
        self._given, self._encoder_state = frames, self.bundle.codec.start_encoder()

    def _given_count(self) -> int:
        """How many of the given frames the chunk in progress takes: a whole chunk, or what is left of them."""
        assert self._given is not None
        if self._shot_chunk == 0:
            return 1
        per = self.bundle.frames_per_latent
        return min(self.bundle.chunk_frames * per, len(self._given) // per * per)

    def _cut(self, picture: np.ndarray) -> None:
        self._context.clear()
        self._codec_state = self.bundle.codec.start()
        self._shot_chunk, self._new_shot = 0, None
        self._give(picture)


def window(bundle: Bundle, context_frames: int | None = None) -> Geometry:
    """The window of a stream: sink + as many far chunks as leave a state the model was trained in, + near + current.

    For the published checkpoints that is 1 + 9 + 6 latent frames of context and 3 in progress, of 21 trained.
    """
    config = bundle.transformer.config
    chunk, near = bundle.chunk_frames, config.full_chunk_limit - 1
    if context_frames is None:
        far = max(0, (sum(bundle.partition) - 1 - near * chunk - chunk) // chunk)
        context_frames = 1 + (far + near) * chunk
    _, height, width = bundle.latent_shape
    return Geometry(height, width, chunk, near, context_frames)
