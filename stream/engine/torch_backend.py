"""The real model for the engine: a bundle and its rollouts (`models`). Imported only inside the engine process."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch

from models.checkpoint.bundle import Bundle
from models.checkpoint.fingerprint import fingerprint
from models.checkpoint.load import default_threads, open_weights
from models.errors import ModelError
from models.rollout import snapshot, snapshot_bytes
from models.rollout.rollout import Rollout

from .backend import Clock, UnitTimer
from .cuda_timer import CudaTimer
from .device_queue import ImmediateTimer
from .protocol import ModelFacts, Open

# What RuntimeErrors of the allocator and of oneDNN say.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "could not create a primitive", "could not create a memory")
WARM_CHUNKS = 3  # chunk 0, the first full one, and one with a context: every shape of a young stream


class TorchModel:
    """One bundle, shared by all rollouts. A `models.rollout.rollout.Rollout` is the backend of a slot as it is."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.facts = ModelFacts(
            name=bundle.name,
            width=bundle.width,
            height=bundle.height,
            fps=float(bundle.fps),
            chunk_frames=bundle.chunk_frames * bundle.frames_per_latent,
            examples=tuple(bundle.examples),
            device=str(bundle.device),
            shift=bundle.shift,
            guidance=bundle.guidance,
            weights=fingerprint(bundle),
            threads=torch.get_num_threads(),
            library=f"torch {torch.__version__}",
            fixed_sigmas=bundle.fixed_sigmas,
            guidance_range=bundle.guidance_range,
            steps=bundle.steps,
            vocabulary=bundle.vocabulary,
        )

    def open(self, request: Open) -> Rollout:
        """Raises models.errors.FarcastError."""
        return Rollout(
            self.bundle,
            prompt=request.prompt,
            seed=request.seed,
            image=request.image,
            clip=request.clip,
            clip_fps=request.clip_fps,
            guidance=request.guidance,
        )

    def save(self, rollout: Rollout) -> bytes | None:
        """The rollout as bytes; see `models.rollout.snapshot`."""
        return snapshot_bytes.pack(snapshot.save(rollout.state))

    def load(self, blob: bytes) -> Rollout:
        """The rollout that `save` saved. Raises models.errors.RequestError."""
        return snapshot.load(self.bundle, snapshot_bytes.unpack(blob))

    def out_of_memory(self, error: Exception) -> bool:
        """PyTorch says so with an error of its own on a GPU, and with words on a CPU."""
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)

    def free_memory(self) -> None:
        """Give the allocator's unused blocks back to the device."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def timer(self, clock: Clock) -> UnitTimer:
        """CUDA events on a GPU; elsewhere a unit is done when it returns."""
        return CudaTimer() if self.bundle.device.type == "cuda" else ImmediateTimer(clock)

    def warm_up(self) -> None:
        """Run the first chunks once, so that no session pays for compilation and allocation."""
        rollout = Rollout(self.bundle, prompt=self.facts.examples[0] if self.facts.examples else "a red circle")
        for _ in range(WARM_CHUNKS):
            rollout.next_chunk([1.0, 0.0])


def open_model(
    source: str | None, device: str, threads: int, execution: str = "eager", *, decoder: str | None = None,
    lora: Sequence[str] = (),
) -> TorchModel:  # fmt: skip
    """The engine's default factory. Raises models.errors.ModelError with what to do."""
    torch.set_num_threads(threads or default_threads())
    try:
        model = TorchModel(open_weights(source, device, execution, decoder=decoder, lora=lora))
        model.warm_up()
    except (OSError, RuntimeError) as error:  # out of memory, no such device, a file that cannot be read
        message = f"The model cannot be opened: {error}. Check --model and --device."
        raise ModelError(message, code="model") from error
    return model
