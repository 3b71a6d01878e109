"""Ways to look: the whole screen, the picture alone, the space bar, and what a shared link says about itself."""

from __future__ import annotations

import pytest

from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs

pytestmark = pytest.mark.browser


def test_space_pauses_unless_a_control_has_the_focus(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.page.focus("#prompt")
    watched.page.keyboard.press("Space")
    watched.page.wait_for_timeout(300)
    assert watched.page.get_attribute("body", "data-state") == "live"
    watched.page.evaluate("() => document.activeElement.blur()")
    watched.page.keyboard.press("Space")
    watched.state("paused")
    watched.say("a big blue circle")
    line = watched.page.locator("#prompt-log li").first
    watched.until(lambda: "pending: resume to see it" in line.inner_text(), "why it waits")
    watched.page.evaluate("() => document.activeElement.blur()")
    watched.page.keyboard.press("Space")
    watched.state("live")


def test_full_screen(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.page.click("#fullscreen")
    watched.until(lambda: watched.page.evaluate("() => document.fullscreenElement?.id") == "stage", "the whole screen")


def test_a_link_to_the_picture_alone(tab: Tabs, server: FaultyServer) -> None:
    steering = tab(permissions=["clipboard-read", "clipboard-write"]).open(server.url).playing()
    steering.page.click("#share-view")
    toast = steering.page.locator("#toast")
    steering.until(lambda: "loopback address: it works on this machine only" in toast.inner_text(), "a warning")
    watching = tab().open(steering.page.evaluate("() => navigator.clipboard.readText()")).playing()
    for hidden in ("header", ".panel", ".under", "#timeline", "#charts"):
        assert watching.page.locator(hidden).first.is_hidden(), hidden
    box = watching.page.locator("#stage").bounding_box()
    assert box is not None
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, 1280, 800)
