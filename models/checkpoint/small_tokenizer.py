"""A small tokenizer made in code, for bundles with random weights and for tests: no download, no training."""

from __future__ import annotations

import string
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"

_WORDS = (
    "a an the and on in of with at to from big small large tiny red green blue yellow orange purple pink white black "
    "gray grey brown cyan navy teal maroon circle square triangle star heart ring cross diamond hexagon moon bouncing "
    "drifting orbiting spinning pulsing moving still slowly quickly left right up down background sky sea cat dog walks"
)


def small_tokenizer(words: str = _WORDS) -> Any:
    """A fast Unigram tokenizer: known words are one piece, all else falls apart into characters or `<unk>`."""
    pieces = [(PAD, 0.0), (END, 0.0), (UNKNOWN, -20.0), ("▁", -6.0)]
    pieces += [(f"▁{word}", -1.0) for word in dict.fromkeys(words.split())]
    pieces += [(character, -8.0) for character in string.ascii_lowercase + string.digits + ".,;:!?'-"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=512
    )
