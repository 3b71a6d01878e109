"""Videos in the layout VBench reads, so that the vbench package can score them.

VBench (arXiv 2311.17982) takes a folder of files named `PROMPT-INDEX.mp4`, five a prompt, and 25 a prompt for its
"temporal flickering". The prompt lists are a part of VBench (`prompts/prompts_per_dimension`) and are given as files,
one prompt a line; a list `color.txt` fills the folder `color`, which is what `vbench evaluate --videos_path` wants.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import RequestError
from models.evaluation.tasks.sampler import Sampler

SAMPLES = 5
SAMPLES_OF = {"temporal_flickering": 25}
FRAMES = 81
_FORBIDDEN = "/\0"
Writer = Callable[[np.ndarray, Path], None]


@dataclass(frozen=True)
class Video:
    """One file to make."""

    prompt: str
    index: int
    seed: int

    @property
    def name(self) -> str:
        """The file's name, as VBench looks it up."""
        return f"{self.prompt}-{self.index}.mp4"


def read_prompts(path: Path) -> list[str]:
    """The prompts of a list, one a line, in order and each once. Raises RequestError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read ({error}); give a text file with one prompt a line") from error
    prompts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not prompts:
        raise RequestError(f"{path} holds no prompt; give a text file with one prompt a line")
    for prompt in prompts:
        if any(mark in prompt for mark in _FORBIDDEN) or len(prompt.encode()) > 240:
            raise RequestError(f"{prompt[:60]!r} cannot be a file name, and VBench finds videos by their prompt")
    return prompts


def videos(prompts: list[str], seed: int, samples: int) -> Iterator[Video]:
    """Every file of a list: `samples` a prompt, each from a seed of its own that follows from `seed`."""
    rng = np.random.default_rng(seed)
    for prompt in prompts:
        for index in range(samples):
            yield Video(prompt, index, int(rng.integers(2**31)))


def samples_for(path: Path, samples: int | None) -> int:
    """How many videos a prompt: as asked, else what VBench wants for the dimension the file is named after."""
    count = SAMPLES_OF.get(path.stem, SAMPLES) if samples is None else samples
    if not 1 <= count <= 1000:
        raise RequestError(f"{count} videos a prompt; it must be from 1 to 1000")
    return count


def lists(source: Path) -> list[Path]:
    """A prompt list, or every `.txt` of a folder such as VBench's `prompts_per_dimension`. Raises RequestError."""
    found = sorted(source.glob("*.txt")) if source.is_dir() else [source]
    if not found:
        raise RequestError(f"{source} holds no .txt file; give a prompt list or a folder of them")
    return found


def make(
    sampler: Sampler,
    todo: list[Video],
    folder: Path,
    write: Writer,
    *,
    steps: int,
    frames: int = FRAMES,
    progress: Callable[[str], None],
) -> list[float]:
    """Write the videos that `folder` lacks, so that it can be resumed; the steadiness of each new one.

    `write` gets frames and a path, and leaves no file when it fails. VBench takes the suffix of the first file that it
    finds, so the folder holds videos only and the seeds are written beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {"steps": steps, "frames": frames, "seeds": {video.name: video.seed for video in todo}}
    folder.with_name(f"{folder.name}.seeds.json").write_text(json.dumps(record, indent=1) + "\n")
    steady = []
    for number, video in enumerate(todo):
        part = folder.with_name(f"{folder.name}.part.mp4")
        if not (folder / video.name).is_file():
            pixels = sampler.clip(sampler.start(video.prompt, video.seed), frames, steps)
            steady.append(steadiness(pixels))
            write(pixels, part)
            part.replace(folder / video.name)
        progress(f"{folder.name}: {number + 1} of {len(todo)}")
    return steady


def steadiness(frames: np.ndarray) -> float:
    """VBench's temporal flickering, 0..1, 1 = nothing moves; the one of its metrics that needs no network."""
    pixels = frames.astype(np.float32)
    return float((255 - np.abs(np.diff(pixels, axis=0)).mean(axis=(1, 2, 3))).mean() / 255)
