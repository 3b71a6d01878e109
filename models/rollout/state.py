"""All that changes while a rollout runs, as data. `models.rollout.units` moves it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.network.transformer import PromptKV, Segment
from models.rollout.conditioning import Conditioning
from models.rollout.history import ChunkStart, History
from models.rollout.kv_cache import KVCache
from models.rollout.prompt_state import PromptState
from models.vae.base import VAEState
from models.vae.stream_decoder import StreamDecoder

SAMPLERS = ("flowmap", "renoise")


@dataclass
class RolloutState:
    """One rollout: where it stands, its context, and the chunk in progress. The bundle is shared and never written to.

    sampler: "flowmap" goes from noise level t to r by the learned map. "renoise" goes from t to 0 at every step and
    adds fresh noise for the next (arXiv 2303.01469, algorithm 1).
    """

    bundle: Bundle
    seed: int
    guidance: float
    negative: str
    sampler: str
    partition: tuple[int, ...]  # latent frames of the first chunks; later ones are full
    cache: KVCache
    decoder: StreamDecoder
    history: History

    prompt: PromptState
    prompt_chunk: int = -1  # the chunk whose prompt is settled
    prompt_kv: PromptKV | None = None

    chunk: int = 0  # chunks finished
    frame: int = 0  # pixel frames of the finished chunks
    shot_chunk: int = 0  # index of the chunk within its shot
    sink: Tensor | None = None  # latents of the first chunk of the shot

    conditioning: Conditioning | None = None  # input frames that the next chunks are encoded from
    pending_image: Conditioning | None = None  # starts a new shot at the next chunk
    encoder: VAEState | None = None  # after `encoder_frames` input frames; None = nothing encoded yet
    encoder_frames: int = 0

    # the chunk in progress
    start: ChunkStart | None = None  # None before its first step
    sigma: float = 1.0  # noise level of `latents`
    latents: Tensor | None = None  # (1, F, C, H, W)
    position: tuple[Segment, Tensor] | None = None  # see KVCache.current
    draws: int = 0  # times it was re-noised
    decoded: bool = False

    @property
    def guided(self) -> bool:
        """True when classifier-free guidance is on."""
        return self.guidance > 1.0

    @property
    def begun(self) -> bool:
        """True after the first step of the chunk in progress."""
        return self.latents is not None

    @property
    def latent_frames(self) -> int:
        """Latent frames of the chunk in progress."""
        first = self.shot_chunk == 0
        if self.latents is not None:
            return self.latents.shape[1]
        if self.conditioning is not None:
            return 1 if first else self.conditioning.count // self.bundle.frames_per_latent
        if self.shot_chunk < len(self.partition):
            return self.partition[self.shot_chunk]
        return self.bundle.first_chunk_frames if first else self.bundle.chunk_frames

    @property
    def pixel_frames(self) -> int:
        """Pixel frames of the chunk in progress."""
        first = self.shot_chunk == 0
        return (self.latent_frames - first) * self.bundle.frames_per_latent + first

    @property
    def context_changes(self) -> bool:
        """True when the next chunk starts under another prompt, or with a new shot."""
        return self.prompt.due or self.pending_image is not None

    def chunk_start(self) -> ChunkStart:
        """What decides the chunk in progress, besides its context."""
        prompt = replace(self.prompt, pending=None) if self.prompt_chunk == self.chunk else self.prompt
        return ChunkStart(self.chunk, self.frame, self.shot_chunk, prompt, self.conditioning)

    def move_to(self, start: ChunkStart, context: Sequence[Tensor], decoder: VAEState | None = None) -> None:
        """Go to the start of a chunk whose context is `context` (latents, sink first).

        decoder: the decoder's state there; None = rebuild it by decoding the latents that the history holds.
        """
        self.chunk, self.frame, self.shot_chunk = start.chunk, start.frame, start.shot_chunk
        self.prompt, self.prompt_chunk, self.prompt_kv = start.prompt, start.chunk, None
        self.conditioning, self.pending_image = start.conditioning, None
        self.encoder, self.encoder_frames = None, 0
        self.sink = context[0] if context else None
        self.cache.load(context)
        stateful = self.bundle.decoder
        replay = [] if decoder else [record.latents for record in self.history.last(stateful.memory, start)]
        self.decoder = StreamDecoder(stateful, decoder, replay)
        self.clear_chunk()

    def clear_chunk(self) -> None:
        """No chunk is in progress."""
        self.start, self.sigma, self.latents, self.position = None, 1.0, None, None
        self.draws, self.decoded = 0, False

    def clone(self) -> RolloutState:
        """An independent copy; immutable values and latents, never written to, are shared."""
        return replace(
            self,
            cache=self.cache.clone(),
            history=self.history.clone(),
            decoder=self.decoder.clone(),
            encoder=self.encoder and self.encoder.clone(),
        )
