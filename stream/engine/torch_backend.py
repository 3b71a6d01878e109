"""The real model for the engine: `models` behind the interface of `model`. Imported only inside the engine process."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch

from models.checkpoint.bundle import Bundle
from models.checkpoint.fingerprint import fingerprint
from models.checkpoint.load import default_threads, open_weights
from models.errors import FarcastError
from models.rollout import snapshot
from models.rollout.rollout import Rollout
from models.rollout.snapshot_bytes import pack, unpack
from models.rollout.units import Unit
from stream.types import Mix, Pixels

from .backend import ModelLoadError, RequestRefused
from .protocol import ModelFacts, Open, PromptApplied

log = logging.getLogger("farcast.engine")

WARM_CHUNKS = 3  # chunk 0, the first full one, and one with a context: every shape of a young stream


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Errors meant for users pass to the user, with their words."""
    try:
        yield
    except FarcastError as error:
        raise RequestRefused(str(error), error.code) from error


class TorchTake:
    """A `models.rollout.rollout.Rollout` that takes pictures as arrays."""

    def __init__(self, rollout: Rollout) -> None:
        self.rollout = rollout
        self.rebuilt = rollout.rebuilt

    @property
    def chunk(self) -> int:
        return self.rollout.chunk

    @property
    def frame(self) -> int:
        return self.rollout.frame

    @property
    def sigma(self) -> float:
        return self.rollout.sigma

    @property
    def cheap_rewind_from(self) -> int:
        return self.rollout.cheap_rewind_from

    def next(self) -> Unit:
        return self.rollout.next()

    def run(self, unit: Unit, *, r: float | None = None) -> Pixels | None:
        with told():
            return self.rollout.run(unit, r=r)

    @property
    def opens(self) -> PromptApplied | None:
        pending = self.rollout.pending_prompt
        return None if pending is None else PromptApplied(pending.parts, pending.transition)

    @property
    def shot(self) -> Pixels | None:
        return self.rollout.pending_image

    def prompt(self, text: str | Mix, *, transition: int = 0) -> None:
        with told():
            self.rollout.prompt(text, transition=transition)

    def image(self, image: Pixels) -> None:
        with told():
            self.rollout.image(image)

    def restart_chunk(self) -> None:
        self.rollout.restart_chunk()

    def rewind(self, chunk: int) -> None:
        with told():
            self.rollout.rewind(chunk)


class TorchModel:
    """One bundle, shared by all takes."""

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
        )

    def open(self, request: Open) -> TorchTake:
        with told():
            return TorchTake(
                Rollout(
                    self.bundle,
                    prompt=request.prompt,
                    seed=request.seed,
                    image=request.image,
                    clip=request.clip,
                    clip_fps=request.clip_fps,
                    guidance=request.guidance,
                )
            )

    def save(self, take: TorchTake) -> bytes | None:
        return pack(snapshot.save(take.rollout.state))

    def load(self, blob: bytes) -> TorchTake:
        with told():
            return TorchTake(snapshot.load(self.bundle, unpack(blob)))

    def warm_up(self) -> None:
        """Pay for what the first run of everything costs before anybody waits for it."""
        rollout = Rollout(self.bundle, prompt=self.facts.examples[0] if self.facts.examples else "a red circle")
        for _ in range(WARM_CHUNKS):
            rollout.next_chunk([1.0, 0.0])


def open_model(source: str | None, device: str, threads: int, execution: str = "eager") -> TorchModel:
    """The engine's default factory. Raises ModelLoadError with what to do."""
    torch.set_num_threads(threads or default_threads())
    try:
        model = TorchModel(open_weights(source, device, execution))
        model.warm_up()
    except FarcastError as error:
        raise ModelLoadError(str(error), error.code) from error
    except (OSError, RuntimeError) as error:  # out of memory, no such device, a file that cannot be read
        raise ModelLoadError(f"The model cannot be opened: {error}. Check --model and --device.") from error
    return model
