"""A real browser, a server without a model for the page's own behaviour, and what reads the picture back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from bench.transport.browser_viewer import FLAGS
from tests.support.browser_page import Server, Tab, free_port, start, stop

FAKE_CAMERA = "--use-fake-device-for-media-stream"


@pytest.fixture(scope="module")
def fake(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server without a model."""
    port = free_port()
    log = tmp_path_factory.mktemp("fake") / "log"
    server = start(["tests/e2e/fake.py", str(port)], port, root, log, "v1/model")
    yield server
    stop(server)


# One browser a module and no longer: Playwright's synchronous face holds an event loop, which other rooms' tests need.
@pytest.fixture(scope="module")
def browser(chromium: str | None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, FAKE_CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Makes tabs; each may be given viewport, color_scheme, permissions and so on."""
    contexts: list[BrowserContext] = []

    def make(**options: Any) -> Tab:
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return Tab(page, context, complaints)

    yield make
    for context in contexts:
        context.close()
