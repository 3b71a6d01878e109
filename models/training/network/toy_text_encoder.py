"""The embedded model's tokenizer and text encoder: byte-pair pieces of the world's captions, and a very small UMT5."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from models.toyworld import caption, random_scene

PIECES = 512


def build_tokenizer(seed: int = 0, captions: int = 6000) -> PreTrainedTokenizerFast:
    """Byte-pair pieces learned from captions. Letters and digits are all in the alphabet, so any word can be spelt."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789,.-'"),
        show_progress=False,
    )
    core.train_from_iterator(_captions(seed, captions), trainer)
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def build_text_encoder(width: int = 128, layers: int = 2) -> UMT5EncoderModel:
    """A UMT5 encoder of `layers` layers; (B, L) ids to (B, L, width)."""
    config = UMT5Config(
        vocab_size=PIECES,
        d_model=width,
        d_kv=width // 4,
        d_ff=width * 2,
        num_layers=layers,
        num_decoder_layers=1,
        num_heads=4,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=64,
        dropout_rate=0.0,
    )
    return UMT5EncoderModel(config)


def _captions(seed: int, count: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield caption(random_scene(rng), rng)
