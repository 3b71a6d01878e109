"""`farcast generate --prompt-file`: the list that is read, what is refused, and the frames that it changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.checkpoint.bundle import open_bundle
from models.rollout.generate import generate
from stream.cli.prompt_file import read_prompts
from stream.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "prompts.txt"
    path.write_text(text)
    return path


def test_frames_and_seconds(tmp_path: Path) -> None:
    path = written(tmp_path, "# a comment\n0\ta red circle\n\n1.5s\ta blue star\n48\ta green square\n")
    assert read_prompts(path, 16.0) == [(0, "a red circle"), (24, "a blue star"), (48, "a green square")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no prompt"),
        ("0 a red circle\n", "line 1"),
        ("5\ta red circle\n", "0 for the first"),
        ("0\ta\n9\tb\n9\tc\n", "line 3"),
        ("x\ta\n", "line 1"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_prompts(written(tmp_path, text), 16.0)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(path, 16.0)


def test_the_prompt_changes_in_the_chunk_of_its_frame() -> None:
    bundle = open_bundle(device="cpu")
    red, blue = "a big red circle bouncing on a navy background", "a big blue star spinning on a cream background"
    chunk = bundle.chunk_frames * bundle.frames_per_latent
    length = dict(frames=1 + 2 * chunk, steps=1, seed=1)
    plain = np.concatenate(list(generate(bundle, prompt=red, **length)))
    changed = np.concatenate(list(generate(bundle, prompt=red, changes=[(2 + chunk, blue)], **length)))
    first = 1 + chunk
    assert np.array_equal(plain[:first], changed[:first])
    assert not np.array_equal(plain[first:], changed[first:])
