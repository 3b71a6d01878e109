"""The programs that measure and picture the page still find what they look for on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.page import shoot
from bench.page.scenes import chromium, examples, open_page
from tests.support.running_server import running


@pytest.mark.browser
def test_the_figures_of_the_page_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shoot, "CLICKS", 1)
    with running() as server, chromium() as browser:
        rows = shoot.measure(browser, server.url)
        page = open_page(browser, server.url, viewport={"width": 1280, "height": 800})
        page.wait_for_selector("#examples button")
        assert len(examples(page)) >= 2
        page.close()
    assert [what.split()[0] for what, _, _ in rows] == ["first", "first", "weight"]
    file = tmp_path / "page.md"
    file.write_text("before <!-- figures -->old<!-- /figures --> after")
    shoot.write(rows, file)
    text = file.read_text()
    assert "old" not in text
    assert rows[2][1] in text
    assert text.startswith("before ")
    assert text.endswith(" after")


@pytest.mark.parametrize("program", ["animate", "shoot"])
@pytest.mark.slow
def test_it_says_how_it_is_used(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"bench.page.{program}", "--help"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "url" in done.stdout
