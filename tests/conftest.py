"""What every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import hypothesis
import pytest

from bench.transport.browser_viewer import find_chromium
from tests.support.running_server import Running, running, wait_for

if TYPE_CHECKING:
    from models.checkpoint.bundle import Bundle

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


@pytest.fixture(scope="session")
def running_server() -> Iterator[Running]:
    """One server over the fake backend, for all tests that do not need their own."""
    with running() as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        yield run


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """A bundle smaller than the embedded one, random weights."""
    from tests.support.small_bundle import small_bundle

    return small_bundle()
