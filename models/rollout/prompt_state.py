"""The prompt of a rollout: the last one requested applies at the next chunk, at once or blended over chunks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from models.errors import PromptError
from models.network.text_encoder import BlendKind, Prompt, PromptEncoder, blend, check_prompt

MAX_TRANSITION = 64


@dataclass(frozen=True)
class PendingPrompt:
    """A prompt that applies when the next chunk starts. parts: (text, weight); transition: chunks of blending."""

    parts: tuple[tuple[str, float], ...]
    transition: int
    kind: BlendKind


@dataclass(frozen=True)
class PromptTransition:
    """A transition in progress: `done` of `chunks` blended chunks have started. start, end: (tokens, text_dim)."""

    start: Tensor
    end: Tensor
    chunks: int
    done: int
    kind: BlendKind


@dataclass(frozen=True)
class PromptState:
    """Immutable, so copies of a rollout share it. text: the prompt applied last; embedding: (tokens, text_dim)."""

    text: str = ""
    embedding: Tensor | None = None
    pending: PendingPrompt | None = None
    transition: PromptTransition | None = None

    @property
    def due(self) -> bool:
        """True when the next chunk to open needs another embedding."""
        return self.pending is not None or self.transition is not None

    def request(self, prompt: Prompt, transition: int = 0, kind: BlendKind = "linear") -> PromptState:
        """Set the pending prompt; an earlier one that is still pending is dropped. Raises PromptError."""
        parts = tuple(check_prompt(prompt))
        if isinstance(transition, bool) or not isinstance(transition, int) or not 0 <= transition <= MAX_TRANSITION:
            raise PromptError(
                f"transition is {transition!r}; it must be a whole number from 0 to {MAX_TRANSITION} chunks"
            )
        if kind not in ("linear", "slerp"):
            raise PromptError(f"transition kind is {kind!r}; it must be linear or slerp")
        return replace(self, pending=PendingPrompt(parts, transition, kind))

    def apply(self, encoder: PromptEncoder) -> PromptState:
        """The prompt of the chunk that starts now: a pending prompt is applied, a transition goes one chunk on."""
        text, transition, embedding = self.text, self.transition, self.embedding
        if self.pending is not None:
            text = " + ".join(part for part, _ in self.pending.parts)
            end = encoder.blend(self.pending.parts, self.pending.kind)
            if embedding is None or self.pending.transition == 0:
                return PromptState(text, end)
            transition = PromptTransition(embedding, end, self.pending.transition, 0, self.pending.kind)
        if transition is None:
            return self
        transition = replace(transition, done=transition.done + 1)
        if transition.done > transition.chunks:
            return PromptState(text, transition.end)
        share = transition.done / (transition.chunks + 1)
        embedding = blend([(transition.start, 1 - share), (transition.end, share)], transition.kind)
        return PromptState(text, embedding, None, transition)
