from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.commands.governor import app
from bench.governor import figures, study
from bench.governor.plots import draw
from stream.errors import ConfigError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same study with hardly any runs."""
    monkeypatch.setattr(figures, "QUICK_CHUNKS", 12)
    monkeypatch.setattr(study, "PROFILES", study.PROFILES[:1])
    monkeypatch.setattr(study, "FIXED", (2, 8))
    whole = study.prompt_to_pixel
    monkeypatch.setattr(figures, "prompt_to_pixel", lambda seeds, targets: whole(seeds, targets[:1]))


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_json_has_the_agreed_keys() -> None:
    result = CliRunner().invoke(app, ["--json", "--quick"])
    assert result.exit_code == 0
    printed: dict[str, Any] = json.loads(result.stdout)
    assert set(printed) == {"bench", "machine", "figures", "bars"}
    assert printed["bench"] == "governor"
    assert [set(bar) for bar in printed["bars"]] == [{"name", "value", "op", "bound", "holds"}] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_without_json_there_is_a_table() -> None:
    result = CliRunner().invoke(app, ["--quick"])
    assert result.exit_code == 0
    for word in ("farcast", "reactive", "fixed 8", "bursty: farcast", "500 ms", "changes / min"):
        assert word in result.stdout


@pytest.mark.usefixtures("small")
def test_a_file_in_place_of_the_plot_folder_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    result = CliRunner().invoke(app, ["--quick", "--plots", str(taken)])
    assert isinstance(result.exception, ConfigError)
    assert "--plots" in str(result.exception)


def test_bars_say_whether_they_hold() -> None:
    rows = {
        "farcast": {"misses": 0.02, "steps_of_best": 0.95, "changes_per_minute": 3.0},
        "reactive": {"changes_per_minute": 30.0},
    }
    assert [bar.holds for bar in figures.bars(rows)] == [False, True, True]


@pytest.mark.slow
def test_plots_are_drawn_and_small(tmp_path: Path) -> None:
    cells = list(study.cells([101], 20, targets=[1500.0], fixed=[4]))
    figures = {"all": study.summary(cells), "prompt_to_pixel": study.prompt_to_pixel([101], [500.0])}
    for path in draw(figures, cells, tmp_path):
        assert 1000 < path.stat().st_size < 150_000
