"""The advanced fields: what cannot be used is named, and nothing is ended before its successor has begun."""

from __future__ import annotations

import pytest

from tests.support.browser_page import Tab
from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs

pytestmark = pytest.mark.browser


def take(watched: Tab) -> str:
    return str(watched.page.evaluate("() => sessionStorage.getItem('farcast.take')"))


def test_values_are_checked_before_the_old_take_ends(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    page, before = watched.page, take(watched)
    page.click("#advanced summary")
    error = page.locator("#advanced-error")
    page.fill("#floor", "40")
    assert "Fewest steps (40) is above most steps (32). Not applied." in error.inner_text()
    page.press("#floor", "Tab")
    page.fill("#floor", "1")
    assert error.is_hidden()
    page.fill("#guidance", "90")
    assert "Guidance must be" in error.inner_text()
    page.click("#advanced-take")
    page.wait_for_timeout(500)
    assert take(watched) == before
    assert page.get_attribute("body", "data-state") == "live"
    page.fill("#guidance", "")
    page.fill("#seed", "7")
    page.click("#advanced-take")
    watched.until(lambda: take(watched) != before, "values that can be used begin a new take")
    watched.playing()
    watched.until(lambda: [session.seed for session in server.sessions.values()] == [7], "with its seed, and alone")


def test_a_refused_start_leaves_the_running_take(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    before = take(watched)
    server.layer.refusals["/v1/sessions"] = (422, "guidance", "This model takes no guidance above 5.", {})
    watched.page.click("#new-take")
    watched.until(lambda: "no guidance above 5" in watched.page.inner_text("#toast"), "the reason is shown")
    assert take(watched) == before
    assert watched.page.get_attribute("body", "data-state") == "live"
    assert len(server.sessions) == 1


def test_a_full_server_makes_room_by_ending_ones_own_take(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    before = take(watched)
    places = server.manager.config.max_sessions
    object.__setattr__(server.manager.config, "max_sessions", 1)
    try:
        watched.page.click("#new-take")
        watched.until(lambda: take(watched) != before, "the new take has begun")
        watched.playing()
        assert len(server.sessions) == 1
    finally:
        object.__setattr__(server.manager.config, "max_sessions", places)
