"""The stages of training as commands: `farcast train STAGE --config FILE`.

Every stage reads one TOML file, writes into its `folder`, and resumes where it was stopped. `torchrun
--nproc-per-node N -m models.training.commands STAGE [FILE]` trains on N processes.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers import AutoencoderKLWan, FlowMapEulerDiscreteScheduler

from models.errors import FarcastError
from models.training.data.toy_clips import encode_clips
from models.training.network.build import fresh, load_average
from models.training.run import device_of, rank_and_world
from models.training.vae.decoder import DecoderConfig, train_decoder
from models.training.vae.latent_pca import project_latents, project_vae
from models.training.vae.train import VaeConfig, train_vae
from models.training.weight_rounding import round_matrices

TINY_CPU = Path(__file__).parent / "configs" / "tiny-cpu.toml"


class TrainingError(FarcastError):
    """A stage cannot run as asked."""


def vae(config: dict[str, Any]) -> None:
    """Train the VAE."""
    folder = Path(config["folder"])
    out, size = str(folder / "vae"), config.get("size", 128)
    settings = VaeConfig(out=out, size=size, device=device_of(config), model=config["vae_model"], **config["vae"])
    train_vae(settings, folder / "vae-run")
    _show_vae(config, folder / "vae-run")


def decoder(config: dict[str, Any]) -> None:
    """Continue training of the VAE's decoder; the encoder, and so the latents, stay as they are."""
    folder = Path(config["folder"])
    first = folder / "vae-first"
    rank, world = rank_and_world()
    if rank == 0 and not first.exists():
        shutil.copytree(folder / "vae", first)
    if world > 1:
        dist.barrier()
    settings = VaeConfig(
        out=str(folder / "vae"), size=side_of(config, first), device=device_of(config), model={}, start=str(first),
        **config["decoder"],
    )  # fmt: skip
    train_vae(settings, folder / "decoder-run")
    _show_vae(config, folder / "decoder-run")


def finer(config: dict[str, Any]) -> None:
    """Make pictures of twice the side from the latents there are: a finer VAE, whose decoder learns."""
    folder = Path(config["folder"])
    coarse = folder / "vae-coarse"
    if config["vae_model"].get("is_residual"):
        raise TrainingError("a residual VAE cannot be made finer; leave this stage out, or set is_residual = false")
    if not coarse.exists():
        shutil.copytree(folder / "vae", coarse)
    settings = DecoderConfig(
        start=str(coarse), out=str(folder / "vae"), size=2 * side_of(config, coarse), device=device_of(config),
        **config["finer"],
    )  # fmt: skip
    train_decoder(settings, folder / "finer-run")
    _show_vae(config, folder / "finer-run")


def side_of(config: Mapping[str, Any], vae: Path) -> int:
    """Pixels a side of what the VAE in the folder `vae` makes of latents as they are: more once it is a finer one."""
    size = int(config.get("size", 128))
    if "vae_model" not in config:
        return size
    factor = AutoencoderKLWan.load_config(vae)["scale_factor_spatial"]
    return size * int(factor) // int(config["vae_model"]["scale_factor_spatial"])


def _show_vae(config: dict[str, Any], folder: Path) -> None:
    if rank_and_world()[0] == 0:
        from models.training.recipes import show_vae

        show_vae(config, folder / "samples.png", side_of(config, Path(config["folder"]) / "vae"))


def encode(config: dict[str, Any], only: str) -> None:
    """Draw and encode clips and single pictures, or `only` one of these tables.

    Processes with different numbers in FARCAST_PART draw different clips.
    """
    folder = Path(config["folder"])
    part = int(os.environ.get("FARCAST_PART", "0"))
    for name, settings in config["data"].items():
        if only not in ("", name):
            continue
        out = folder / f"{name}-{part}.safetensors"
        if not out.exists():
            encode_clips(
                folder / "vae",
                out,
                seed=1000 * part + settings["seed"],
                size=side_of(config, folder / "vae"),
                device=device_of(config),
                **{k: settings[k] for k in ("clips", "chunks")},
            )


