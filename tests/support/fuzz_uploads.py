"""Mutated pictures, clips and form bodies against a running server: no 5xx but 503 and 507, no traceback, flat memory.

`python -m tests.support.fuzz_uploads --seconds N [--seed S]` runs for longer than the test does.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import psutil

from tests.support.media_files import PLAYLISTS, clip, growing_clip, many_scans, picture
from tests.support.running_server import Running, running, wait_for

ALLOWED = (201, 400, 413, 415, 422, 503, 507)
TYPE = "multipart/form-data; boundary=b"


def seeds() -> list[tuple[str, bytes]]:
    """Form names and valid files to start from, and hostile ones."""
    pictures = [picture(kind, 64, 48) for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    clips = [clip(), clip("webm", "libvpx"), clip("matroska", "mpeg4"), clip("gif", "gif", pix="rgb8"), growing_clip()]
    hostile = [*PLAYLISTS.values(), many_scans(150, 64, 64)]
    return [*(("image", p) for p in pictures), *(("clip", c) for c in clips), *(("clip", h) for h in hostile)]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, cut, doubled or filled with extremes."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        at = dice.randrange(len(out))
        size = min(dice.choice((1, 2, 4, 16, 200)), len(out) - at)
        match dice.randrange(5):
            case 0:
                out[at] ^= 1 << dice.randrange(8)
            case 1:
                out[at : at + size] = dice.choice((b"\0", b"\xff", b"\x7f")) * size
            case 2:
                del out[at : at + size]
            case 3:
                out[at:at] = out[at : at + size]
            case 4:
                out[at : at + size] = dice.randbytes(size)
    return bytes(out)


def body(name: str, data: bytes) -> bytes:
    """A form body with boundary `b`."""
    return (
        b'--b\r\nContent-Disposition: form-data; name="request"\r\n\r\n{"prompt": "a"}\r\n'
        b'--b\r\nContent-Disposition: form-data; name="' + name.encode() + b'"; filename="f"\r\n\r\n' + data
    ) + b"\r\n--b--\r\n"


@dataclass
class Report:
    """`wrong`: answers that must not be; `logged`: tracebacks; `growth`: MB of the server's process."""

    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    slowest: float = 0.0
    growth: float = 0.0


class _Tracebacks(logging.Handler):
    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.report.logged.append(self.format(record)[-500:])


def fuzz(run: Running, *, seed: int, count: int | None = None, seconds: float | None = None) -> Report:
    """`count` uploads, or as many as `seconds` allow, one after another."""
    report, dice, start = Report(), random.Random(seed), seeds()
    handler = _Tracebacks(report)
    logging.getLogger().addHandler(handler)
    end = None if seconds is None else time.monotonic() + seconds
    try:
        with httpx.Client(base_url=run.url, timeout=60) as http:
            before, number = _megabytes(), 0
            while (count is None or number < count) and (end is None or time.monotonic() < end):
                number += 1
                name, data = dice.choice(start)
                in_body = dice.random() < 0.3
                content = mutated(body(name, data), dice) if in_body else body(name, mutated(data, dice))
                kind = mutated(TYPE.encode(), dice) if dice.random() < 0.05 else TYPE.encode()
                kind = bytes(c for c in kind if 32 <= c < 127 or c >= 160) or b"x"
                began = time.monotonic()
                answer = http.post("/v1/sessions", content=content, headers=[(b"content-type", kind.strip() or b"x")])
                report.slowest = max(report.slowest, time.monotonic() - began)
                report.answers[answer.status_code] += 1
                if answer.status_code not in ALLOWED:
                    report.wrong.append(f"{seed}/{number}: {answer.status_code} {answer.text[:300]}")
                if answer.status_code == 201:
                    run.delete(answer.json())
                if number == 50:
                    before = _megabytes()
            report.growth = _megabytes() - before
    finally:
        logging.getLogger().removeHandler(handler)
    return report


def _megabytes() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with running(record=False, tombstone=0.0) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        print(report := fuzz(run, seed=options.seed, seconds=options.seconds))
    raise SystemExit(bool(report.wrong or report.logged))


if __name__ == "__main__":
    main()
