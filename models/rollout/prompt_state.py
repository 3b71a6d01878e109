"""Which prompt is in force: the one asked for last, applied at a chunk's opening, at once or blended over chunks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from models.errors import PromptError
from models.network.text_encoder import BlendKind, Prompt, PromptEncoder, blend, check_prompt

MAX_TRANSITION = 64


@dataclass(frozen=True)
class PendingPrompt:
    """A prompt asked for and not yet in force."""

    parts: tuple[tuple[str, float], ...]
    transition: int
    kind: BlendKind


@dataclass(frozen=True)
class PromptTransition:
    """A transition under way: `done` of `chunks` blended chunks are opened."""

    start: Tensor
    end: Tensor
    chunks: int
    done: int
    kind: BlendKind


@dataclass(frozen=True)
class PromptState:
    """Immutable, so a copy of a rollout shares it. text: what is in force, in words; embedding: (tokens, text_dim)."""

    text: str = ""
    embedding: Tensor | None = None
    wish: PendingPrompt | None = None
    ramp: PromptTransition | None = None

    @property
    def due(self) -> bool:
        """True when the next chunk to open needs another embedding."""
        return self.wish is not None or self.ramp is not None

    def wished(self, prompt: Prompt, transition: int = 0, kind: BlendKind = "linear") -> PromptState:
        """Ask for a prompt; an earlier wish not yet in force is forgotten. Raises PromptError."""
        parts = tuple(check_prompt(prompt))
        if isinstance(transition, bool) or not isinstance(transition, int) or not 0 <= transition <= MAX_TRANSITION:
            raise PromptError(
                f"transition is {transition!r}; it must be a whole number from 0 to {MAX_TRANSITION} chunks"
            )
        if kind not in ("linear", "slerp"):
            raise PromptError(f"transition kind is {kind!r}; it must be linear or slerp")
        return replace(self, wish=PendingPrompt(parts, transition, kind))

    def opened(self, encoder: PromptEncoder) -> PromptState:
        """The steering of the chunk that opens now: the wish comes in force, a transition goes one chunk on."""
        text, ramp, embedding = self.text, self.ramp, self.embedding
        if self.wish is not None:
            text = " + ".join(part for part, _ in self.wish.parts)
            end = encoder.blend(self.wish.parts, self.wish.kind)
            if embedding is None or self.wish.transition == 0:
                return PromptState(text, end)
            ramp = PromptTransition(embedding, end, self.wish.transition, 0, self.wish.kind)
        if ramp is None:
            return self
        ramp = replace(ramp, done=ramp.done + 1)
        if ramp.done > ramp.chunks:
            return PromptState(text, ramp.end)
        share = ramp.done / (ramp.chunks + 1)
        return PromptState(text, blend([(ramp.start, 1 - share), (ramp.end, share)], ramp.kind), None, ramp)