def project(config: dict[str, Any]) -> None:
    """Reduce the VAE's latents to the transformer's channels, and convert the latents encoded so far."""
    folder = Path(config["folder"])
    wide = folder / "vae-wide"
    if not wide.exists():
        (folder / "vae").rename(wide)
    samples = sorted(folder.glob("*-[0-9]*.safetensors"))
    originals = folder / "wide"
    originals.mkdir(exist_ok=True)
    for path in samples:
        if not (originals / path.name).exists():
            path.rename(originals / path.name)
    clips = sorted(originals.glob("clips-*.safetensors"))
    project_vae(wide, folder / "vae", clips[0], config["transformer"]["in_channels"])
    for path in sorted(originals.glob("*.safetensors")):
        project_latents(wide, folder / "vae", path, folder / path.name)


def export(config: dict[str, Any], stage: str) -> None:
    """Write the VAE and the averaged weights of `stage` as a checkpoint in diffusers layout.

    `stage` may be STAGE=FOLDER, to write elsewhere than the config's `export`. A stage with fused guidance (`guidance`
    above 1 in its table, or a distilled one) is marked to need none; others get the config's `guidance`. `steps` and
    `guidance_range` of the config go into `farcast.json`. With `grain` in the config the transformer's matrices are
    rounded (`round_matrices`), so that the file compresses; with `decoder_grain` the VAE decoder's too.
    """
    from models.checkpoint.bundle import Bundle, save_bundle
    from models.checkpoint.limits import read_limits
    from models.toyworld import EXAMPLES, vocabulary_card
    from models.training import recipes

    folder = Path(config["folder"])
    stage, _, out = stage.partition("=")
    if "checkpoint" in config:
        recipes.export_checkpoint(config, stage, Path(out or config["export"]))
        return
    transformer, text_encoder, tokenizer = fresh(config)
    load_average(folder / stage / "state.safetensors", {"transformer": transformer, "text_encoder": text_encoder})
    vae: Any = AutoencoderKLWan.from_pretrained(folder / "vae")
    side = side_of(config, folder / "vae")
    half = torch.float16  # on disk; opened in single precision on a CPU
    transformer.to(half)
    if "grain" in config:
        round_matrices(transformer, config["grain"])
    if "decoder_grain" in config:
        round_matrices(vae.decoder, config["decoder_grain"])
    bundle = Bundle(
        transformer=transformer,
        vae=vae.to(half),
        text_encoder=text_encoder.to(half),
        tokenizer=tokenizer,
        scheduler=FlowMapEulerDiscreteScheduler(num_train_timesteps=1000, shift=config["teacher"]["shift"]),
        device=torch.device("cpu"),
        dtype=half,
        name="farcast-tiny",
        width=side,
        height=side,
        examples=EXAMPLES,
        **read_limits(config | vocabulary_card()),
        guidance=1.0 if recipes.is_fused(config, stage) else config.get("guidance", 1.0),
    )
    save_bundle(bundle, Path(out or config["export"]))


def run(stage: str, config_file: Path = TINY_CPU) -> None:
    """Run `stage`: vae, decoder, finer, encode[:images|:clips], project, export:STAGE, or one on latents that it names.

    Raises TrainingError for a stage or a config that is not there.
    """
    try:
        config = tomllib.loads(config_file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"the config {config_file} cannot be read: {error}") from error
    name, _, of = stage.partition(":")
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        join()
    if name == "vae":
        vae(config)
    elif name == "decoder":
        decoder(config)
    elif name == "finer":
        finer(config)
    elif name == "encode":
        if "checkpoint" in config:
            from models.training.recipes import encode_checkpoint

            encode_checkpoint(config)
        else:
            encode(config, of)
    elif name == "project":
        project(config)
    elif name == "export":
        export(config, of)
    elif _is_stage(config.get(name)):
        from models.training.recipes import train_stage

        train_stage(config, name)
    else:
        known = [key for key, value in config.items() if _is_stage(value)]
        fixed = "vae, decoder, finer, encode, project, export:STAGE"
        raise TrainingError(f"no stage {stage!r}; there are {fixed} and {', '.join(known)}")


def join() -> None:
    """Join the process group that `torchrun` started, each process on a GPU of its own where there are GPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")


def _is_stage(table: object) -> bool:
    """True of a table with the options of a stage on latents."""
    return isinstance(table, dict) and ("recipe" in table or "windows" in table)


if __name__ == "__main__":
    import sys

    run(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else TINY_CPU)
