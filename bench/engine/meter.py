"""Count what work costs, without doing it: operations, bytes and kernels of tensors on PyTorch's meta device.

The meta device runs the code with shapes alone, so a model of any size is counted on any machine. Three things would
stall or break the same code on a GPU, and fail here: a number read from the device (`.item()`), an operation over
tensors of two devices, and (left to the caller, who knows how many are due) copies between device and host.

Attention and RMS norm are counted as the one kernel each that a GPU runs; the meta device would take them apart.
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Kind = Literal["matrix", "attention", "convolution", "elementwise"]
_MATRIX = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm}
_NO_KERNEL = {
    torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided, torch.ops.aten.new_empty,
    torch.ops.aten._unsafe_view, torch.ops.aten.new_empty_strided, torch.ops.aten.lift_fresh,
}  # fmt: skip
_WRITES_ALL = {torch.ops.aten.copy_, torch.ops.aten.fill_, torch.ops.aten.zero_}  # what was there is not read
_COPIES = {torch.ops.aten._to_copy, torch.ops.aten.copy_}


class MeterError(AssertionError):
    """The work does what would stall or break on a GPU."""


@dataclass(frozen=True)
class Kernel:
    """One kernel: its operations, and the bytes it reads and writes."""

    kind: Kind
    name: str
    flops: int
    bytes: int


class Meter:
    """`with Meter() as meter:` fills it with every kernel that the work launches on the meta device.

    peak: the most bytes allocated at once by the work, over what was there before. to_host, to_device: copies.
    """

    def __init__(self) -> None:
        self.kernels: list[Kernel] = []
        self.peak = self.live = 0
        self.to_host = self.to_device = 0
        self._known: set[int] = set()
        self._modes = (_Dispatch(self), _Fused(self))

    def __enter__(self) -> Meter:
        for mode in self._modes:
            mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(kind, value, trace)  # type: ignore[no-untyped-call]

    def flops(self, *kinds: Kind) -> int:
        """Operations of these kinds of kernels; of all when none is named."""
        return sum(k.flops for k in self.kernels if not kinds or k.kind in kinds)

    def bytes(self, *kinds: Kind) -> int:
        """Bytes read and written by these kinds of kernels; by all when none is named."""
        return sum(k.bytes for k in self.kernels if not kinds or k.kind in kinds)

    def by_name(self) -> dict[str, tuple[int, int]]:
        """(kernels, bytes) of each operation, the one that moves most first."""
        found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for kernel in self.kernels:
            found[kernel.name][0] += 1
            found[kernel.name][1] += kernel.bytes
        ordered = sorted(found.items(), key=lambda item: -item[1][1])
        return {name: (count, size) for name, (count, size) in ordered}

    def add(self, kind: Kind, name: str, flops: int, moved: int, made: Any) -> None:
        """Note a kernel, and what it allocated."""
        self.kernels.append(Kernel(kind, name, flops, moved))
        self.allocate(made, ())

    def allocate(self, made: Any, given: Any) -> None:
        """Note the memory of tensors `made` until they are freed, but for what they share with those given."""
        old = {tensor.untyped_storage()._cdata for tensor in _on_device(given)}
        for tensor in _on_device(made):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._known or key in old:
                continue
            size = storage.nbytes()
            self._known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


class _Dispatch(TorchDispatchMode):
    def __init__(self, meter: Meter) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.meter = meter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, meter, packet = kwargs or {}, self.meter, func._overloadpacket
        if packet is torch.ops.aten._local_scalar_dense:
            if args[0].device.type == "meta":
                raise MeterError("the work reads a number from the device, which waits for everything before it")
            return func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if packet in _COPIES:
            copied = self._copy(packet, func, args, kwargs)
            if copied is not None:
                return copied
        elif len({tensor.device.type for tensor in given if tensor.dim() > 0}) > 1:
            raise MeterError(f"{func} has tensors of several devices: {[str(t.device) for t in given]}")
        made = func(*args, **kwargs)
        if not _on_device((given, made)):
            return made
        if _is_view(func) or packet in _NO_KERNEL:
            meter.allocate(made, given)
            return made
        count = flop_registry.get(packet)
        flops = int(count(*args, **kwargs, out_val=made)) if count else 0
        kind: Kind = "elementwise"
        if packet in _MATRIX:
            kind = "matrix"
        elif packet is torch.ops.aten.convolution:
            kind = "convolution"
        read = given[1:] if packet in _WRITES_ALL else given
        meter.kernels.append(Kernel(kind, packet.__name__, flops, _size(read) + _size(made)))
        meter.allocate(made, given)
        return made

    def _copy(self, packet: Any, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        """The result of a copy between device and host; None for any other copy."""
        if packet is torch.ops.aten.copy_:
            target, source = args[0], args[1]
            there = target.device
        else:
            target, source = None, args[0]
            there = torch.device(kwargs.get("device") or source.device)
        if source.device.type == there.type:
            return None
        if source.device.type == "meta":
            self.meter.to_host += 1
            if target is not None:
                return target  # type: ignore[no-any-return]
            return torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        self.meter.to_device += 1
        made: Tensor = func(*args, **kwargs)
        self.meter.allocate(made, args)
        return made


class _Fused(TorchFunctionMode):
    """Counts as one kernel what a GPU runs as one and the meta device does not."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        handler = _HANDLERS.get(func)
        if handler is None or args[0].device.type != "meta":
            return func(*args, **kwargs)
        return handler(self.meter, *args, **kwargs)


def _attention(
    meter: Meter, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """q, k, v: (batch, heads, tokens, dim). The output takes the layout of q."""
    made = torch.empty_like(q)
    flops = 4 * math.prod(q.shape) * k.shape[-2]
    meter.add("attention", "attention", flops, _size((q, k, v, attn_mask, made)), made)
    return made


def _rms_norm(meter: Meter, x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    made = torch.empty_like(x)
    meter.add("elementwise", "rms_norm", 0, _size((x, weight, made)), made)
    return made


_HANDLERS: dict[Any, Callable[..., Tensor]] = {
    F.scaled_dot_product_attention: _attention,
    F.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
}


def _is_view(func: Any) -> bool:
    returns = func._schema.returns
    return any(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _on_device(tensors: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tensors) if isinstance(leaf, Tensor) and leaf.device.type == "meta"]


def _size(tensors: Any) -> int:
    """Bytes of the tensors on the device; of one that repeats its memory, those it has."""
    return sum(
        min(t.numel() * t.element_size(), t.untyped_storage().nbytes() or t.numel() * t.element_size())
        for t in _on_device(tensors)
    )
