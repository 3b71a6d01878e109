from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AnyFlowFARTransformer3DModel, AnyFlowTransformer3DModel
from safetensors.torch import load_file, save_file

from models.checkpoint.bundle import Bundle, check_sizes, open_bundle, save_bundle
from models.checkpoint.device import pick_device
from models.checkpoint.families import ANYFLOW
from models.checkpoint.lora import fuse_lora
from models.checkpoint.random_weights import TRANSFORMERS, random_bundle
from models.errors import ModelError
from models.network.transformer import StreamingTransformer
from models.rollout.generate import generate
from models.rollout.kv_cache import KVCache, WindowConfig
from tests.support.small_bundle import small_bundle


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(small_bundle(), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


def frames(bundle: Bundle) -> np.ndarray:
    return np.concatenate(list(generate(bundle, prompt="a red star", frames=13, steps=2, seed=3)))


def refused(folder: Path | str, code: str, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        open_bundle(folder, device="cpu")
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_diffusers_saved_opens_and_is_the_same(saved: Path) -> None:
    opened = open_bundle(saved, device="cpu")
    assert (opened.name, opened.width, opened.height, opened.fps, opened.chunk_frames) == ("small", 64, 64, 16, 3)
    assert np.array_equal(frames(opened), frames(small_bundle()))


def test_sharded_weights_open(saved: Path, folder: Path) -> None:
    shutil.rmtree(folder / "transformer")
    small_bundle().transformer.save_pretrained(folder / "transformer", max_shard_size="100KB")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1
    assert np.array_equal(frames(open_bundle(folder, device="cpu")), frames(open_bundle(saved, device="cpu")))


def test_dtype_is_chosen_and_sensitive_layers_stay_wide(saved: Path) -> None:
    opened = open_bundle(saved, device="cpu", dtype=torch.bfloat16)
    assert opened.transformer.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    assert opened.transformer.blocks[0].scale_shift_table.dtype == torch.float32
    assert frames(opened).shape == (13, 64, 64, 3)


def test_a_missing_or_foreign_checkpoint_is_named(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "model_not_found", "nothing")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "model_missing_part", "model_index.json")
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "WanTransformer3DModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    refused(folder, "model_architecture", "WanTransformer3DModel", "AnyFlowFARTransformer3DModel")


def test_an_unreachable_hub_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused("nobody/nothing-like-this", "model_offline", "cannot be reached")


def test_a_hub_id_that_is_none_or_unknown_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    def unknown(*_: object, **__: object) -> str:
        request = httpx.Request("GET", "https://hub.test")
        raise RepositoryNotFoundError("404", response=httpx.Response(404, request=request))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unknown)
    refused("nobody/nothing-like-this", "model_not_found", "nobody/nothing-like-this", "spelling")
    refused("nobody/nothing/like/this", "model_not_found", "nobody/nothing/like/this", "owner/name")


@pytest.mark.parametrize("part", ["vae", "text_encoder", "tokenizer", "scheduler", "transformer"])
def test_a_missing_part_is_named(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    refused(folder, "model_missing_part", part)


def test_pickled_weights_are_refused_unopened(folder: Path, tmp_path: Path) -> None:
    weights = next((folder / "vae").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    refused(folder, "model_pickled", ".bin", "safetensors")
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04.")
    refused(tmp_path / "model.ckpt", "model_pickled")


def test_damaged_wrong_and_lacking_weights_are_named(folder: Path) -> None:
    file = next((folder / "transformer").glob("*.safetensors"))
    state = load_file(file)
    save_file({name: value for name, value in state.items() if name != "proj_out.bias"}, file)
    refused(folder, "model_shape", "proj_out.bias")
    save_file({**state, "proj_out.bias": torch.zeros(3)}, file)
    refused(folder, "model_shape", "proj_out.bias")
    save_file({**state, "proj_out.bias": torch.zeros(64, dtype=torch.int8)}, file)
    refused(folder, "model_dtype", "proj_out.bias", "I8")
    file.write_bytes(file.read_bytes()[:1000])
    refused(folder, "model_damaged")


def test_a_part_in_several_types_is_refused_unless_diffusers_wrote_it_so(saved: Path, folder: Path) -> None:
    narrow = open_bundle(saved, device="cpu", dtype=torch.bfloat16)
    shutil.rmtree(folder / "transformer")
    narrow.transformer.save_pretrained(folder / "transformer")  # bf16, and what diffusers keeps in fp32
    file = next((folder / "transformer").glob("*.safetensors"))
    state = load_file(file)
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16, torch.float32}
    assert frames(open_bundle(folder, device="cpu")).shape == (13, 64, 64, 3)
    name = "blocks.1.ffn.net.2.weight"
    save_file({**state, name: state[name].float()}, file)
    refused(folder, "model_dtype", name, "F32", "BF16", "one type")
    save_file({**state, name: state[name].half()}, file)
    refused(folder, "model_dtype", name, "F16", "BF16")


def test_parts_that_do_not_fit_are_named(folder: Path) -> None:
    config = json.loads((folder / "text_encoder" / "config.json").read_text())
    shutil.rmtree(folder / "text_encoder")
    from transformers import UMT5Config, UMT5EncoderModel

    sizes = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 8, "num_layers": 1}
    other = UMT5EncoderModel(UMT5Config(vocab_size=config["vocab_size"], **sizes))
    other.save_pretrained(folder / "text_encoder")
    refused(folder, "model_shape", "text_dim is 32", "16")


