"""Loading a checkpoint draws no progress bars, and leaves the libraries' settings as they were."""

from __future__ import annotations

import pytest
import transformers.utils.logging as of_transformers

from models.checkpoint import progress
from models.checkpoint.bundle import open_bundle


def test_loading_draws_no_bars(capsys: pytest.CaptureFixture[str]) -> None:
    of_transformers.enable_progress_bar()
    open_bundle(device="cpu")
    assert "Loading" not in capsys.readouterr().err
    assert of_transformers.is_progress_bar_enabled()


def test_they_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARCAST_VERBOSE", "1")
    with progress.no_bars():
        assert of_transformers.is_progress_bar_enabled()
