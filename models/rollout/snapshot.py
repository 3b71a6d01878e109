"""A rollout as plain data and back: {name: tensor or JSON value}, ready for safetensors (`snapshot_bytes`).

Two sizes. The small one holds latents, prompts and counters; the context's K/V and the decoder's state are computed
again from them when the rollout goes on, equal up to the rounding of differently shaped products. The full one adds
both, so that going on is bit for bit as if nothing had happened; it is what `save` makes while these are at most
FULL_BYTES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.errors import RequestError
from models.rollout.conditioning import Conditioning
from models.rollout.history import ChunkRecord, ChunkStart, History
from models.rollout.prompt_state import PendingPrompt, PromptState, PromptTransition
from models.rollout.rollout import Rollout
from models.rollout.state import RolloutState
from models.vae.base import VAEState
from models.vae.stream_decoder import StreamDecoder

VERSION = 3
FULL_BYTES = 16_000_000


def save(state: RolloutState, full: bool | None = None) -> dict[str, Any]:
    """All of `rollout.state`. full: with the K/V and the decoder's state; None = while they are small."""
    cache, decoder = state.cache, state.decoder
    heavy = cache.keys.nbytes + cache.values.nbytes + decoder.state.nbytes
    out = _Writer()
    data: dict[str, Any] = {
        "version": VERSION,
        "model": state.bundle.name,
        "latent_shape": list(state.bundle.latent_shape),
        "arguments": {
            "seed": state.seed,
            "guidance": state.guidance,
            "negative": state.negative,
            "append": cache.mode,
            "sampler": state.sampler,
            "partition": list(state.partition),
            "context_frames": cache.geometry.context_frames,
        },
        "now": out.start(state.chunk_start()),
        "pending_prompt": out.pending(state.prompt.pending),
        "pending_image": out.conditioning(state.pending_image),
        "prompt_chunk": state.prompt_chunk,
        "start": None if state.start is None else out.start(state.start),
        "sigma": state.sigma,
        "draws": state.draws,
        "decoded": state.decoded,
        "latents": out.put(state.latents),
        "sink": out.put(state.sink),
        "replay": [out.put(latents) for latents in decoder.replay],
        "context": [out.put(chunk.latents) for chunk in cache.chunks],
        "records": [
            {"start": out.start(r.start), "latents": out.put(r.latents), "sink": out.put(r.sink)}
            for r in state.history.last(state.bundle.decoder.memory)
        ],
    }
    if heavy <= FULL_BYTES if full is None else full:
        data["encoded"] = [chunk.encoded for chunk in cache.chunks]
        data["store"] = [out.put(cache.keys), out.put(cache.values)]
        data["decoder"] = out.vae(decoder.state)
    return {**out.tensors, "state": data}


def load(bundle: Bundle, snapshot: Mapping[str, Any]) -> Rollout:
    """The rollout whose state `save` was given, over the same weights. Raises RequestError for another model's."""
    data = snapshot.get("state")
    if not isinstance(data, Mapping) or data.get("version") != VERSION:
        raise RequestError(f"this is no snapshot of version {VERSION}; start a new rollout", code="invalid_snapshot")
    for what, theirs, ours in (
        ("model", data["model"], bundle.name),
        ("latent shape", list(data["latent_shape"]), list(bundle.latent_shape)),
    ):
        if theirs != ours:
            raise RequestError(f"the snapshot's {what} is {theirs}, the bundle's is {ours}", code="invalid_snapshot")
    read = _Reader(snapshot, bundle.device)
    rollout = Rollout(bundle, prompt="restored", **data["arguments"])
    state = rollout.state
    state.history = History(
        [ChunkRecord(read.start(r["start"]), read.get(r["latents"]), read.get(r["sink"])) for r in data["records"]]
    )
    state.move_to(read.start(data["now"]), [read.get(name) for name in data["context"]])
    state.prompt_chunk = data["prompt_chunk"]
    state.prompt = replace(state.prompt, pending=read.pending(data["pending_prompt"]))
    state.pending_image = read.conditioning(data["pending_image"])
    state.start = None if data["start"] is None else read.start(data["start"])
    state.sink, state.latents = read.maybe(data["sink"]), read.maybe(data["latents"])
    state.sigma, state.draws, state.decoded = data["sigma"], data["draws"], data["decoded"]
    if "store" in data:
        keys, values = (read.get(name) for name in data["store"])
        state.cache.load_store(keys, values, data["encoded"])
        replay = [read.get(name) for name in data["replay"]]
        state.decoder = StreamDecoder(bundle.decoder, read.vae(data["decoder"]), replay)
    else:
        rollout.rebuilt = "all"
        if state.decoded:
            state.decoder.replay.append(read.get(data["latents"]))
    return rollout


