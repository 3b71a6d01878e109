"""The units of work of a rollout: which one is due, and what each does to the state.

A chunk is: apply the prompt, encode the context under it where it changed, denoise (or encode input frames), decode,
append to the context.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from models.errors import RequestError
from models.network.transformer import PromptKV
from models.rollout import flowmap
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


def next_unit(state: RolloutState) -> Unit:
    """The unit that must run now. Changes nothing."""
    starting = not state.begun
    if state.prompt_kv is None or (starting and state.prompt_chunk != state.chunk and state.prompt.due):
        return Unit("prompt", ())
    if starting and state.pending_image is not None:
        return Unit("encode", ("image", 1))
    if state.cache.stale:
        return Unit("encode", ("context", state.cache.pending_tokens()))
    if starting and state.conditioning is not None:
        return Unit("encode", ("image", state.latent_frames))
    if state.sigma > 0.0:
        return Unit("step", (state.latent_frames, state.cache.frames, state.guided))
    if state.decoder.replay:
        return Unit("encode", ("decoder", state.decoder.replay[0].shape[1]))
    if not state.decoded:
        return Unit("decode", (state.latent_frames,))
    return Unit("append", (state.latent_frames, state.cache.frames, state.context_changes))


def run_unit(state: RolloutState, due: Unit, r: float) -> PendingFrames | None:
    """Run the unit that is due. r: the noise level a step goes to. Returns the frames of "decode", on their way."""
    match due.kind, *due.cost_key:
        case "prompt", *_:
            apply_prompt(state)
        case "encode", "image", _:
            encode_input(state)
        case "encode", "context", _:
            state.cache.encode(_prompt_kv(state))
        case "encode", *_:
            state.decoder.replay_one()
        case "step", *_:
            step(state, r)
        case "decode", *_:
            return decode(state)
        case _:
            append(state)
    return None


def apply_prompt(state: RolloutState) -> None:
    """Settle the prompt of the chunk that starts, and compute its keys and values."""
    if not state.begun and state.prompt_chunk != state.chunk and state.prompt.due:
        state.prompt = state.prompt.apply(state.bundle.prompts)
        state.prompt_chunk = state.chunk
        state.cache.invalidate()
    assert state.prompt.embedding is not None
    rows = [state.prompt.embedding]
    if state.guided:
        rows.insert(0, state.bundle.prompts.encode(state.negative))
    state.prompt_kv = state.bundle.network.prompt_kv(rows)


def step(state: RolloutState, r: float) -> None:
    """One step of the sampler, from noise level sigma to r. Raises RequestError when r is not below sigma."""
    if not 0.0 <= r < state.sigma:
        raise RequestError(f"r is {r}; it must be at least 0 and below the noise level reached, {state.sigma:.4f}")
    network = state.bundle.network
    shape = (state.latent_frames, *state.bundle.latent_shape)
    if state.latents is None:
        state.start = state.chunk_start()
        state.latents = noise(state, shape)
    if state.position is None:
        state.position = state.cache.current(state.latent_frames)
    end = 0.0 if state.sampler == "renoise" else r
    tokens = network.embed(state.latents).expand(state.cache.batch, -1, -1)
    modulation = network.modulation(state.sigma, end)
    u = network.velocity(tokens, *state.position, modulation, _prompt_kv(state), state.cache, shape)
    if state.guided:
        uncond, cond = u.chunk(2)
        u = flowmap.cfg(uncond, cond, state.guidance)
    state.latents = flowmap.step(state.latents, u, state.sigma, end)
    state.sigma = end
    if end < r:
        renoise(state, r)


def renoise(state: RolloutState, sigma: float) -> None:
    """Add fresh noise to the clean latents of the chunk in progress, up to noise level sigma."""
    if state.latents is None or state.sigma != 0.0 or state.decoded or not 0.0 < sigma < 1.0:
        raise RequestError(f"sigma is {sigma}; clean latents can be re-noised to a level between 0 and 1")
    state.draws += 1
    state.latents = flowmap.renoise(state.latents, noise(state, state.latents.shape[1:]), sigma)
    state.sigma = sigma


def noise(state: RolloutState, shape: tuple[int, ...]) -> Tensor:
    """Standard normal (1, *shape), the one of this chunk's current draw."""
    made = chunk_noise(state.seed, state.chunk, shape, state.draws)
    if state.bundle.device.type == "cuda":
        made = made.pin_memory()  # the copy then waits for nothing
    return made.to(state.bundle.device, state.bundle.dtype, non_blocking=True)[None]


def decode(state: RolloutState) -> PendingFrames:
    """Start decoding the chunk in progress."""
    assert state.latents is not None
    state.decoded = True
    return state.decoder.deliver(state.latents)


def append(state: RolloutState) -> None:
    """Finish the chunk: record it, and put it into the context."""
    assert state.latents is not None
    assert state.start is not None
    if state.sink is None:
        state.sink = state.latents
    state.history.add(ChunkRecord(state.start, state.latents, state.sink, state.decoder.before))
    state.decoder.before = None
    state.cache.push(state.latents)
    if not state.context_changes:  # else it is encoded under the next prompt, or dropped
        state.cache.encode(_prompt_kv(state))
    state.frame += state.pixel_frames
    state.chunk += 1
    state.shot_chunk += 1
    state.clear_chunk()


def encode_input(state: RolloutState) -> None:
    """The next input frames become the chunk; a new shot drops the context.

    After a rewind or a restore the encoder first reads again the frames before them, one chunk a unit.
    """
    if state.pending_image is not None:
        state.cache.clear()
        state.decoder = StreamDecoder(state.bundle.decoder)
        state.shot_chunk, state.sink = 0, None
        state.conditioning, state.pending_image, state.encoder = state.pending_image, None, None
    conditioning, vae = state.conditioning, state.bundle.wan_vae
    assert conditioning is not None
    if state.encoder is None:
        state.encoder, state.encoder_frames = vae.start_encoder(), 0
    now = conditioning.at(state.encoder_frames)
    latents = now.encode(vae, state.encoder)
    state.encoder_frames += now.count
    if now.taken == conditioning.taken:
        state.start = state.chunk_start()
        state.latents, state.sigma = latents.to(state.bundle.dtype), 0.0
        state.conditioning = conditioning.rest()
        if state.conditioning is None:
            state.encoder = None  # gigabytes, at 480p


def _prompt_kv(state: RolloutState) -> PromptKV:
    assert state.prompt_kv is not None
    return state.prompt_kv
