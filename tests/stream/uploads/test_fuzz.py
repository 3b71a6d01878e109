from __future__ import annotations

import httpx

from tests.support.fuzz_uploads import fuzz
from tests.support.running_server import running, wait_for


def test_mutated_uploads_never_break_the_server() -> None:
    """Fixed seed; `python -m tests.support.fuzz_uploads --seconds N` runs for longer."""
    with running(record=False, tombstone=0.0) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        report = fuzz(run, seed=7, count=150)
    assert report.wrong == []
    assert report.logged == []
    assert report.answers[400] > 20
    assert report.growth < 150, report
