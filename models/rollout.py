"""One take, for as long as anyone watches: the loop of opening a chunk, denoising it, decoding it and remembering it.

A rollout is a state machine. `next` says which unit of work must run, `run` runs it, and between any two units the
caller may do something else: run another rollout, stop for good, take a copy, or finish the chunk early by stepping to
r = 0. It does not know clocks, deadlines or viewers. All state is here; the bundle is shared and never written to.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models import flowmap, snapshot
from models.bundle import Bundle
from models.codec import CodecState
from models.context import Context, Geometry
from models.delivery import Delivery
from models.errors import RequestError
from models.history import History, Opening, Record
from models.media import fit_clip, fit_image
from models.noise import chunk_noise
from models.prompts import BlendKind, Prompt
from models.steering import Steering, Wish
from models.transformer import PromptKV, Segment

UnitKind = Literal["prompt", "encode", "step", "decode", "append"]
MAX_GUIDANCE = 20.0


@dataclass(frozen=True)
class Unit:
    """A piece of work. Units of one kind with equal `cost_key` take about as long."""

    kind: UnitKind
    cost_key: tuple[Hashable, ...]


class Rollout:
    """One take. Chunk 0 of a shot is 1 latent frame (1 pixel frame), later ones 3 (`chunk_frames`; 12 pixel frames).

    prompt: what to show; image: the first frame (any size); clip: uint8 (n, H, W, 3) at `clip_fps`, to be continued.
    guidance above 1 steps twice as much, against `negative`; None takes the bundle's own.
    append: "exact", "rolling" or "cheap" (see `context`).
    partition: latent frames of the first chunks, where a video of known length wants a shorter last one.
    context_frames: most latent frames of context, where it should not be what `window` says.
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
        guidance: float | None = None,
        negative: str = "",
        append: str = "exact",
        partition: Sequence[int] = (),
        context_frames: int | None = None,
    ) -> None:
        if image is not None and clip is not None:
            raise RequestError("start from an image or from a clip, not from both")
        guidance = bundle.guidance if guidance is None else guidance
        if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 1 <= guidance <= MAX_GUIDANCE:
            raise RequestError(f"guidance is {guidance!r}; it must be a number from 1 (off) to {MAX_GUIDANCE:g}")
        self.bundle = bundle
        self.seed = int(seed)
        self.guidance = float(guidance)
        self.negative = negative
        self.partition = tuple(partition)
        self._context = Context(
            bundle.network, window(bundle, context_frames), batch=2 if self.guided else 1, mode=append
        )
        self._history = History()
        self._return_to(Opening(0, 0, 0, Steering().wished(prompt)), [])
        self._opened_for = -1
        if image is not None:
            self._give(fit_image(image, bundle.width, bundle.height)[None])
        elif clip is not None:
            self._give(fit_clip(clip, clip_fps, width=bundle.width, height=bundle.height, fps=bundle.fps))

    def _return_to(self, opening: Opening, window: Sequence[Tensor], codec: CodecState | None = None) -> None:
        """Stand at the opening of a chunk that sees `window` (latents, sink first), its past in the history.

        codec: the decoder's state there; None when it has to be rebuilt by decoding the past.
        """
        bundle = self.bundle
        self.chunk: int = opening.chunk
        self.frame: int = opening.frame  # pixel frames made before this chunk
        self.sigma: float = 1.0
        self._shot_chunk = opening.shot_chunk  # index of the chunk within its shot
        self._steering = opening.steering
        self._opened_for = opening.chunk  # the chunk whose prompt is settled, or -1
        self._prompt_kv: PromptKV | None = None
        self._given: np.ndarray | None = opening.given  # frames to take as they are, from this chunk on
        self._encoder: CodecState | None = opening.encoder and opening.encoder.clone()
        self._new_shot: np.ndarray | None = None  # the picture of a shot asked for
        self._sink: Tensor | None = window[0] if window else None  # latents of the first chunk of the shot
        self._began: Opening | None = None  # of the chunk in progress, once begun
        self._latents: Tensor | None = None  # likewise, (1, F, C, H, W)
        self._place: tuple[Segment, Tensor] | None = None  # likewise, see Context.current
        self._decoded = False
        self._context.load(window)
        self._codec_before: CodecState | None = None  # the decoder's state before the chunk in progress, once decoded
        self._codec_state = bundle.decoder.start() if codec is None else codec.clone()
        past = [] if codec is not None else self._recent(self._history.before(opening))
        self._warm = [record.latents for record in past]  # what the codec must hear before it goes on

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
    def wish(self) -> Wish | None:
        """The prompt asked for and not yet in force."""
        return self._steering.wish

    @property
    def new_shot(self) -> np.ndarray | None:
        """The picture asked for and not yet taken, uint8 (H, W, 3)."""
        return None if self._new_shot is None else self._new_shot[0]

    @property
    def latents(self) -> Tensor | None:
        """Latents of the chunk in progress at noise level `sigma`, (1, F, C, H, W); None before it has begun."""
        return self._latents

    def prompt(self, text: Prompt, *, transition: int = 0, kind: BlendKind = "linear") -> None:
        """Ask for another prompt from the next chunk that starts; the last one asked for wins. Raises PromptError."""
        self._steering = self._steering.wished(text, transition, kind)
        if not self._begun:
            self._opened_for = -1

    def image(self, image: Image.Image) -> None:
        """Cut to a new shot that starts from this picture, at the next chunk that starts. Raises MediaError."""
        self._new_shot = fit_image(image, self.bundle.width, self.bundle.height)[None]

    def restart_chunk(self) -> None:
        """Throw the chunk in progress away, unless it is decoded; it starts again, under the newest prompt."""
        if self._began is not None and not self._decoded and self._began.given is None:
            self._began = self._latents = self._place = None
            self.sigma = 1.0
            if self._steering.wish is not None:
                self._opened_for = -1

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

    @property
    def pixel_frames(self) -> int:
        """Pixel frames of the chunk in progress."""
        first = self._shot_chunk == 0
        return (self.frames - first) * self.bundle.frames_per_latent + first

    def next(self) -> Unit:
        """The unit that must run now. Asking changes nothing."""
        opening = not self._begun
        if self._prompt_kv is None or (opening and self._opened_for != self.chunk and self._steering.due):
            return Unit("prompt", ())
        if opening and self._new_shot is not None:
            return Unit("encode", ("picture", 1))
        if self._context.stale:
            return Unit("encode", ("context", self._context.pending_tokens()))
        if opening and self._given is not None:
            return Unit("encode", ("picture", self.frames))
        if self.sigma > 0.0:
            return Unit("step", (self.frames, self._context.frames, self.guided))
        if self._warm:
            return Unit("encode", ("codec", self._warm[0].shape[1]))
        if not self._decoded:
            return Unit("decode", (self.frames,))
        return Unit("append", (self.frames, self._context.frames, self._context_will_change))

    def run(self, unit: Unit, *, r: float | None = None) -> np.ndarray | None:
        """Run `unit`, which must be what `next` said. A step goes to noise level r, or to 0 when none is given.

        Returns the chunk's frames for "decode", uint8 (n, H, W, 3); None otherwise. Raises RequestError for a bad r.
        """
        due = self.next()
        assert unit.kind == due.kind, f"next is {due.kind}, not {unit.kind}"
        with torch.no_grad():
            match due.kind, *due.cost_key:
                case "prompt", *_:
                    self._open()
                case "encode", "picture", _:
                    self._take_picture()
                case "encode", "context", _:
                    self._context.encode(self._kv)
                case "encode", *_:
                    self.bundle.decoder.decode(self._codec_state, self._warm.pop(0))
                case "step", *_:
                    self._step(0.0 if r is None else float(r))
                case "decode", *_:
                    return self.decode_later().result()
                case _:
                    self._append()
        return None

    @property
    def _kv(self) -> PromptKV:
        assert self._prompt_kv is not None
        return self._prompt_kv

    @property
    def _context_will_change(self) -> bool:
        return self._steering.due or self._new_shot is not None

    def _open(self) -> None:
        if not self._begun and self._opened_for != self.chunk and self._steering.due:
            self._steering = self._steering.opened(self.bundle.prompts)
            self._opened_for = self.chunk
            self._context.invalidate()
        assert self._steering.embedding is not None
        rows = [self._steering.embedding]
        if self.guided:
            rows.insert(0, self.bundle.prompts.encode(self.negative))
        self._prompt_kv = self.bundle.network.prompt_kv(rows)

    def _step(self, r: float) -> None:
        if not 0.0 <= r < self.sigma:
            raise RequestError(f"r is {r}; it must be at least 0 and below the noise level reached, {self.sigma:.4f}")
        network = self.bundle.network
        shape = (self.frames, *self.bundle.latent_shape)
        if self._latents is None:
            self._began = self._opening()
            noise = chunk_noise(self.seed, self.chunk, shape)
            self._latents = noise.to(self.bundle.device, self.bundle.dtype)[None]
        if self._place is None:
            self._place = self._context.current(self.frames)
        tokens = network.embed(self._latents).expand(self._context.batch, -1, -1)
        modulation = network.modulation(self.sigma, r)
        u = network.velocity(tokens, *self._place, modulation, self._kv, self._context, shape)
        if self.guided:
            against, towards = u.chunk(2)
            u = against + self.guidance * (towards - against)
        self._latents = flowmap.step(self._latents, u, self.sigma, r)
        self.sigma = r

    def decode_later(self) -> Delivery:
        """Instead of running a "decode": start it, and fetch the frames when the next work is under way."""
        assert self.next().kind == "decode", f"next is {self.next().kind}, not decode"
        assert self._latents is not None
        self._decoded, self._codec_before = True, self._codec_state.clone()
        return Delivery(partial(self.bundle.decoder.decode, self._codec_state, self._latents), self._latents)

    def _append(self) -> None:
        assert self._latents is not None
        assert self._began is not None
        if self._sink is None:
            self._sink = self._latents
        self._history.add(Record(self._began, self._latents, self._sink, self._codec_before))
        self._context.push(self._latents)
        if not self._context_will_change:  # else it is about to be encoded anew, or dropped
            self._context.encode(self._kv)
        self.frame += self.pixel_frames
        self.chunk += 1
        self._shot_chunk += 1
        self._began, self._latents, self._place, self._codec_before = None, None, None, None
        self._decoded, self.sigma = False, 1.0

    # -- pictures taken as they are ------------------------------------------------------------------------------

    def _give(self, frames: np.ndarray) -> None:
        self._given, self._encoder = frames, self.bundle.codec.start_encoder()

    def _given_count(self) -> int:
        """How many of the given frames the chunk in progress takes: a whole chunk, or what is left of them."""
        assert self._given is not None
        per = self.bundle.frames_per_latent
        return 1 if self._shot_chunk == 0 else min(self.bundle.chunk_frames * per, len(self._given) // per * per)

    def _take_picture(self) -> None:
        if self._new_shot is not None:
            self._context.clear()
            self._codec_state, self._warm = self.bundle.decoder.start(), []
            self._shot_chunk, self._sink = 0, None
            self._give(self._new_shot)
            self._new_shot = None
        self._began = self._opening()
        assert self._given is not None
        assert self._encoder is not None
        count = self._given_count()
        self._latents = self.bundle.codec.encode(self._encoder, self._given[:count]).to(self.bundle.dtype)
        self.sigma = 0.0
        self._given = self._given[count:]
        if len(self._given) < self.bundle.frames_per_latent:
            self._given = self._encoder = None

    # -- back and again ------------------------------------------------------------------------------------------

    def _opening(self) -> Opening:
        steering = replace(self._steering, wish=None) if self._opened_for == self.chunk else self._steering
        encoder = self._encoder and self._encoder.clone()
        return Opening(self.chunk, self.frame, self._shot_chunk, steering, self._given, encoder)

    def _recent(self, records: Sequence[Record]) -> list[Record]:
        """The last of `records`, as many as the codec's state can depend on."""
        frames, count = 0, 0
        while count < len(records) and frames < self.bundle.decoder.memory:
            count += 1
            frames += records[-count].latents.shape[1]
        return list(records[len(records) - count :])

    def refresh(self) -> None:
        """Encode the whole context anew before the next step; in the exact mode that changes nothing but rounding."""
        self._context.invalidate()

    def rewind(self, chunk: int) -> None:
        """Go back to the start of `chunk`, as it was then; what came after is forgotten. Raises RequestError.

        A prompt or picture asked for and not yet in force stays asked for, and comes in force there.
        """
        if chunk == self.chunk and not self._begun:
            return
        if chunk == self.chunk and self._began is not None:
            opening, past = self._began, [held.latents for held in self._context.chunks]
            codec = self._codec_before if self._decoded else None if self._warm else self._codec_state
        else:
            record, past = self._history.find(chunk, self._context.geometry.context_frames)
            opening, codec = record.opening, record.codec
        self._history = History([r for r in self._history.records if r.opening.chunk < chunk])
        wish, shot = self._steering.wish, self._new_shot
        self._return_to(opening, past, codec)
        self._new_shot = shot
        if wish is not None:
            self._steering, self._opened_for = replace(self._steering, wish=wish), -1

    @property
    def quick_from(self) -> int:
        """The earliest chunk that `rewind` reaches without decoding anything anew; `chunk` itself at worst."""
        first = self.chunk
        for record in reversed(self._history.records):
            if record.codec is None or record.opening.chunk != first - 1:
                break
            first -= 1
        return first

    def clone(self) -> Rollout:
        """An independent copy that goes on exactly as this one would."""
        twin = object.__new__(Rollout)
        twin.__dict__.update(self.__dict__)
        twin._context, twin._history = self._context.clone(), self._history.clone()
        twin._codec_state, twin._warm = self._codec_state.clone(), list(self._warm)
        twin._encoder = self._encoder and self._encoder.clone()
        return twin

    def snapshot(self, *, full: bool | None = None) -> dict[str, Any]:
        """All of this rollout as {name: tensor or JSON value}; see `models.snapshot` for what `full` means."""
        return snapshot.pack(self, full)

    @classmethod
    def restore(cls, bundle: Bundle, data: Mapping[str, Any]) -> Rollout:
        """The rollout that `snapshot` saved, over the same weights. Raises RequestError."""
        return snapshot.unpack(bundle, data)


def window(bundle: Bundle, context_frames: int | None = None) -> Geometry:
    """The window of a stream: sink + as many far chunks as leave a state the model was trained in, + near + current.

    For the published checkpoints that is 1 + 9 + 6 latent frames of context and 3 in progress, of 21 trained.
    """
    chunk, near = bundle.chunk_frames, bundle.transformer.config.full_chunk_limit - 1
    if context_frames is None:
        far = max(0, (sum(bundle.partition) - 1 - near * chunk - chunk) // chunk)
        context_frames = 1 + (far + near) * chunk
    _, height, width = bundle.latent_shape
    return Geometry(height, width, chunk, near, context_frames)
