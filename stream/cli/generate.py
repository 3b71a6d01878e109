"""`farcast generate`: a clip of a given length, written as MP4, without a server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from models.media.write import Mp4, OutputError, check_folder
from stream.errors import user_errors

from .options import Decoder, Execution, Lora, Model
from .prompt_file import read_prompts

app = typer.Typer(add_completion=False)


@app.command()
@user_errors()
def generate(
    output: Annotated[Path, typer.Option("-o", "--output", help="The MP4 to write.")],
    prompt: Annotated[str | None, typer.Option(help="What the video should show.")] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="Prompts by time instead: one a line, FRAME or SECONDS (as 2.5s), tab, prompt.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What it should not show; works with guidance above 1.")] = "",
    image: Annotated[Path | None, typer.Option(help="Start from this picture.")] = None,
    video: Annotated[Path | None, typer.Option("--clip", help="Go on from the end of this clip.")] = None,
    frames: Annotated[int, typer.Option(help="Frames to make.")] = 81,
    steps: Annotated[int | None, typer.Option(help="Steps a chunk, 1 to 50; left out = 4.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same arguments: same frames.")] = 0,
    guidance: Annotated[
        float | None, typer.Option(help="Classifier-free guidance; 1 = off, left out = the model's own.")
    ] = None,
    model: Model = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    execution: Execution = "eager",
    decoder: Decoder = None,
    lora: Lora = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a clip."""
    if image is not None and video is not None:
        raise OutputError("Give --image or --clip, not both.", code="invalid")
    if (prompt is None) == (prompt_file is None):
        raise OutputError("Give --prompt, or --prompt-file.", code="invalid")
    check_folder(output)
    from models.checkpoint.load import open_weights
    from models.media.read import open_image, read_clip
    from models.rollout.flowmap import schedule_for
    from models.rollout.generate import generate as make

    start = open_image(existing(image)) if image is not None else None
    clip, clip_fps = read_clip(existing(video)) if video is not None else (None, None)
    bundle = open_weights(model, device, execution, decoder=decoder, lora=lora or ())
    steps = len(schedule_for(bundle, steps)) - 1
    changes: list[tuple[int, str]] = []
    if prompt_file is not None:
        (_, prompt), *changes = read_prompts(existing(prompt_file), bundle.fps)
    assert prompt is not None
    chunks = make(
        bundle,
        prompt=prompt,
        changes=changes,
        negative=negative,
        frames=frames,
        steps=steps,
        seed=seed,
        image=start,
        video=clip,
        video_fps=clip_fps,
        guidance=guidance,
    )
    began = time.perf_counter()
    made, count, writing = 0, 0, 0.0
    with Mp4(output, bundle.width, bundle.height, bundle.fps) as out, bar(frames) as progress:
        for chunk in chunks:
            wrote = time.perf_counter()
            out.write(chunk)
            writing += time.perf_counter() - wrote
            made, count = made + len(chunk), count + 1
            progress(len(chunk))
    seconds = time.perf_counter() - began - writing
    report = {
        "frames": made,
        "width": bundle.width,
        "height": bundle.height,
        "fps": bundle.fps,
        "steps": steps,
        "seed": seed,
        "model": bundle.name,
        "seconds": round(seconds, 4),
        "chunks": count,
        "seconds_per_chunk": round(seconds / count, 4),
        "realtime_factor": round(made / bundle.fps / seconds, 4),
        "output": str(output),
    }
    if as_json:
        print(json.dumps(report))
    else:
        print(
            f"{output}: {made} frames, {bundle.width}x{bundle.height} at {bundle.fps} fps, {steps} steps a chunk; "
            f"{seconds:.1f} s, {report['realtime_factor']:.2f} times as fast as it plays"
        )


def existing(path: Path) -> Path:
    if not path.is_file():
        raise OutputError(f"There is no file {path}. Check the name.", code="no_file")
    return path


@contextmanager
def bar(frames: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, and nothing where nobody looks. Called with the frames just made."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with typer.progressbar(length=frames, label="frames", file=sys.stderr, show_pos=True) as progress:
        yield progress.update