def test_sizes_that_cannot_be_cut_say_which_can(saved: Path) -> None:
    with pytest.raises(ModelError, match="width is 70.*such as 64 or 96"):
        open_bundle(saved, device="cpu", width=70)
    with pytest.raises(ModelError, match="height is 8;.*32"):
        check_sizes(replace(small_bundle(), height=8))


def test_devices_are_checked() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ModelError, match="gpu"):
        pick_device("gpu")
    with pytest.raises(ModelError, match="tiny"):
        random_bundle("huge")


def test_bidirectional_checkpoints_generate_but_do_not_stream(tmp_path: Path) -> None:
    torch.manual_seed(0)
    transformer = AnyFlowTransformer3DModel(
        num_attention_heads=2, attention_head_dim=24, text_dim=32, freq_dim=32, ffn_dim=96, num_layers=2
    ).eval()
    save_bundle(replace(small_bundle(), transformer=transformer, family=ANYFLOW, name="bidirectional"), tmp_path)
    opened = open_bundle(tmp_path, device="cpu")
    assert not opened.streams
    clip = frames(opened)
    assert clip.shape == (13, 64, 64, 3)
    assert np.array_equal(clip, frames(opened))
    with pytest.raises(ModelError, match="cannot stream") as caught:
        _ = opened.network
    assert caught.value.code == "model_cannot_stream"


@pytest.mark.parametrize("alpha", [None, 4.0])
def test_lora_is_added_into_the_weights(tmp_path: Path, alpha: float | None) -> None:
    bundle, plain = small_bundle(), small_bundle()
    layers = ["blocks.0.attn1.to_q", "blocks.2.ffn.net.2", "blocks.1.attn2.to_k"]
    state, expected = {}, {}
    for layer in layers:
        weight = plain.transformer.get_parameter(f"{layer}.weight")
        down, up = torch.randn(2, weight.shape[1]), torch.randn(weight.shape[0], 2)
        state |= {f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up}
        expected[layer] = weight + 0.5 * ((alpha or 2.0) / 2) * up @ down
    adapter = json.dumps({"transformer.lora_alpha": alpha, "transformer.r": 2}) if alpha else "{}"
    save_file(state, tmp_path / "lora.safetensors", {"lora_adapter_metadata": adapter})
    network = bundle.network  # built before: its fused matrices are the same memory
    assert fuse_lora(bundle.transformer, tmp_path / "lora.safetensors", 0.5) == 3
    for layer in layers:
        torch.testing.assert_close(bundle.transformer.get_parameter(f"{layer}.weight"), expected[layer])
    torch.testing.assert_close(network.layers[0].qkv[0][:48], expected["blocks.0.attn1.to_q"])


def lora_pair(layer: str, into: int) -> dict[str, torch.Tensor]:
    down, up = torch.randn(2, into), torch.randn(48, 2)
    return {f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up}


def test_a_lora_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    bundle = small_bundle()
    before = {name: value.clone() for name, value in bundle.transformer.state_dict().items()}
    good = lora_pair("blocks.0.attn1.to_q", 48)
    file = tmp_path / "lora.safetensors"
    for bad, word in (
        (lora_pair("blocks.9.attn1.to_q", 48), "blocks.9"),
        (lora_pair("blocks.1.attn1.to_q", 40), "48x40"),
        ({"transformer.blocks.1.attn1.to_q.magnitude": torch.randn(2)}, "magnitude"),
    ):
        save_file({**good, **bad}, file)
        with pytest.raises(ModelError, match=word):
            fuse_lora(bundle.transformer, file)
    with pytest.raises(ModelError, match=r"safetensors"):
        fuse_lora(bundle.transformer, tmp_path / "lora.bin")
    assert all(torch.equal(value, before[name]) for name, value in bundle.transformer.state_dict().items())


PUBLISHED = [("1.3b", 1536, 30, 8960, 1.42e9), ("14b", 5120, 40, 13824, 14.3e9)]


