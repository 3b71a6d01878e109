"""A recording in a real browser: it plays, knows its length and can be searched, while the session runs and after."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.support.running_server import running, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PLAY = """async (url) => {
    const video = Object.assign(document.createElement("video"), {muted: true, src: url});
    document.body.append(video);
    let shown = 0;
    const count = () => { shown++; video.requestVideoFrameCallback(count); };
    video.requestVideoFrameCallback(count);
    const problem = await new Promise((done) => {
        video.onloadedmetadata = () => done(null);
        video.onerror = () => done(video.error.message);
    });
    if (problem) return {problem};
    video.currentTime = 1.0;
    await new Promise((done) => { video.onseeked = done; });
    await video.play();
    await new Promise((done) => { video.onended = done; setTimeout(done, 6000); });
    return {problem, shown, duration: video.duration, at: video.currentTime, width: video.videoWidth};
}"""


def play(browser: Browser, site: str, url: str) -> dict[str, Any]:
    page = browser.new_page()
    page.goto(f"{site}/healthz")
    if not page.evaluate("""() => document.createElement("video").canPlayType('video/mp4; codecs="avc1.42c01f"')"""):
        pytest.skip("this build of Chromium has no H.264 (Playwright's own has not, the distributions' have)")
    found: dict[str, Any] = page.evaluate(PLAY, site + url)
    page.close()
    return found


def test_it_plays_while_the_session_runs_and_after(browser: Browser) -> None:
    with running() as run:
        made = run.create()
        session = run.manager.sessions[made["id"]]
        wait_for(lambda: session.frame > 50, 60, "three seconds of film")
        asked = f"{run.url}/v1/sessions/{made['id']}/recording/ticket"
        ticket = httpx.post(asked, headers=run.headers(made), timeout=20)
        url = ticket.json()["url"]
        growing = play(browser, run.url, url)
        run.delete(made)
        done = play(browser, run.url, url)
    for found in (growing, done):
        assert found["problem"] is None
        assert found["width"] == 64
        assert found["shown"] > 5
        assert found["at"] > 1.5
    assert growing["duration"] > 2.0
    assert done["duration"] == pytest.approx((session.frame + 1) / 16, abs=0.13)
