"""`farcast watch URL -o out.mp4`: watch a server for a while and save what it shows."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ..client import connect
from ..errors import FarcastError
from ..live import Live
from ..media.recorder import Recorder
from ..protocol import Dial
from ..protocol.parse import checked

app = typer.Typer(add_completion=False)
DEFAULT_PROMPT = "a big red circle bouncing on a navy background"


@app.command()
def watch(
    url: Annotated[str, typer.Argument(help="The server, for example http://127.0.0.1:8000.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The MP4 to write.")],
    prompt: Annotated[str | None, typer.Option(help="What to show.", show_default=DEFAULT_PROMPT)] = None,
    image: Annotated[Path | None, typer.Option(help="Start from this picture.")] = None,
    clip: Annotated[Path | None, typer.Option(help="Continue this clip.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="How much to save.")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same take.")] = None,
    latency_ms: Annotated[float, typer.Option(help="The dial: prompt-to-pixel target.")] = 1500.0,
    steps: Annotated[int | None, typer.Option(help="A fixed step budget instead of the dial's choice.")] = None,
    session: Annotated[str | None, typer.Option(help="Join this session instead of starting one.")] = None,
    token: Annotated[str | None, typer.Option(help="The token of that session.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Watch a Farcast server and save the video."""

    if session is not None and prompt is not None:
        raise FarcastError("--session joins a session as it is. Leave out --prompt, or leave out --session.")
    options: dict[str, object] = {"session": session, "token": token}
    if session is None:
        dial = checked(Dial, latency_ms=latency_ms, steps=steps)
        options = {"prompt": prompt or DEFAULT_PROMPT, "image": image, "clip": clip, "seed": seed, "dial": dial}
    asyncio.run(_watch(url, output, seconds, as_json, options))


async def _watch(url: str, output: Path, seconds: float, as_json: bool, options: dict[str, object]) -> None:
    started = time.monotonic()
    async with connect(url, **options) as live:  # type: ignore[arg-type]
        if not as_json:
            session = live.session
            typer.echo(f"{session.model} {session.width}x{session.height}: {session.prompt}", err=True)
        recorder = await _save(live, output, seconds)
        stats = await live.stats()
        report = {
            "output": str(output),
            "frames": recorder.frames,
            "width": live.info.width,
            "height": live.info.height,
            "video_seconds": round(recorder.seconds, 3),
            "seconds": round(time.monotonic() - started, 3),
            "first_frame_s": None if stats.media is None else stats.media.first_frame_s,
            "steps": None if stats.chunk is None else stats.chunk.steps,
            "underruns": stats.underruns,
            "seed": live.session.seed,
        }
    typer.echo(json.dumps(report) if as_json else f"{output}: {recorder.frames} frames, {recorder.seconds:.1f} s")


async def _save(live: Live, output: Path, seconds: float) -> Recorder:
    with typer.progressbar(
        length=round(seconds * live.info.fps), label="recording", file=sys.stderr, hidden=not _is_terminal()
    ) as bar:
        async with live.record(output) as recorder:
            first = None
            async for frame in live.frames():
                first = frame.pts if first is None else first
                bar.update(1)
                if frame.pts - first >= seconds:
                    break
    if recorder.frames == 0:
        raise FarcastError("The session ended before a frame came.")
    return recorder


def _is_terminal() -> bool:

    return sys.stderr.isatty()
