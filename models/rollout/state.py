"""Where a rollout stands: all that changes while it runs, what a user may ask of it, and the ways back.

`models.rollout.rollout` moves it on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from PIL import Image
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.errors import RequestError
from models.media.read import fit_clip, fit_image
from models.network.text_encoder import BlendKind, Prompt
from models.network.transformer import PromptKV, Segment
from models.rollout.conditioning import Conditioning
from models.rollout.history import ChunkStart, History
from models.rollout.kv_cache import KVCache, window
from models.rollout.prompt_state import PendingPrompt, PromptState
from models.vae.base import CodecState
from models.vae.stream_decoder import StreamDecoder

MAX_GUIDANCE = 20.0


class RolloutState:
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
        self._context = KVCache(
            bundle.network, window(bundle, context_frames), batch=2 if self.guided else 1, mode=append
        )
        self._history = History()
        footage: Conditioning | None = None
        if image is not None:
            footage = self._picture(image)
        elif clip is not None:
            footage = self._film(fit_clip(clip, clip_fps, width=bundle.width, height=bundle.height, fps=bundle.fps))
        self._return_to(ChunkStart(0, 0, 0, PromptState().wished(prompt), footage), [])
        self._opened_for = -1

    def _return_to(self, opening: ChunkStart, past: Sequence[Tensor], codec: CodecState | None = None) -> None:
        """Stand at the opening of a chunk whose window is `past` (latents, sink first).

        codec: the decoder's state there; None when it has to be rebuilt by decoding what the history holds.
        """
        self.chunk: int = opening.chunk
        self.frame: int = opening.frame  # pixel frames made before this chunk
        self._shot_chunk = opening.shot_chunk  # index of the chunk within its shot
        self._steering = opening.steering
        self._opened_for = opening.chunk  # the chunk whose prompt is settled, or -1
        self._prompt_kv: PromptKV | None = None
        self._footage = opening.footage
        self._encoder: CodecState | None = None  # for the rest of the footage; it reads anew when it is not there
        self._read = 0  # frames of the footage it has read
        self._new_shot: Conditioning | None = None  # asked for
        self._sink: Tensor | None = past[0] if past else None  # latents of the first chunk of the shot
        self._context.load(past)
        decoder = self.bundle.decoder
        replay = [] if codec else [record.latents for record in self._history.last(decoder.memory, opening)]
        self._decoding = StreamDecoder(decoder, codec, replay)
        self._clear_chunk()

    def _clear_chunk(self) -> None:
        """No chunk is in progress."""
        self.sigma: float = 1.0
        self._began: ChunkStart | None = None
        self._latents: Tensor | None = None  # (1, F, C, H, W)
        self._place: tuple[Segment, Tensor] | None = None  # see KVCache.current
        self._decoded = False

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
    def wish(self) -> PendingPrompt | None:
        """The prompt asked for and not yet in force."""
        return self._steering.wish

    @property
    def new_shot(self) -> np.ndarray | None:
        """The picture asked for and not yet taken, uint8 (H, W, 3)."""
        return None if self._new_shot is None else self._new_shot.frames[0]

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
        self._new_shot = self._picture(image)

    def restart_chunk(self) -> None:
        """Throw the chunk in progress away, unless it is decoded; it starts again, under the newest prompt."""
        if self._began is not None and not self._decoded and self._began.footage is None:
            self._clear_chunk()
            if self._steering.wish is not None:
                self._opened_for = -1

    def refresh(self) -> None:
        """Encode the whole context anew before the next step; in the exact mode that changes nothing but rounding."""
        self._context.invalidate()

    # -- the chunk in progress -----------------------------------------------------------------------------------

    @property
    def _begun(self) -> bool:
        return self._latents is not None

    @property
    def frames(self) -> int:
        """Latent frames of the chunk in progress."""
        first = self._shot_chunk == 0
        if self._latents is not None:
            return self._latents.shape[1]
        if self._footage is not None:
            return 1 if first else self._footage.count // self.bundle.frames_per_latent
        if self._shot_chunk < len(self.partition):
            return self.partition[self._shot_chunk]
        return 1 if first else self.bundle.chunk_frames

    @property
    def pixel_frames(self) -> int:
        """Pixel frames of the chunk in progress."""
        first = self._shot_chunk == 0
        return (self.frames - first) * self.bundle.frames_per_latent + first

    def _film(self, frames: np.ndarray) -> Conditioning:
        per = self.bundle.frames_per_latent
        return Conditioning(frames, per, self.bundle.chunk_frames * per)

    def _picture(self, image: Image.Image) -> Conditioning:
        return self._film(fit_image(image, self.bundle.width, self.bundle.height)[None])

    # -- back and again ------------------------------------------------------------------------------------------

    def _opening(self) -> ChunkStart:
        steering = replace(self._steering, wish=None) if self._opened_for == self.chunk else self._steering
        return ChunkStart(self.chunk, self.frame, self._shot_chunk, steering, self._footage)

    def rewind(self, chunk: int) -> None:
        """Go back to the start of `chunk`, as it was then; what came after is forgotten. Raises RequestError.

        A prompt or picture asked for and not yet in force stays asked for, and comes in force there.
        """
        if chunk == self.chunk and self._began is None:
            return
        if chunk == self.chunk and self._began is not None:
            opening, codec = self._began, self._decoding.known
            past = [held.latents for held in self._context.chunks]
        else:
            record, past = self._history.find(chunk, self._context.geometry.context_frames)
            opening, codec = record.opening, record.codec
        wish, shot = self._steering.wish, self._new_shot
        self._history.forget(chunk)
        self._return_to(opening, past, codec)
        self._new_shot = shot
        if wish is not None:
            self._steering, self._opened_for = replace(self._steering, wish=wish), -1

    @property
    def cheap_rewind_from(self) -> int:
        """The earliest chunk that `rewind` reaches without decoding anything anew; `chunk` itself at worst."""
        first = self._history.cheap_rewind_from
        return self.chunk if first is None else first

    def clone(self) -> Self:
        """An independent copy that goes on exactly as this one would."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._context, twin._history = self._context.clone(), self._history.clone()
        twin._decoding = self._decoding.clone()
        twin._encoder = self._encoder and self._encoder.clone()
        return twin
