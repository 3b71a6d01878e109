"""One take, for as long as anyone watches: the loop of opening a chunk, denoising it, decoding it and remembering it.

A rollout is a state machine. `next` says which unit of work must run, `run` runs it, and between any two units the
caller may do something else: run another rollout, stop for good, take a copy, or finish the chunk early by stepping to
r = 0. It does not know clocks, deadlines or viewers. All state is here; the bundle is shared and never written to.

Where the rest is: what a chunk sees of the past and how that is kept (`context`), the pass through the network
(`transformer`), where a rollout stands and the ways back (`rollout_state`, `history`), which prompt is in force
(`steering`), pictures taken as they are (`footage`), the decoder and frames under way (`decoding`), a rollout as data
(`snapshot`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from models.checkpoint.bundle import Bundle
from models.errors import RequestError
from models.network.transformer import PromptKV
from models.rollout import flowmap, snapshot
from models.rollout.history import ChunkRecord
from models.rollout.noise import chunk_noise
from models.rollout.state import RolloutState
from models.vae.stream_decoder import PendingFrames, StreamDecoder

UnitKind = Literal["prompt", "encode", "step", "decode", "append"]


@dataclass(frozen=True)
class Unit:
    """A piece of work. Units of one kind with equal `cost_key` take about as long."""

    kind: UnitKind
    cost_key: tuple[Hashable, ...]


class Rollout(RolloutState):
    """One take, made a unit at a time. What it starts from: see `RolloutState`."""

    def next(self) -> Unit:
        """The unit that must run now. Asking changes nothing."""
        opening = not self._begun
        if self._prompt_kv is None or (opening and self._opened_for != self.chunk and self._steering.due):
            return Unit("prompt", ())
        if opening and self._new_shot is not None:
            return Unit("encode", ("picture", 1))
        if self._context.stale:
            return Unit("encode", ("context", self._context.pending_tokens()))
        if opening and self._footage is not None:
            return Unit("encode", ("picture", self.frames))
        if self.sigma > 0.0:
            return Unit("step", (self.frames, self._context.frames, self.guided))
        if self._decoding.replay:
            return Unit("encode", ("codec", self._decoding.replay[0].shape[1]))
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
                    self._decoding.replay_one()
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
        """Settle which prompt the chunk is made under."""
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
        """One step of the flow map, from noise level sigma to r."""
        if not 0.0 <= r < self.sigma:
            raise RequestError(f"r is {r}; it must be at least 0 and below the noise level reached, {self.sigma:.4f}")
        network = self.bundle.network
        shape = (self.frames, *self.bundle.latent_shape)
        if self._latents is None:
            self._began = self._opening()
            noise = chunk_noise(self.seed, self.chunk, shape)
            if self.bundle.device.type == "cuda":
                noise = noise.pin_memory()  # the copy then waits for nothing
            self._latents = noise.to(self.bundle.device, self.bundle.dtype, non_blocking=True)[None]
        if self._place is None:
            self._place = self._context.current(self.frames)
        tokens = network.embed(self._latents).expand(self._context.batch, -1, -1)
        modulation = network.modulation(self.sigma, r)
        u = network.velocity(tokens, *self._place, modulation, self._kv, self._context, shape)
        if self.guided:
            uncond, cond = u.chunk(2)
            u = uncond + self.guidance * (cond - uncond)
        self._latents = flowmap.step(self._latents, u, self.sigma, r)
        self.sigma = r

    def decode_later(self) -> PendingFrames:
        """Instead of running a "decode": start it, and fetch the frames when the next work is under way."""
        assert self.next().kind == "decode", f"next is {self.next().kind}, not decode"
        assert self._latents is not None
        self._decoded = True
        return self._decoding.deliver(self._latents)

    def _append(self) -> None:
        """The chunk is finished: remember it, and let the next one see it."""
        assert self._latents is not None
        assert self._began is not None
        if self._sink is None:
            self._sink = self._latents
        self._history.add(ChunkRecord(self._began, self._latents, self._sink, self._decoding.before))
        self._decoding.before = None
        self._context.push(self._latents)
        if not self._context_will_change:  # else it is about to be encoded anew, or dropped
            self._context.encode(self._kv)
        self.frame += self.pixel_frames
        self.chunk += 1
        self._shot_chunk += 1
        self._clear_chunk()

    def _take_picture(self) -> None:
        """The next given frames are the chunk; a new shot forgets the one before.

        Back from a rewind or a snapshot, the encoder first reads again what it had read, a chunk a unit.
        """
        if self._new_shot is not None:
            self._context.clear()
            self._decoding = StreamDecoder(self.bundle.decoder)
            self._shot_chunk, self._sink = 0, None
            self._footage, self._new_shot, self._encoder = self._new_shot, None, None
        footage, codec = self._footage, self.bundle.codec
        assert footage is not None
        if self._encoder is None:
            self._encoder, self._read = codec.start_encoder(), 0
        now = footage.at(self._read)
        latents = now.encode(codec, self._encoder)
        self._read += now.count
        if now.taken == footage.taken:
            self._began = self._opening()
            self._latents, self.sigma = latents.to(self.bundle.dtype), 0.0
            self._footage = footage.rest()
            if self._footage is None:
                self._encoder = None  # gigabytes, at 480p

    def snapshot(self, *, full: bool | None = None) -> dict[str, Any]:
        """All of this rollout as {name: tensor or JSON value}; see `models.rollout.snapshot` for what `full` means."""
        return snapshot.pack(self, full)

    @classmethod
    def restore(cls, bundle: Bundle, data: Mapping[str, Any]) -> Rollout:
        """The rollout that `snapshot` saved, over the same weights. Raises RequestError."""
        return snapshot.unpack(bundle, data)
