"""A rollout as plain data and back: {name: tensor or JSON value}, ready for safetensors.

Two sizes. The small one holds latents, prompts and counters; the context's K/V and the codec's state are rebuilt from
them when the rollout goes on, equal up to the rounding of differently shaped products. The full one adds both, so that
going on is bit for bit as if nothing had happened; it is what `snapshot` makes while it stays under FULL_BYTES.
The two functions are the other half of `Rollout` and know its insides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.errors import RequestError
from models.rollout.conditioning import Conditioning
from models.rollout.history import ChunkRecord, ChunkStart, History
from models.rollout.prompt_state import PendingPrompt, PromptState, PromptTransition
from models.vae.base import CodecState
from models.vae.stream_decoder import StreamDecoder

if TYPE_CHECKING:
    from models.checkpoint.bundle import Bundle
    from models.rollout.rollout import Rollout

VERSION = 2
FULL_BYTES = 16_000_000


def pack(rollout: Rollout, full: bool | None = None) -> dict[str, Any]:
    """See `Rollout.snapshot`."""
    context, decoding = rollout._context, rollout._decoding
    decoding.synchronize()
    codec = decoding.state
    heavy = context.keys.nbytes + context.values.nbytes + codec.nbytes
    out = _Writer()
    state: dict[str, Any] = {
        "version": VERSION,
        "model": rollout.bundle.name,
        "latent_shape": list(rollout.bundle.latent_shape),
        "arguments": {
            "seed": rollout.seed,
            "guidance": rollout.guidance,
            "negative": rollout.negative,
            "append": context.mode,
            "partition": list(rollout.partition),
            "context_frames": context.geometry.context_frames,
        },
        "now": out.opening(rollout._opening()),
        "wish": out.wish(rollout._steering.wish),
        "began": None if rollout._began is None else out.opening(rollout._began),
        "sigma": rollout.sigma,
        "decoded": rollout._decoded,
        "opened_for": rollout._opened_for,
        "latents": out.put(rollout._latents),
        "sink": out.put(rollout._sink),
        "new_shot": out.footage(rollout._new_shot),
        "replay": [out.put(latents) for latents in decoding.replay],
        "window": [out.put(chunk.latents) for chunk in context.chunks],
        "records": [
            {"opening": out.opening(r.opening), "latents": out.put(r.latents), "sink": out.put(r.sink)}
            for r in rollout._history.last(rollout.bundle.decoder.memory)
        ],
    }
    if heavy <= FULL_BYTES if full is None else full:
        state["encoded"] = [chunk.encoded for chunk in context.chunks]
        state["store"] = [out.put(context.keys), out.put(context.values)]
        state["codec"] = out.codec(codec)
    return {**out.tensors, "state": state}


def unpack(bundle: Bundle, snapshot: Mapping[str, Any]) -> Rollout:
    """See `Rollout.restore`."""
    from models.rollout.rollout import Rollout

    state = snapshot.get("state")
    if not isinstance(state, Mapping) or state.get("version") != VERSION:
        raise RequestError(f"this is no snapshot of version {VERSION}; start a new rollout", code="invalid_snapshot")
    for what, theirs, ours in (
        ("model", state["model"], bundle.name),
        ("latent shape", list(state["latent_shape"]), list(bundle.latent_shape)),
    ):
        if theirs != ours:
            raise RequestError(f"the snapshot's {what} is {theirs}, the bundle's is {ours}", code="invalid_snapshot")
    read = _Reader(snapshot, bundle.device)
    rollout = Rollout(bundle, prompt="restored", **state["arguments"])
    rollout._history = History(
        [ChunkRecord(read.opening(r["opening"]), read.get(r["latents"]), read.get(r["sink"])) for r in state["records"]]
    )
    rollout._return_to(read.opening(state["now"]), [read.get(name) for name in state["window"]])
    rollout._opened_for = state["opened_for"]
    rollout._steering = replace(rollout._steering, wish=read.wish(state["wish"]))
    rollout._began = None if state["began"] is None else read.opening(state["began"])
    rollout._sink = read.maybe(state["sink"])
    rollout._latents, rollout.sigma, rollout._decoded = read.maybe(state["latents"]), state["sigma"], state["decoded"]
    rollout._new_shot = read.footage(state["new_shot"])
    if "store" in state:
        keys, values = (read.get(name) for name in state["store"])
        rollout._context.load_store(keys, values, state["encoded"])
        replay = [read.get(name) for name in state["replay"]]
        rollout._decoding = StreamDecoder(bundle.decoder, read.codec(state["codec"]), replay)
    elif rollout._decoded:
        rollout._decoding.replay.append(read.get(state["latents"]))
    return rollout


def is_full(snapshot: Mapping[str, Any]) -> bool:
    """Whether a rollout restored from it goes on bit for bit."""
    return "store" in snapshot.get("state", {})


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

    def footage(self, footage: Conditioning | None) -> list[Any] | None:
        if footage is None:
            return None
        name = self._names.get(id(footage.frames))
        if name is None:
            name = self._names[id(footage.frames)] = f"t{len(self.tensors)}"
            self.tensors[name] = torch.from_numpy(footage.frames.copy())
        return [name, footage.per_latent, footage.chunk, footage.taken]

    def codec(self, state: CodecState) -> dict[str, Any]:
        cache = [{"tensor": self.put(slot)} if isinstance(slot, Tensor) else slot for slot in state.cache]
        return {"cache": cache, "started": state.started}

    def wish(self, wish: PendingPrompt | None) -> list[Any] | None:
        return None if wish is None else [[list(part) for part in wish.parts], wish.transition, wish.kind]

    def ramp(self, ramp: PromptTransition | None) -> list[Any] | None:
        return None if ramp is None else [self.put(ramp.start), self.put(ramp.end), ramp.chunks, ramp.done, ramp.kind]

    def opening(self, opening: ChunkStart) -> dict[str, Any]:
        steering = opening.steering
        return {
            "chunk": opening.chunk,
            "frame": opening.frame,
            "shot_chunk": opening.shot_chunk,
            "text": steering.text,
            "embedding": self.put(steering.embedding),
            "wish": self.wish(steering.wish),
            "ramp": self.ramp(steering.ramp),
            "footage": self.footage(opening.footage),
        }  # fmt: skip


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

    def footage(self, data: Sequence[Any] | None) -> Conditioning | None:
        return None if data is None else Conditioning(self.get(data[0]).cpu().numpy(), data[1], data[2], data[3])

    def codec(self, data: Mapping[str, Any]) -> CodecState:
        cache = [self.get(slot["tensor"]) if isinstance(slot, Mapping) else slot for slot in data["cache"]]
        return CodecState(cache, data["started"])

    def wish(self, data: Sequence[Any] | None) -> PendingPrompt | None:
        if data is None:
            return None
        return PendingPrompt(tuple((text, weight) for text, weight in data[0]), data[1], data[2])

    def opening(self, data: Mapping[str, Any]) -> ChunkStart:
        ramp = data["ramp"]
        steering = PromptState(
            data["text"],
            self.maybe(data["embedding"]),
            self.wish(data["wish"]),
            None if ramp is None else PromptTransition(self.get(ramp[0]), self.get(ramp[1]), ramp[2], ramp[3], ramp[4]),
        )
        return ChunkStart(data["chunk"], data["frame"], data["shot_chunk"], steering, self.footage(data["footage"]))
