"""The published sizes go through the same code: their config at full size without memory, and shrunken for real."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from diffusers import AnyFlowFARTransformer3DModel, AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from models.checkpoint.bundle import open_bundle
from models.checkpoint.small_tokenizer import small_tokenizer
from models.errors import MediaError, ModelError
from models.rollout.generate import generate
from models.training import recipes
from models.training.data.videos import captioned
from models.training.data.windows import open_clips
from models.training.network.adapters import (
    Lora,
    add_adapters,
    coarsen_patches,
    fuse_adapters,
    lora_settings,
    start_from_wan,
)
from models.training.network.passes import Network
from models.training.recipes import build_network, encode_checkpoint, export_checkpoint, parse_stage, train_stage
from models.training.trainer import trainable_parameters

CONFIG = Path(recipes.__file__).parent / "configs" / "far-1.3b.toml"
SMALL: dict[str, Any] = {
    "num_attention_heads": 2, "attention_head_dim": 12, "text_dim": 16, "freq_dim": 16, "ffn_dim": 32, "num_layers": 2,
}  # fmt: skip


def published() -> dict[str, Any]:
    return tomllib.loads(CONFIG.read_text())


@pytest.mark.slow
def test_the_config_is_the_published_model_at_full_size() -> None:
    config = published()
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in config["transformer"].items()}
    with torch.device("meta"):
        model = AnyFlowFARTransformer3DModel(**arguments)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1.42e9, rel=0.02)
    lora = lora_settings(config, "flowmap")
    assert lora is not None
    layers = {n for n, m in model.named_modules() if isinstance(m, nn.Linear) and any(t in n for t in lora.targets)}
    assert len(layers) == 30 * 6 + 4
    for name in ("teacher", "flowmap", "distill"):
        settings = {k: v for k, v in config[name].items() if k != "lora"}
        stage = parse_stage(
            name, settings.pop("recipe"), {k: v for k, v in settings.items() if k not in ("start", "teacher")}
        )
        assert stage.shift == 5.0
    assert "time_embedder" not in " ".join(lora_settings(config, "teacher").targets)  # type: ignore[union-attr]


def test_the_student_starts_as_wan(tmp_path: Path) -> None:
    """At r = t, on one chunk that sees all of itself, it says what the Wan model says."""
    torch.manual_seed(0)
    wan = WanTransformer3DModel(**SMALL).eval()
    with torch.no_grad():
        for parameter in wan.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    wan.save_pretrained(tmp_path)
    student = AnyFlowFARTransformer3DModel(**SMALL)
    start_from_wan(student, tmp_path)
    net = Network(student, _text_encoder(16), small_tokenizer())
    text = net.encode(["a red star"])
    z, t = torch.randn(1, 5, 16, 8, 8), torch.full((1, 5), 0.6)
    padded = torch.zeros(1, 512, 16)
    padded[:, : text.states.shape[1] - 1] = text.states[:, :-1]
    with torch.no_grad():
        ours = net.bidirectional(z, t, t, text)
        theirs = wan(z.transpose(1, 2), torch.tensor([600.0]), padded, return_dict=False)[0].transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    before = student.far_patch_embedding.weight.clone()
    coarsen_patches(student)
    assert torch.equal(student.far_patch_embedding.weight, before)


@pytest.mark.parametrize(
    ("change", "words"), [({"num_layers": 3}, "lacks blocks.2"), ({"ffn_dim": 64}, "another size")]
)
def test_another_size_is_named(tmp_path: Path, change: dict[str, int], words: str) -> None:
    WanTransformer3DModel(**SMALL).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=words):
        start_from_wan(AnyFlowFARTransformer3DModel(**SMALL | change), tmp_path)


def test_adapters_learn_alone_and_fuse_exactly() -> None:
    torch.manual_seed(0)
    model = AnyFlowFARTransformer3DModel(**SMALL)
    plain = copy.deepcopy(model)
    add_adapters(model, Lora(4, ("attn1.to_q", "ffn.net.2", "time_embedder"), whole=("far_patch_embedding",)))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(learning) == 2 * (2 + 2 + 2) + 2
    assert all("lora_" in name or name.startswith("far_patch_embedding") for name in learning)
    net = Network(model, _text_encoder(16), small_tokenizer(), adapters=True)
    assert set(net.parts["transformer"].state_dict()) == learning
    with torch.no_grad():
        for parameter in trainable_parameters([model]):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    z, t = torch.randn(1, 4, 16, 8, 8), torch.full((1, 4), 0.6)
    text = net.encode(["a red star"])
    with torch.no_grad():
        before = net.bidirectional(z, t, t / 2, text)
        fuse_adapters(model)
        after = net.bidirectional(z, t, t / 2, text)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert set(model.state_dict()) == set(plain.state_dict())
    with pytest.raises(ModelError, match="no linear layer"):
        add_adapters(plain, Lora(4, ("attn9",)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_published_recipe_shrunken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "SHEET_STEPS", (1,))
    config = _shrunken(tmp_path)
    encode_checkpoint(config)
    clips = open_clips(tmp_path / "run", "clips")
    assert clips is not None
    assert clips.latents.shape == (2, 21, 4, 8, 8)
    assert clips.chunks == 8
    for name in ("teacher", "flowmap", "distill"):
        train_stage(config, name)
        saved = {key for key in load_file(tmp_path / "run" / name / "state.safetensors") if key.startswith("average/")}
        assert saved
        assert all("lora_" in key or "far_patch" in key for key in saved)
        assert list((tmp_path / "run" / name).glob("samples-*.png"))
    assert not any("far_patch" in key for key in load_file(tmp_path / "run" / "teacher" / "state.safetensors"))
    export_checkpoint(config, "distill", tmp_path / "out")
    bundle = open_bundle(tmp_path / "out", device="cpu")
    assert (bundle.width, bundle.guidance, bundle.shift) == (64, 1.0, 5.0)
    video = np.concatenate(list(generate(bundle, prompt="a fox", frames=13, steps=2, seed=0)))
    assert video.shape == (13, 64, 64, 3)
    again = build_network(config, "distill", "distill")
    fuse_adapters(again.transformer)
    for name, weight in again.transformer.state_dict().items():
        torch.testing.assert_close(bundle.transformer.state_dict()[name], weight)


def test_videos_without_captions_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no videos"):
        list(captioned(tmp_path))
    (tmp_path / "fox.mp4").write_bytes(b"x")
    with pytest.raises(MediaError, match=r"fox\.mp4 has no caption"):
        list(captioned(tmp_path))


def _text_encoder(width: int) -> UMT5EncoderModel:
    torch.manual_seed(1)
    settings = UMT5Config(
        vocab_size=len(small_tokenizer()), d_model=width, d_kv=8, num_heads=2, d_ff=32, num_layers=1, dropout_rate=0.0
    )
    return UMT5EncoderModel(settings).eval()


def _shrunken(folder: Path) -> dict[str, Any]:
    """The shipped config over a very small Wan checkpoint and two very small videos."""
    torch.manual_seed(0)
    small = SMALL | {"in_channels": 4, "out_channels": 4, "num_layers": 1}
    wan = folder / "wan"
    WanTransformer3DModel(**small).save_pretrained(wan / "transformer")
    AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    ).save_pretrained(wan / "vae")  # fmt: skip
    _text_encoder(16).save_pretrained(wan / "text_encoder")
    small_tokenizer().save_pretrained(wan / "tokenizer")
    (folder / "videos").mkdir()
    for name in ("fox", "sea"):
        with av.open(str(folder / "videos" / f"{name}.mp4"), "w") as file:
            stream = file.add_stream("mpeg4", rate=16)
            stream.width = stream.height = 64  # type: ignore[attr-defined]
            for k in range(82):
                picture = np.full((64, 64, 3), 3 * k, dtype=np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))  # type: ignore[attr-defined]
            file.mux(stream.encode(None))  # type: ignore[attr-defined]
        (folder / "videos" / f"{name}.txt").write_text(f"a {name}\nin the rain\n")
    config = published()
    config |= {
        "checkpoint": str(wan), "folder": str(folder / "run"), "device": "cpu", "width": 64, "height": 64,
        "prompts": ["a fox"],
    }  # fmt: skip
    config["videos"]["folder"] = str(folder / "videos")
    config["transformer"] |= small
    config["lora"]["rank"] = config["teacher"]["lora"]["rank"] = 2
    for name in ("teacher", "flowmap", "distill"):
        config[name] |= {"steps": 1, "batch": [2], "bf16": False, "warmup": 1}
    return config
