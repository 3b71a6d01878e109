"""The words that a checkpoint was trained on, by kind, and which words of a prompt are none of them.

For checkpoints with a closed vocabulary, such as the embedded model; those trained on free text have none. Pure Python
and free of torch, so that the server process can use it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from models.errors import ModelError

MOST_UNKNOWN = 20  # words that are named; a prompt has up to 2,000 characters
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Vocabulary:
    """words: by kind, such as {"shape": ("circle", ...)}. caption: the plain sentence, with a {kind} for each kind.

    synonyms: other phrases of the captions for a word. function_words: words of the captions that name nothing.
    """

    words: Mapping[str, tuple[str, ...]]
    caption: str
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    function_words: tuple[str, ...] = ()

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Vocabulary | None:
        """From a `farcast.json`; None when it names no vocabulary. Raises ModelError."""
        words = card.get("vocabulary")
        if words is None:
            return None
        caption, synonyms = card.get("caption", ""), card.get("synonyms", {})
        functions = card.get("function_words", [])
        if not (_is_table(words) and _is_table(synonyms) and _is_list(functions) and isinstance(caption, str)):
            raise ModelError("its vocabulary, synonyms or function_words hold no lists, or its caption is no text")
        strange = set(re.findall(r"{(.*?)}", caption)) - set(words)
        if strange:
            raise ModelError(f"its caption names {{{sorted(strange)[0]}}}, which vocabulary lacks")
        return cls(_tuples(words), caption, _tuples(synonyms), tuple(functions))

    def card(self) -> dict[str, Any]:
        """The entries of `farcast.json`, as `from_card` takes them."""
        return {
            "vocabulary": {kind: list(words) for kind, words in self.words.items()},
            "caption": self.caption,
            "synonyms": {word: list(phrases) for word, phrases in self.synonyms.items()},
            "function_words": list(self.function_words),
        }

    def unknown(self, text: str) -> tuple[str, ...]:
        """Words of `text` that no caption has, as they were written, each once, at most `MOST_UNKNOWN`.

        Capitals, accents and punctuation do not matter, as they do not to the tokenizer. A phrase such as "dark red" is
        known as a whole: "dark" alone is not. A plural is another word, as captions have none.
        """
        said = [(token, _plain(token)) for token in _TOKEN.findall(text)]
        said = [(token, plain) for token, plain in said if plain]
        found: dict[str, str] = {}
        place = 0
        while place < len(said) and len(found) < MOST_UNKNOWN:
            length = self._known_phrase(tuple(plain for _, plain in said[place : place + self._longest]))
            if not length:
                found.setdefault(said[place][1], said[place][0])
            place += max(1, length)
        return tuple(found.values())

    def _known_phrase(self, tokens: tuple[str, ...]) -> int:
        """Length of the longest known phrase that `tokens` begin with; 0 when there is none."""
        return next((n for n in range(len(tokens), 0, -1) if tokens[:n] in self._phrases), 0)

    @cached_property
    def _phrases(self) -> frozenset[tuple[str, ...]]:
        phrases = [*self.function_words, *(word for words in self.words.values() for word in words)]
        phrases += [phrase for known in self.synonyms.values() for phrase in known]
        return frozenset(tuple(_plain(token) for token in _TOKEN.findall(phrase)) for phrase in phrases)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._phrases), default=1)


def _plain(token: str) -> str:
    """Without capitals and accents; "" for punctuation and for marks that are no word of their own."""
    text = "".join(c for c in unicodedata.normalize("NFKD", token) if not unicodedata.combining(c)).casefold()
    return "".join(c for c in text if unicodedata.category(c)[0] not in "PCMZ")


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_list(words) for words in value.values())


def _tuples(table: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(words) for key, words in table.items()}
