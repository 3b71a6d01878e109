"""The page's way to the picture, in Chromium: back within two seconds after a break, and through a relay."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from bench.transport.browser_viewer import FLAGS
from tests.support.netns import PORT, TO_VIEWER, Net, fetch
from tests.support.running_server import Running
from tests.support.timing import slack
from tests.support.turn import REASON, relayed_network

pytestmark = pytest.mark.browser

WATCH = """() => {
    const video = document.getElementById("video");
    window.frames_ = 0;
    const seen = () => { window.frames_ += 1; video.requestVideoFrameCallback(seen); };
    video.requestVideoFrameCallback(seen);
}"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with relayed_network(tmp_path_factory.mktemp("turn")) as made:
        yield made


@contextmanager
def chromium_page(executable: str | None) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser.new_page()
        finally:
            browser.close()


def frames(page: Page) -> int:
    return int(page.evaluate("window.frames_"))


def until_frames(page: Page, count: int, seconds: float) -> float:
    """Wait for so many more frames; how long it took."""
    began, before = time.monotonic(), frames(page)
    while frames(page) < before + count:
        assert time.monotonic() - began < seconds, f"{frames(page) - before} frames in {seconds} s"
        page.wait_for_timeout(50)
    return time.monotonic() - began


def watch(page: Page, base: str, made: dict[str, Any]) -> None:
    page.goto(f"{base}/#watch={made['id']}&token={made['view_token']}")
    page.evaluate(WATCH)
    until_frames(page, 5, 40 * slack())


def test_the_page_has_the_picture_back_within_two_seconds(server: Running, chromium: str | None) -> None:
    made = server.create()
    with chromium_page(chromium) as page:
        watch(page, server.url, made)
        for _ in range(2):
            (viewer,) = (
                v for v in server.app.state.viewers.values() if v.session.id == made["id"] and not v.closed.is_set()
            )
            asyncio.run_coroutine_threadsafe(viewer.close("failed"), server.loop).result(10)
            page.wait_for_timeout(100)  # what is still in its buffer is no new picture
            assert until_frames(page, 3, 60) < 2.5 * slack(), "two seconds, and a little for reading it off"
    server.delete(made)


@pytest.mark.slow
@pytest.mark.skipif(REASON is not None, reason=REASON or "")
def test_the_page_sees_the_picture_through_the_relay(net: Net, chromium: str | None, tmp_path: Path) -> None:
    inside = tmp_path / "chromium"
    inside.write_text(f'#!/bin/sh\nexec ip netns exec {net.names["viewer"]} {chromium} "$@"\n')
    inside.chmod(inside.stat().st_mode | stat.S_IXUSR)
    base = f"http://{TO_VIEWER}:{PORT}"
    made = json.loads(fetch(net, "viewer", f"{base}/v1/sessions", json.dumps({"prompt": "a red circle"})))
    with chromium_page(str(inside)) as page:
        watch(page, base, made)
