"""A real browser, and the real server over the fake backend for the page's own behaviour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from bench.transport.browser_viewer import FLAGS
from tests.support.browser_page import Tab
from tests.support.faults import FaultyServer, faulty_server

FAKE_CAMERA = "--use-fake-device-for-media-stream"


@pytest.fixture(scope="session")
def one_faulty_server() -> Iterator[FaultyServer]:
    # A step takes as long as that of a small model: so many fit into a chunk that the dial has something to decide.
    with faulty_server("fake?step=0.05&decode=0.02&size=128&too_many=50&render=0.02") as server:
        yield server


@pytest.fixture
def server(one_faulty_server: FaultyServer) -> FaultyServer:
    """The real server over the fake backend; nothing is left of the test before."""
    one_faulty_server.reset()
    return one_faulty_server


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
