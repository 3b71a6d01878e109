"""The process that renders one take: `python -m stream.score.render_job`, a job as one JSON line in, reports out.

It yields to live sessions: scheduling class idle (Linux) and the lowest priority elsewhere, and one thread where the
frames need not be those of the live take. It ends when the server that started it closes its standard input or is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from farcast.protocol import Score, parse_score

from models.media.write import Mp4

NICEST = 19


class Chunk(Protocol):
    """What a renderer yields; see `replay.Replayed`."""

    @property
    def frames(self) -> Any: ...
    @property
    def exact(self) -> bool | None: ...


Renderer = Callable[[Score, int | None], Iterable[Chunk]]


def open_renderer(
    model: str | None, device: str, threads: int, score: Score, *, decoder: str | None = None, lora: Sequence[str] = ()
) -> Renderer:
    """The real one. At the live steps (None) it runs on as many threads as the live take had, since their number is in
    the last bits; at others on one."""
    import torch

    from models.checkpoint.load import default_threads, open_weights

    from .replay import Replay

    live_threads = score.made_with.threads or threads or default_threads()
    bundle = open_weights(model, device, decoder=decoder, lora=lora)

    def render(take: Score, steps: int | None) -> Iterable[Chunk]:
        torch.set_num_threads(live_threads if steps is None else 1)
        return Replay(bundle, take, steps=steps)

    return render


def run(job: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    """One job: reports {"progress"}, then {"done", "frames", "exact"}. Errors meant for people have a `code`."""
    score = parse_score(Path(job["score"]).read_bytes())
    module, _, name = job["renderer"].partition(":")
    extra = {name: value for name, value in job.get("options", {}).items() if value}  # decoder, lora
    renderer = getattr(importlib.import_module(module), name)(
        job["model"], job["device"], job["threads"], score, **extra
    )
    made, exact = 0, True if job["steps"] is None and score.checks else None
    with Mp4(Path(job["output"]), score.width, score.height, score.fps) as out:
        for count, chunk in enumerate(renderer(score, job["steps"]), start=1):
            out.write(chunk.frames)
            made += len(chunk.frames)
            exact = exact if chunk.exact is None else bool(exact and chunk.exact)
            say({"progress": count / score.chunks})
    say({"done": True, "frames": made, "exact": exact})


def yield_to_others() -> None:
    """Runs only while nobody else wants the core. For this thread and those that it starts: call it first."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICEST)
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> None:
    yield_to_others()
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no report

    def say(report: dict[str, Any]) -> None:
        print(json.dumps(report), file=reports, flush=True)

    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    try:
        run(job, say)
    except BrokenPipeError:
        return
    except Exception as error:
        if not isinstance(getattr(error, "code", None), str):
            raise
        say({"error": str(error)})


def _end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
