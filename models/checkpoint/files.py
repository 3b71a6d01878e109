"""From a folder or hub id to loaded parts; each way it can be wrong is one ModelError. safetensors only."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from models.checkpoint.families import FAMILIES, Family, family_of
from models.checkpoint.progress import no_bars
from models.errors import ModelError

INDEX = "model_index.json"
PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5"}
PARTS = ("transformer", "vae", "text_encoder", "scheduler", "tokenizer")
VAE, TEXT_ENCODER = "AutoencoderKLWan", "UMT5EncoderModel"
FLOATS = ("F32", "BF16", "F16", "F64")
_WEIGHTED = ("transformer", "vae", "text_encoder")


def find_bundle(source: str | Path) -> Path:
    """The local folder of a checkpoint; a hub id is downloaded (safetensors and configs only). Raises ModelError."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(
            f"{source} is a file; give a checkpoint folder in diffusers layout, with {INDEX} in it",
            code="model_pickled" if folder.suffix in PICKLED else "model_not_found",
        )
    name = str(source)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"no folder {source}; give an existing folder or a hub id such as owner/name", code="model_not_found"
        )
    return _download(name)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except HFValidationError as error:
        raise ModelError(f"{name!r} is not a hub id; it looks like owner/name", code="model_not_found") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no model {name!r}, or it is private; check the spelling and your login",
            code="model_not_found",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{name!r} is not in the local cache and the hub cannot be reached; connect, or give a folder",
            code="model_offline",
        ) from error


def load_parts(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[dict[str, Any], Family]:
    """The five parts, on `device` in `dtype`, and their family. Raises ModelError."""
    classes = check_folder(folder)
    import diffusers
    import transformers

    parts: dict[str, Any] = {}
    for part, library in (("transformer", diffusers), ("vae", diffusers), ("text_encoder", transformers)):
        with no_bars():
            model = _load(getattr(library, classes[part]), folder / part, dtype)
        parts[part] = model.to(device).eval().requires_grad_(False)
    try:
        parts["scheduler"] = getattr(diffusers, classes["scheduler"]).from_pretrained(folder / "scheduler")
        parts["tokenizer"] = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(f"the scheduler or tokenizer in {folder} cannot be read ({_first_line(error)})") from error
    check_parts(parts, folder)
    return parts, family_of(classes["transformer"])


def check_folder(folder: Path) -> dict[str, str]:
    """Class names of the parts, after checking that each is there, known, and not pickled. Raises ModelError."""
    index_file = folder / INDEX
    if not index_file.is_file():
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
        if pickled:
            raise _pickled(folder, pickled[0])
        raise ModelError(
            f"{folder} has no {INDEX}; give a checkpoint folder in diffusers layout", code="model_missing_part"
        )
    try:
        index = json.loads(index_file.read_text())
        classes = {part: index[part][1] for part in PARTS if part in index}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ModelError(f"{index_file} cannot be read ({_first_line(error)}); fetch the checkpoint again") from error
    family = FAMILIES.get(classes.get("transformer", ""))
    for part, allowed in (
        ("transformer", tuple(FAMILIES)),
        ("vae", (VAE,)),
        ("text_encoder", (TEXT_ENCODER,)),
        ("scheduler", (family.scheduler,) if family else ()),
    ):
        found = classes.get(part)
        if found not in allowed:
            raise ModelError(
                f"{folder} says its {part} is {found or 'absent'}; Farcast runs {' and '.join(_names())} checkpoints, "
                f"where it is {' or '.join(allowed)}",
                code="model_architecture" if found else "model_missing_part",
            )
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise ModelError(f"{folder} lacks {', '.join(missing)}; fetch the checkpoint again", code="model_missing_part")
    for part in _WEIGHTED:
        if not list((folder / part).glob("*.safetensors")):
            pickled = sorted(path.name for path in (folder / part).iterdir() if path.suffix in PICKLED)
            if pickled:
                raise _pickled(folder / part, pickled[0])
            raise ModelError(f"{folder / part} has no weights (*.safetensors)", code="model_missing_part")
        check_dtypes(folder / part, _kept_wide(part, classes[part]))
    return classes


def _names() -> list[str]:
    return sorted({family.name for family in FAMILIES.values()})


def _kept_wide(part: str, name: str) -> Sequence[str]:
    library = import_module("transformers" if part == "text_encoder" else "diffusers")
    return getattr(getattr(library, name), "_keep_in_fp32_modules", None) or ()


def check_dtypes(folder: Path, kept_wide: Sequence[str] = ()) -> None:
    """ModelError when a part's weights are not all of one floating-point type.

    The one mixture that diffusers and transformers themselves write is let through: F32 in modules named in `kept_wide`
    (the class's `_keep_in_fp32_modules`) among narrower weights. Any other comes from a tool that changed some tensors
    and forgot others, or quantised them for another program (fp8, int8), and would run at a precision nobody chose.
    """
    types: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with file.open("rb") as stream:
                header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        except (OSError, ValueError, MemoryError, OverflowError) as error:
            raise ModelError(f"{file} is damaged; fetch it again", code="model_damaged") from error
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            types[name] = entry.get("dtype")
            if types[name] not in FLOATS:
                raise ModelError(
                    f"{file.name}: {name} is {types[name]}; Farcast opens weights in {', '.join(FLOATS)}",
                    code="model_dtype",
                )
            sizes[types[name]] += math.prod(entry.get("shape", ()))
    most = sizes.most_common(1)[0][0] if sizes else ""
    for name, kind in sorted(types.items()):
        if kind != most and not (kind == "F32" and any(word in kept_wide for word in name.split("."))):
            raise ModelError(
                f"{folder} mixes types: {name} is {kind} while most weights are {most}; save the part in one type, "
                f"such as model.to(torch.bfloat16).save_pretrained(...)",
                code="model_dtype",
            )


def _pickled(folder: Path, name: str) -> ModelError:
    return ModelError(
        f"{folder} holds pickled weights ({name}), which can run code when opened; convert them to safetensors",
        code="model_pickled",
    )


def _load(cls: Any, folder: Path, dtype: torch.dtype) -> Any:
    try:
        from_transformers = cls.__module__.startswith("transformers.")
        keyword = "dtype" if from_transformers else "torch_dtype"
        loaded = cls.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **{keyword: dtype}
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, ImportError) as error:
        raise ModelError(
            f"{folder} does not hold a {cls.__name__} ({_first_line(error)})", code="model_shape"
        ) from error
    except Exception as error:  # safetensors raises its own type for a truncated file
        raise ModelError(
            f"the weights in {folder} are damaged ({_first_line(error)}); fetch them again", code="model_damaged"
        ) from error
    model, info = loaded
    lacking = sorted(info["missing_keys"])
    if lacking:
        raise ModelError(
            f"{folder} lacks {len(lacking)} weights of {cls.__name__}, the first is {lacking[0]}", code="model_shape"
        )
    return model


def check_parts(parts: dict[str, Any], folder: Path) -> None:
    """ModelError when the parts do not fit one another."""
    transformer, vae, text = parts["transformer"].config, parts["vae"].config, parts["text_encoder"].config
    for what, ours, theirs in (
        ("latent channels: transformer in_channels", transformer.in_channels, vae.z_dim),
        ("prompt width: transformer text_dim", transformer.text_dim, text.d_model),
        ("tokens: the text encoder's vocab_size", text.vocab_size, max(text.vocab_size, len(parts["tokenizer"]))),
    ):
        if ours != theirs:
            raise ModelError(
                f"{folder}: the parts do not fit, {what} is {ours} but must be {theirs}", code="model_shape"
            )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
