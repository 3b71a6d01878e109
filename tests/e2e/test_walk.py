"""One visitor walks through all the page can do, at a desk and on a phone, and looks at it in both colour schemes.

FARCAST_E2E_SHOTS=FOLDER keeps what was seen, as PNG.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.browser_page import Tab, bluish
from tests.support.faults import FaultyServer
from tests.support.film import clip
from tests.support.page_actions import Tabs, give, greenish, live, picture, upload

pytestmark = [pytest.mark.browser, pytest.mark.nightly, pytest.mark.timeout(300)]

DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
SHOTS = os.environ.get("FARCAST_E2E_SHOTS")


class Eyes:
    """Looks at the page at each stop: nothing is wider than the screen; kept as pictures where asked for."""

    def __init__(self, tab: Tab, name: str) -> None:
        self.tab, self.name, self.stops = tab, name, 0

    def look(self, at: str) -> None:
        self.stops += 1
        page = self.tab.page
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0, at
        assert self.tab.complaints == [], at
        if not SHOTS:
            return
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(500)
            page.screenshot(path=Path(SHOTS) / f"{self.name}-{self.stops:02}-{at.replace(' ', '-')}-{scheme}.png")


@pytest.mark.parametrize(("name", "device"), [("desk", DESK), ("phone", PHONE)])
def test_a_walk_through_everything(tab: Tabs, server: FaultyServer, name: str, device: dict[str, object]) -> None:
    watched = tab(permissions=["camera", "clipboard-read", "clipboard-write"], **device)
    eyes, page = Eyes(watched, name), watched.page
    press = page.tap if device.get("has_touch") else page.click
    sent: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda data: sent.append(str(data))))
    watched.open(server.url).playing()
    eyes.look("live")

    press("#examples li:nth-child(2) button")
    lit = page.locator("#examples button[aria-current=true]")
    watched.until(lambda: "yellow star" in "".join(lit.all_inner_texts()), "the pad is lit while it is on screen")
    page.select_option("#transition", "2")
    live(watched, "a big blue circle on a white background")
    watched.until(lambda: watched.share(bluish) > 0.05, "the prompt is on screen")
    assert any('"transition":2' in frame for frame in sent)
    press("#mix-toggle")
    page.fill("#prompt-b", "a big red circle on a white background")
    page.press("#prompt-b", "Enter")
    page.fill("#mix", "30")
    watched.until(lambda: page.locator("#prompt-log li").first.inner_text().startswith("70 %"), "the mix is heard")
    eyes.look("a mix of two")
    press("#mix-toggle")
    press("#history")
    eyes.look("earlier prompts")
    press("#history-close")

    upload(watched, "meadow.png", "image/png", picture())
    watched.until(lambda: watched.share(greenish) > 0.3, "the picture is on screen")
    page.locator(".shot-label img").first.wait_for()
    eyes.look("a shot from a picture")
    press("#camera")
    page.locator("#camera-take:enabled").wait_for()
    eyes.look("the camera")
    press("#camera-take")
    watched.until(lambda: page.locator(".tile[data-image]").count() == 2, "the moment is on screen")
    give(watched, "paste", picture((40, 90, 230)))
    watched.until(lambda: page.locator(".tile[data-image]").count() == 3, "a pasted picture is too")

    page.fill("#dial", "80")
    steps = page.locator("#buy-steps")
    watched.until(lambda: steps.inner_text().isdigit() and int(steps.inner_text()) > 8, "the dial buys steps")
    press("#advanced summary")
    page.fill("#fixed", "2")
    page.press("#fixed", "Tab")
    watched.until(lambda: steps.inner_text() == "2", "a fixed budget holds")
    eyes.look("the dial")

    press("#render")
    watched.until(lambda: page.locator("#renders progress").first.is_visible(), "a render is on its way")
    eyes.look("a render on its way")
    for button in ("#recording", "#score", "#snapshot"):
        with page.expect_download():
            press(button)
    watched.until(lambda: "ready" in page.inner_text("#renders"), "the render is done")
    press("#renders button")
    watched.until(lambda: page.evaluate("() => document.getElementById('render-video').videoWidth") > 0, "it plays")
    eyes.look("the render")
    press("#render-close")
    press("#record")
    page.wait_for_timeout(1200)
    with page.expect_download():
        press("#record")

    press(".tile:nth-child(2)")
    page.locator(".branch").wait_for()
    page.locator("#timeline").scroll_into_view_if_needed()
    eyes.look("a branch")
    if page.get_attribute("#instruments", "open") is None:
        press("#instruments summary")
    watched.until(lambda: page.locator(".chart output", has_text="–").count() == 0, "all six charts have a value")
    page.locator(".chart").last.scroll_into_view_if_needed()
    eyes.look("instruments")

    page.evaluate("() => scrollTo(0, 0)")
    press("#share")
    watched.until(lambda: "cannot steer" in page.inner_text("#toast"), "a link to watch by")
    seen = tab(**device).open(page.evaluate("() => navigator.clipboard.readText()")).playing()
    Eyes(seen, name + "-watching").look("a view link")
    press("#pause")
    watched.state("paused")
    eyes.look("paused")
    press("#pause")
    watched.state("live")
    page.route("**/v1/sessions/**", lambda route: route.abort())  # the server is away for as long as one looks
    server.cut()
    watched.state("reconnecting")
    eyes.look("reconnecting")
    page.unroute("**/v1/sessions/**")
    watched.state("live", 30_000)
    give(watched, "drop", clip(), "walk.mp4", "video/mp4")
    page.wait_for_selector("body[data-state=connecting], body[data-state=warming]", state="attached")
    watched.state("live", 30_000)
    press("#stop")
    watched.state("ended")
    eyes.look("ended")
    server.fill()
    press("#veil-action")
    watched.state("refused")
    eyes.look("refused")
    server.accept_all()
    watched.state("live", 30_000)
    assert watched.complaints == []