@pytest.mark.parametrize(("size", "width", "layers", "ffn", "total"), PUBLISHED)
def test_bidirectional_sizes_on_the_meta_device(size: str, width: int, layers: int, ffn: int, total: float) -> None:
    with torch.device("meta"):
        module = AnyFlowTransformer3DModel(**TRANSFORMERS[size])
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    far = {name for name in published(width, layers, ffn) if name.startswith("far_")}
    assert shapes == {name: shape for name, shape in published(width, layers, ffn).items() if name not in far}
    assert sum(p.numel() for p in module.parameters()) == pytest.approx(total, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "width", "layers", "ffn", "total"), PUBLISHED)
def test_published_sizes_on_the_meta_device(size: str, width: int, layers: int, ffn: int, total: float) -> None:
    """Every name and shape of the published configs, and a step and an append through them, without their memory."""
    with torch.device("meta"):
        module = AnyFlowFARTransformer3DModel(**TRANSFORMERS[size]).to(torch.bfloat16)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    assert shapes == published(width, layers, ffn)
    assert sum(p.numel() for p in module.parameters()) == pytest.approx(total, rel=0.02)
    network = StreamingTransformer(module)
    context = KVCache(network, WindowConfig(60, 104, 3, 2, 16))
    prompt = network.prompt_kv([torch.empty(20, 4096, device="meta")])
    for frames in (1, 3, 3, 3):
        context.push(torch.empty(1, frames, 16, 60, 104, device="meta", dtype=torch.bfloat16))
        context.encode(prompt)
    segment, rope = context.current(3)
    x = network.embed(torch.empty(1, 3, 16, 60, 104, device="meta"))
    assert x.shape == (1, 3 * 1560, width)
    u = network.velocity(x, segment, rope, network.modulation(1.0, 0.5), prompt, context, (3, 16, 60, 104))
    assert u.shape == (1, 3, 16, 60, 104)


def published(width: int, layers: int, ffn: int) -> dict[str, tuple[int, ...]]:
    """Wan 2.1's layout in diffusers names, with AnyFlow's second time embedder and FAR's coarse patches."""
    shapes: dict[str, tuple[int, ...]] = {
        "scale_shift_table": (1, 2, width),
        "patch_embedding.weight": (width, 16, 1, 2, 2),
        "patch_embedding.bias": (width,),
        "far_patch_embedding.weight": (width, 16, 1, 4, 4),
        "far_patch_embedding.bias": (width,),
    }

    def linear(name: str, out: int, into: int) -> None:
        shapes.update({f"{name}.weight": (out, into), f"{name}.bias": (out,)})

    linear("proj_out", 64, width)
    linear("condition_embedder.time_proj", 6 * width, width)
    for name, into in (("time_embedder", 256), ("delta_embedder", 256), ("text_embedder", 4096)):
        linear(f"condition_embedder.{name}.linear_1", width, into)
        linear(f"condition_embedder.{name}.linear_2", width, width)
    for index in range(layers):
        block = f"blocks.{index}"
        shapes[f"{block}.scale_shift_table"] = (1, 6, width)
        shapes.update({f"{block}.norm2.weight": (width,), f"{block}.norm2.bias": (width,)})
        for attention in ("attn1", "attn2"):
            for projection in ("to_q", "to_k", "to_v", "to_out.0"):
                linear(f"{block}.{attention}.{projection}", width, width)
            shapes.update({f"{block}.{attention}.norm_{x}.weight": (width,) for x in "qk"})
        linear(f"{block}.ffn.net.0.proj", ffn, width)
        linear(f"{block}.ffn.net.2", width, ffn)
    return shapes


def test_no_weight_is_forgotten() -> None:
    """A change to any parameter of any part changes the picture."""
    bundle = small_bundle()
    parameters = dict(bundle.transformer.named_parameters())
    assert [name for name, parameter in parameters.items() if not matters(bundle, parameter)] == []


def matters(bundle: Bundle, parameter: torch.Tensor) -> bool:
    before = latents(bundle)
    kept = parameter.clone()
    with torch.no_grad():
        parameter.add_(torch.randn_like(parameter))
        after = latents(bundle)
        parameter.copy_(kept)
    return not torch.equal(before, after)


def latents(bundle: Bundle) -> torch.Tensor:
    network = StreamingTransformer(bundle.transformer)
    generator = torch.Generator().manual_seed(0)
    context = KVCache(network, WindowConfig(8, 8, 3, 2, 16))
    prompt = network.prompt_kv([torch.randn(4, 32, generator=generator)])
    for _ in range(3):
        context.push(torch.randn(1, 1, *bundle.latent_shape, generator=generator))
        context.encode(prompt)
    x = network.embed(torch.randn(1, 1, *bundle.latent_shape, generator=generator))
    with torch.no_grad():
        return network.velocity(
            x, *context.current(1), network.modulation(0.9, 0.4), prompt, context, (1, *bundle.latent_shape)
        )
