"""How passes through the network run: eagerly, with compiled layers, or replayed as CUDA graphs, with equal results.

A pass says everything it depends on: tensors by value, shapes and places by a key, a store by address. That is what a
graph needs to be replayed: the tensors are copied to where they were when it was recorded, then one launch does it all.
Graphs belong to their store (a session's context, which never moves) and go when it goes. A stream needs one graph a
place in its window: seven for steps and six for appends while it is young, then one of each for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from models.errors import ModelError

Work = Callable[..., Tensor | None]
Function = TypeVar("Function", bound=Callable[..., Any])
TEXT_MULTIPLE = 64  # prompts are rounded up to so many positions, so that a new prompt rarely is a new shape
WARM_UP = 2  # runs before recording: whatever compiles or tunes itself does it then


class Eager:
    """Every call runs as written."""

    text_multiple = 1

    def compiled(self, function: Function) -> Function:
        """`function`, or a quicker one that computes the same."""
        return function

    def run(self, work: Work, tensors: tuple[Tensor, ...], store: Any, key: Hashable) -> Tensor | None:
        """work(*tensors), which may also write to `store`."""
        return work(*tensors)


class Compiled(Eager):
    """Layers go through `torch.compile`: one layer is compiled, all have its shape. The first calls take a minute."""

    text_multiple = TEXT_MULTIPLE

    def __init__(self, backend: str = "inductor") -> None:
        self.backend = backend
        self._compiled: dict[Callable[..., Any], Any] = {}

    def compiled(self, function: Function) -> Function:
        if function not in self._compiled:
            self._compiled[function] = torch.compile(function, backend=self.backend)
        return self._compiled[function]  # type: ignore[no-any-return]


class Recording(Protocol):
    """Work that can be done again on the same memory."""

    def replay(self) -> None: ...


@dataclass
class _Recorded:
    inputs: tuple[Tensor, ...]
    recording: Recording
    output: Tensor | None


class CudaGraphs(Eager):
    """Passes are recorded once a shape and place, and replayed. inner: how they run when recorded."""

    text_multiple = TEXT_MULTIPLE

    def __init__(self, inner: Eager | None = None) -> None:
        self.inner = inner or Eager()
        self._pool: Any = None  # one for all graphs: what they return is copied before another one runs
        self._of_store: WeakKeyDictionary[Any, dict[Hashable, _Recorded]] = WeakKeyDictionary()

    def compiled(self, function: Function) -> Function:
        return self.inner.compiled(function)

    def run(self, work: Work, tensors: tuple[Tensor, ...], store: Any, key: Hashable) -> Tensor | None:
        recorded = self._of_store.setdefault(store, {})
        key = (key, *((tensor.shape, tensor.dtype) for tensor in tensors))
        found = recorded.get(key)
        if found is None:
            inputs = tuple(tensor.clone() for tensor in tensors)
            found = recorded[key] = _Recorded(inputs, *self.record(work, inputs))
        for place, tensor in zip(found.inputs, tensors, strict=True):
            place.copy_(tensor)
        found.recording.replay()
        return None if found.output is None else found.output.clone()

    def record(self, work: Work, inputs: tuple[Tensor, ...]) -> tuple[Recording, Tensor | None]:
        """Record work(*inputs): what replays it, and where its result then is."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                work(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        # Other threads and the decoder's stream may allocate meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            output = work(*inputs)
        return graph, output


def check_execution(execution: str, device: torch.device) -> str:
    """`execution` itself when it is one of EXECUTIONS and can run on `device`, else ModelError."""
    if execution not in EXECUTIONS:
        raise ModelError(f"there is no execution {execution!r}; choose one of {', '.join(EXECUTIONS)}")
    if "graphs" in execution and device.type != "cuda":
        raise ModelError(f"{execution} needs a CUDA device, this is {device.type}; use eager or compile")
    return execution


EXECUTIONS: dict[str, Callable[[], Eager]] = {
    "eager": Eager,
    "compile": Compiled,
    "graphs": CudaGraphs,
    "compile+graphs": lambda: CudaGraphs(Compiled()),
}
