"""What stays of a take, and who else sees it: downloads, renders, view links."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.support.browser_page import bluish
from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs

pytestmark = pytest.mark.browser


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_downloads(tab: Tabs, server: FaultyServer, tmp_path: Path) -> None:
    watched = tab().open(server.url).playing()
    with watched.page.expect_download() as got:
        watched.page.click("#snapshot")
    got.value.save_as(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.size == (128, 128)
    with watched.page.expect_download() as got:
        watched.page.click("#score")
    got.value.save_as(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["score"] == 1
    session = server.only()
    recording = server.manager.recordings.find(session.id, session.token)
    watched.until(lambda: recording.size, "there is something to download")
    with watched.page.expect_download() as got:
        watched.page.click("#recording")
    assert got.value.suggested_filename.endswith(".mp4")
    got.value.save_as(tmp_path / "film.mp4")
    assert frames_of(tmp_path / "film.mp4") > 1
    watched.page.click("#record")
    watched.page.wait_for_timeout(2500)
    with watched.page.expect_download() as got:
        watched.page.click("#record")
    path = tmp_path / got.value.suggested_filename
    got.value.save_as(path)
    assert frames_of(path) >= 15


def test_a_view_link_shows_the_take_and_cannot_steer(tab: Tabs, server: FaultyServer) -> None:
    steering = tab(permissions=["clipboard-read", "clipboard-write"]).open(server.url).playing()
    steering.page.click("#share")
    steering.until(lambda: "cannot steer" in steering.page.locator("#toast").inner_text(), "the link is copied")
    link = steering.page.evaluate("() => navigator.clipboard.readText()")
    assert "#watch=" in link
    watching = tab().open(link).playing()
    assert watching.page.get_attribute("body", "data-role") == "watch"
    for hidden in ("#prompt", "#examples", "#dial", "#file", "#share", "#score"):
        assert watching.page.locator(hidden).is_hidden(), hidden
    assert watching.page.locator("#pause").is_disabled()
    steering.say("a big blue circle on a black background")
    watching.until(lambda: watching.share(bluish) > 0.05, "both see it")
    line = watching.page.locator("#prompt-log .text").first
    watching.until(lambda: line.inner_text().startswith("a big blue"), "and the watcher is told what it is")
    watching.page.click("#own-take")
    watching.page.wait_for_selector("body[data-role=steer][data-state=live]", timeout=30_000)
    assert "#" not in watching.page.url
    assert steering.page.get_attribute("body", "data-state") == "live"  # the other's take goes on


def test_the_take_is_rendered_again(tab: Tabs, server: FaultyServer, tmp_path: Path) -> None:
    watched = tab().open(server.url).playing()
    page = watched.page
    assert page.input_value("#render-steps") == "32"
    page.click("#render")
    job = page.locator("#renders li").first
    watched.until(lambda: job.get_attribute("data-state") in ("queued", "running"), "it is asked for")
    watched.until(lambda: "%" in job.inner_text(), "how far it is")
    watched.until(lambda: float(job.locator("progress").get_attribute("value") or 0) > 0, "and it moves")
    page.reload()  # it goes on meanwhile, and the page comes back to it
    watched.playing()
    job = page.locator("#renders li").first
    ready = watched.until(lambda: re.search(r"ready, (\d+\.\d) s", job.inner_text()), "it is done")
    job.locator("button", has_text="Watch").click()
    page.locator("#render-dialog[open]").wait_for()
    assert page.inner_text("#render-title") == "This take, 32 steps"
    watched.until(lambda: page.evaluate("() => document.getElementById('render-video').videoWidth") == 128, "it plays")
    with page.expect_download() as got:
        page.click("#render-save")
    assert got.value.suggested_filename.endswith("-32-steps.mp4")
    got.value.save_as(tmp_path / "final.mp4")
    assert frames_of(tmp_path / "final.mp4") == pytest.approx(float(ready[1]) * 16, abs=0.8 + 1e-6)
    page.click("#render-close")


def test_a_render_at_the_live_steps_is_exact_one_fails_one_is_cancelled(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    page = watched.page
    for steps in ("", "50", "8"):
        page.select_option("#render-steps", steps)
        page.click("#render:enabled")
    jobs = page.locator("#renders li")
    watched.until(lambda: jobs.count() == 3, "three are asked for")
    jobs.first.locator("button").click()  # the one of 8 steps
    watched.until(lambda: jobs.count() == 2, "one is cancelled")
    watched.until(lambda: "every pixel the same" in jobs.nth(1).inner_text(), "the live steps give the live pixels")
    watched.until(lambda: "ran out of memory" in jobs.nth(0).inner_text(), "the other says why it failed")
    server.fill()
    page.click("#render:enabled")
    watched.until(lambda: "places for renders are taken" in page.inner_text("#toast"), "a refusal is shown")
    server.accept_all()


def test_several_watch_the_same_take(tab: Tabs, server: FaultyServer) -> None:
    steering = tab(permissions=["clipboard-read", "clipboard-write"]).open(server.url).playing()
    steering.page.reload()  # the right to share survives it
    steering.playing()
    steering.page.click("#share")
    steering.until(lambda: "cannot steer" in steering.page.locator("#toast").inner_text(), "the link is copied")
    link = steering.page.evaluate("() => navigator.clipboard.readText()")
    watching = [tab().open(link).playing() for _ in range(2)]
    steering.say("a big blue circle on a black background")
    for one in (steering, *watching):
        one.until(lambda one=one: one.share(bluish) > 0.05, "everyone sees it")
    viewers = steering.page.locator("#viewers")
    steering.until(lambda: viewers.inner_text().endswith("watching"), "they are counted")
    steering.until(lambda: int(viewers.inner_text().split()[0]) >= 3, "all of them")
    for control in ("#history", "#mix-toggle", "#camera", "#examples button"):
        assert watching[0].page.locator(control).first.is_hidden()
    with watching[0].page.expect_download():
        watching[0].page.click("#recording")  # what one may see one may keep