class _Writer:
    """Collects tensors under names, the same tensor only once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}

    def put(self, tensor: Tensor | None) -> str | None:
        if tensor is None:
            return None
        name = self._names.get(id(tensor))
        if name is None:
            name = self._names[id(tensor)] = f"t{len(self.tensors)}"
            self.tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
        return name

    def conditioning(self, given: Conditioning | None) -> list[Any] | None:
        if given is None:
            return None
        name = self._names.get(id(given.frames))
        if name is None:
            name = self._names[id(given.frames)] = f"t{len(self.tensors)}"
            self.tensors[name] = torch.from_numpy(given.frames.copy())
        return [name, given.per_latent, given.chunk, given.taken]

    def vae(self, state: VAEState) -> dict[str, Any]:
        cache = [{"tensor": self.put(slot)} if isinstance(slot, Tensor) else slot for slot in state.cache]
        return {"cache": cache, "started": state.started}

    def pending(self, prompt: PendingPrompt | None) -> list[Any] | None:
        return None if prompt is None else [[list(part) for part in prompt.parts], prompt.transition, prompt.kind]

    def transition(self, over: PromptTransition | None) -> list[Any] | None:
        return None if over is None else [self.put(over.start), self.put(over.end), over.chunks, over.done, over.kind]

    def start(self, start: ChunkStart) -> dict[str, Any]:
        prompt = start.prompt
        return {
            "chunk": start.chunk,
            "frame": start.frame,
            "shot_chunk": start.shot_chunk,
            "text": prompt.text,
            "embedding": self.put(prompt.embedding),
            "pending": self.pending(prompt.pending),
            "transition": self.transition(prompt.transition),
            "conditioning": self.conditioning(start.conditioning),
        }


class _Reader:
    """The inverse of `_Writer`."""

    def __init__(self, snapshot: Mapping[str, Any], device: torch.device) -> None:
        self._snapshot = snapshot
        self._device = device
        self._seen: dict[str, Tensor] = {}

    def get(self, name: str) -> Tensor:
        if name not in self._seen:
            tensor = self._snapshot.get(name)
            if not isinstance(tensor, Tensor):
                raise RequestError(f"the snapshot lacks {name}; start a new rollout", code="invalid_snapshot")
            self._seen[name] = tensor.to(self._device, copy=True)
        return self._seen[name]

    def maybe(self, name: str | None) -> Tensor | None:
        return None if name is None else self.get(name)

    def conditioning(self, data: Sequence[Any] | None) -> Conditioning | None:
        return None if data is None else Conditioning(self.get(data[0]).cpu().numpy(), data[1], data[2], data[3])

    def vae(self, data: Mapping[str, Any]) -> VAEState:
        cache = [self.get(slot["tensor"]) if isinstance(slot, Mapping) else slot for slot in data["cache"]]
        return VAEState(cache, data["started"])

    def pending(self, data: Sequence[Any] | None) -> PendingPrompt | None:
        if data is None:
            return None
        return PendingPrompt(tuple((text, weight) for text, weight in data[0]), data[1], data[2])

    def start(self, data: Mapping[str, Any]) -> ChunkStart:
        over = data["transition"]
        prompt = PromptState(
            data["text"],
            self.maybe(data["embedding"]),
            self.pending(data["pending"]),
            None if over is None else PromptTransition(self.get(over[0]), self.get(over[1]), over[2], over[3], over[4]),
        )
        conditioning = self.conditioning(data["conditioning"])
        return ChunkStart(data["chunk"], data["frame"], data["shot_chunk"], prompt, conditioning)
