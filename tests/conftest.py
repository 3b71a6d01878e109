"""What every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from stream.lab.eye import find_chromium

# A busy machine is no reason for a failure, and a failure must come back on the next run.
hypothesis.settings.register_profile("farcast", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("farcast")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def chromium() -> str | None:
    """The Chromium that browser tests start; None = Playwright's own download."""
    return find_chromium(os.environ.get("FARCAST_CHROMIUM"))
