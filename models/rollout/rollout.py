"""One endless video: apply the prompt, denoise a chunk, decode it, append it to the context, again.

A rollout is a state machine. `next` says which unit of work is due and `run` runs it; `next_chunk` runs all units of a
chunk. Between two units the caller may run another rollout, stop for good, copy it, or finish the chunk early by a step
to r = 0. A rollout knows no clocks, deadlines or viewers.

Where the rest is: the state as data (`models.rollout.state`), the units (`units`), the context and its keys and values
(`kv_cache`), records of finished chunks (`history`), the prompt (`prompt_state`), input frames (`conditioning`), a
rollout as data to be stored (`snapshot`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.errors import RequestError
from models.network.text_encoder import BlendKind, Prompt
from models.rollout import units
from models.rollout.conditioning import Conditioning, from_clip, from_image
from models.rollout.history import ChunkStart, History
from models.rollout.kv_cache import KVCache, window
from models.rollout.prompt_state import PendingPrompt, PromptState
from models.rollout.state import SAMPLERS, RolloutState
from models.rollout.units import Unit
from models.vae.stream_decoder import PendingFrames, StreamDecoder

MAX_GUIDANCE = 20.0


class Rollout:
    """One rollout. The first chunk of a shot is 1 pixel frame, later ones are 12 (3 latent frames, `chunk_frames`).

    prompt: what to show; image: the first frame (PIL, or uint8 (H, W, 3), any size); clip: uint8 (n, H, W, 3) at
    `clip_fps`, which the video continues.
    guidance: above 1 a step is computed twice, also for `negative`; None takes the bundle's own.
    append: "exact", "rolling" or "cheap" (see `models.rollout.kv_cache`).
    sampler: "flowmap" or "renoise" (see `RolloutState`); None takes the bundle's own.
    partition: latent frames of the first chunks, where a video of known length needs a shorter last one.
    context_frames: most latent frames of context; None takes what `models.rollout.kv_cache.window` computes.
    Raises PromptError, MediaError, RequestError.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        prompt: Prompt,
        seed: int = 0,
        image: Image.Image | np.ndarray | None = None,
        clip: np.ndarray | None = None,
        clip_fps: float | None = None,
        guidance: float | None = None,
        negative: str = "",
        append: str = "exact",
        sampler: str | None = None,
        partition: Sequence[int] = (),
        context_frames: int | None = None,
    ) -> None:
        if image is not None and clip is not None:
            raise RequestError("start from an image or from a clip, not from both")
        guidance = bundle.guidance if guidance is None else guidance
        if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 1 <= guidance <= MAX_GUIDANCE:
            raise RequestError(f"guidance is {guidance!r}; it must be a number from 1 (off) to {MAX_GUIDANCE:g}")
        sampler = sampler or bundle.sampler
        if sampler not in SAMPLERS:
            raise RequestError(f"sampler is {sampler!r}; it must be {' or '.join(SAMPLERS)}")
        conditioning: Conditioning | None = None
        if image is not None:
            conditioning = from_image(bundle, image)
        elif clip is not None:
            conditioning = from_clip(bundle, clip, clip_fps)
        first = PromptState().request(prompt)
        bundle.prompts.check(prompt)
        rows = 2 if guidance > 1.0 else 1
        self.rebuilt = ""  # "all" where `snapshot.load` had to compute the context and the decoder's state again
        self.state = RolloutState(
            bundle=bundle,
            seed=int(seed),
            guidance=float(guidance),
            negative=negative,
            sampler=sampler,
            partition=tuple(partition),
            cache=KVCache(bundle.network, window(bundle, context_frames), batch=rows, mode=append),
            decoder=StreamDecoder(bundle.decoder),
            history=History(),
            prompt=first,
        )
        self.state.move_to(ChunkStart(0, 0, 0, first, conditioning), [])
        self.state.prompt_chunk = -1

    # -- where it stands -----------------------------------------------------------------------------------------

    @property
    def bundle(self) -> Bundle:
        """The checkpoint, shared with other rollouts."""
        return self.state.bundle

    @property
    def chunk(self) -> int:
        """Index of the chunk in progress: how many are finished."""
        return self.state.chunk

    @property
    def frame(self) -> int:
        """Index of its first pixel frame."""
        return self.state.frame

    @property
    def sigma(self) -> float:
        """Noise level of the chunk in progress: 1 before its first step, 0 when it is denoised."""
        return self.state.sigma

    @property
    def latents(self) -> Tensor | None:
        """Latents of the chunk in progress at noise level `sigma`, (1, F, C, H, W); None before its first step."""
        return self.state.latents

    @property
    def text(self) -> str:
        """The prompt of the chunk in progress."""
        return self.state.prompt.text

    @property
    def pending_prompt(self) -> PendingPrompt | None:
        """The prompt that the next unit of kind "prompt" applies."""
        return self.state.prompt.pending

    @property
    def pending_image(self) -> np.ndarray | None:
        """The image that starts a new shot at the next chunk, uint8 (H, W, 3)."""
        return None if self.state.pending_image is None else self.state.pending_image.frames[0]

    @property
    def cheap_rewind_from(self) -> int:
        """The earliest chunk that `rewind` reaches without decoding anything again; `chunk` itself at worst."""
        first = self.state.history.cheap_rewind_from
        return self.state.chunk if first is None else first

    # -- what a user may change ----------------------------------------------------------------------------------

    def prompt(self, text: Prompt, *, transition: int = 0, kind: BlendKind = "linear") -> None:
        """Change the prompt when the next chunk starts; the last one requested is taken. Raises PromptError.

        transition: chunks over which the embeddings are blended, by `kind`.
        """
        requested = self.state.prompt.request(text, transition, kind)
        self.bundle.prompts.check(text)
        self.state.prompt = requested
        if not self.state.begun:
            self.state.prompt_chunk = -1

    def image(self, image: Image.Image | np.ndarray) -> None:
        """Start a new shot from this image (PIL, or uint8 (H, W, 3)) at the next chunk. Raises MediaError."""
        self.state.pending_image = from_image(self.bundle, image)

    def check_prompt(self, text: Prompt) -> None:
        """Raises PromptError for a prompt that `prompt` would refuse."""
        self.bundle.prompts.check(text)

    def cancel_prompt(self) -> None:
        """Drop the pending prompt; the one applied last stays."""
        self.state.prompt = replace(self.state.prompt, pending=None)

    def cancel_image(self) -> None:
        """Drop the pending image."""
        self.state.pending_image = None

    def restart_chunk(self) -> None:
        """Drop the chunk in progress unless it is decoded; it starts again, under the newest prompt."""
        state = self.state
        if state.start is not None and not state.decoded and state.start.conditioning is None:
            state.clear_chunk()
            if state.prompt.pending is not None:
                state.prompt_chunk = -1

    def refresh(self) -> None:
        """Encode the whole context again before the next step; in the exact mode that changes rounding at most."""
        self.state.cache.invalidate()

    def rewind(self, chunk: int) -> None:
        """Go back to the start of `chunk`, as it was then; later chunks are dropped. Raises RequestError.

        A prompt or image that is pending stays pending, and applies there.
        """
        state = self.state
        if chunk == state.chunk and state.start is None:
            return
        if chunk == state.chunk and state.start is not None:
            start, decoder = state.start, state.decoder.known
            context = [held.latents for held in state.cache.chunks]
        else:
            record, context = state.history.find(chunk, state.cache.geometry.context_frames)
            start, decoder = record.start, record.decoder
        pending, image = state.prompt.pending, state.pending_image
        state.history.forget(chunk)
        state.move_to(start, context, decoder)
        state.pending_image = image
        if pending is not None:
            state.prompt, state.prompt_chunk = replace(state.prompt, pending=pending), -1

    def clone(self) -> Rollout:
        """An independent copy that goes on exactly as this one would."""
        twin = object.__new__(Rollout)
        twin.rebuilt, twin.state = self.rebuilt, self.state.clone()
        return twin

    # -- work ----------------------------------------------------------------------------------------------------

    def next(self) -> Unit:
        """The unit that must run now. Changes nothing."""
        return units.next_unit(self.state)

    @torch.no_grad()
    def run(self, unit: Unit, *, r: float | None = None) -> np.ndarray | None:
        """Run `unit`, which must be what `next` said. A step goes to noise level r, or to 0 when none is given.

        Returns the chunk's frames for "decode", uint8 (n, H, W, 3); None otherwise. Raises RequestError for a bad r.
        """
        pending = self.launch(unit, r=r)
        return None if pending is None else pending.result()

    @torch.no_grad()
    def launch(self, unit: Unit, *, r: float | None = None) -> PendingFrames | None:
        """As `run`, but on a GPU it returns when the work is enqueued; what a decode returns waits for its frames."""
        due = self.next()
        assert unit.kind == due.kind, f"next is {due.kind}, not {unit.kind}"
        return units.run_unit(self.state, due, 0.0 if r is None else float(r))

    def next_chunk(self, sigmas: Sequence[float]) -> np.ndarray:
        """Run all units of a chunk (the rest of the one in progress); its frames, uint8 (n, H, W, 3).

        sigmas: noise levels from 1 down to 0 (`flowmap.schedule`), passed one a step; the first is where the chunk
        starts. A chunk encoded from input frames takes no steps. Raises RequestError when they end above 0.
        """
        levels, chunk, frames = iter(sigmas[1:]), self.chunk, None
        while self.chunk == chunk:
            unit, r = self.next(), None
            if unit.kind == "step" and (r := next(levels, None)) is None:
                raise RequestError(f"the noise levels end at {self.sigma:.4f}, not at 0", code="invalid_steps")
            made = self.run(unit, r=r)
            frames = frames if made is None else made
        assert frames is not None, "the chunk in progress was decoded before"
        return frames

    @torch.no_grad()
    def renoise(self, sigma: float) -> None:
        """Add fresh noise to the denoised chunk in progress, to be denoised again. Raises RequestError."""
        units.renoise(self.state, sigma)
