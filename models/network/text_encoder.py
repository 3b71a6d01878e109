"""Text to embeddings: cleaning, checking, encoding, blending. Its keys and values: `transformer.prompt_kv`."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.errors import PromptError
from models.network.transformer import TEXT_POSITIONS

MAX_CHARACTERS = 4000
_KEPT = 64

BlendKind = Literal["linear", "slerp"]
Prompt = str | Sequence[tuple[str, float]]
"""One text, or several with their weights."""


class PromptEncoder:
    """A text encoder and its tokenizer, with the last few results kept (they depend on the text alone)."""

    def __init__(self, text_encoder: Any, tokenizer: Any) -> None:
        self._encoder = text_encoder
        self._tokenizer = tokenizer
        self._kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def encode(self, text: str) -> Tensor:
        """Embeddings (tokens, text_dim) of the text's own tokens. Raises PromptError.

        The reference encodes 512 positions with a mask and then zeroes the padding; leaving the padding out gives the
        same numbers for the rest.
        """
        text = clean(text)
        if text not in self._kept:
            device = next(self._encoder.parameters()).device
            embedded = self._encoder(self._tokens(text).to(device)).last_hidden_state[0]
            if len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[text] = embedded
        return self._kept[text]

    def check(self, prompt: Prompt) -> None:
        """Raises PromptError for a prompt that `encode` or `blend` would refuse."""
        for text, _ in check_prompt(prompt):
            self._tokens(clean(text))

    def _tokens(self, text: str) -> Tensor:
        """Token ids (1, tokens)."""
        ids: Tensor = self._tokenizer(text, add_special_tokens=True, return_tensors="pt", verbose=False).input_ids
        if ids.shape[1] > TEXT_POSITIONS:
            raise PromptError(f"the prompt is {ids.shape[1]} tokens long; the model reads at most {TEXT_POSITIONS}")
        return ids

    def blend(self, parts: Sequence[tuple[str, float]], kind: BlendKind = "linear") -> Tensor:
        """Weighted blend of several prompts' embeddings; weights are taken relative to their sum."""
        return blend([(self.encode(text), weight) for text, weight in parts], kind)


def clean(text: str) -> str:
    """Unescape HTML and collapse white space, as the reference does (but for `ftfy`, an optional extra there)."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(text))).strip()


def check_prompt(prompt: Prompt) -> list[tuple[str, float]]:
    """The prompt as (text, weight) pairs, or PromptError when it is empty, too long, not text, or badly weighted."""
    parts = [(prompt, 1.0)] if isinstance(prompt, str) else list(prompt)
    if not parts:
        raise PromptError("the prompt is empty; write what should be seen")
    for part in parts:
        if not isinstance(part, tuple | list) or len(part) != 2 or not isinstance(part[0], str):
            raise PromptError(f"a prompt is a text, or pairs of text and weight; got {part!r:.80}")
        text, weight = part
        if not clean(text):
            raise PromptError("the prompt is empty; write what should be seen")
        if len(text) > MAX_CHARACTERS:
            raise PromptError(f"the prompt has {len(text)} characters; at most {MAX_CHARACTERS} are read")
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise PromptError("the prompt is not valid Unicode text")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            raise PromptError(f"a prompt's weight is {weight!r}; it must be a number of at least 0")
    if sum(weight for _, weight in parts) <= 0:
        raise PromptError("all prompt weights are 0; give at least one a weight above 0")
    return [(clean(text), float(weight)) for text, weight in parts]


def blend(parts: Sequence[tuple[Tensor, float]], kind: BlendKind = "linear") -> Tensor:
    """Blend embeddings (tokens, text_dim), each padded with zeros to the longest, as the model pads them."""
    parts = [(embedding, weight) for embedding, weight in parts if weight > 0]
    longest = max(len(embedding) for embedding, _ in parts)
    total, blended = 0.0, None
    for embedding, weight in parts:
        padded = F.pad(embedding, (0, 0, 0, longest - len(embedding)))
        total += weight
        share = weight / total
        if blended is None:
            blended = padded
        elif kind == "slerp":
            blended = _slerp(blended, padded, share)
        else:
            blended = torch.lerp(blended, padded, share)
    assert blended is not None
    return blended


def _slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation a token at a time; straight where a token is nearly zero or nearly parallel."""
    cosine = F.cosine_similarity(a.float(), b.float(), dim=-1).clamp(-1, 1).unsqueeze(-1)
    angle = torch.arccos(cosine)
    sine = torch.sin(angle)
    straight = (sine < 1e-4) | (a.norm(dim=-1, keepdim=True) < 1e-6) | (b.norm(dim=-1, keepdim=True) < 1e-6)
    safe = torch.where(straight, torch.ones_like(sine), sine)
    curved = (torch.sin((1 - share) * angle) / safe) * a + (torch.sin(share * angle) / safe) * b
    return torch.where(straight, torch.lerp(a, b, share), curved.to(a.dtype))
