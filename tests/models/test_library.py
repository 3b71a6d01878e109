"""`models` as a library: the script of docs/engine.md runs as written, and help(models) shows it."""

from __future__ import annotations

import os
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest

import models

DOCS = Path(__file__).parents[2] / "docs" / "engine.md"


def test_the_script_in_the_docs_runs_as_written(tmp_path: Path) -> None:
    script = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)[0]
    assert len(script.strip().splitlines()) <= 12
    for name in ("open_bundle", "Rollout", "next_chunk", "save_mp4"):
        assert name in script
    root = os.pathsep.join([str(DOCS.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (film,) = tmp_path.glob("*.mp4")
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 1 + 5 * 12


def test_help_shows_the_script_and_the_names() -> None:
    text = pydoc.plain(pydoc.render_doc(models))
    for name in (*models.__all__, "rollout.next_chunk(sigmas)"):
        assert name in text
    assert all(hasattr(models, name) for name in models.__all__)
    with pytest.raises(AttributeError, match="no_such"):
        _ = models.no_such


def test_importing_it_loads_no_torch() -> None:
    code = "import models, models.errors, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
