"""The timeline follows the newest chunk, goes back with the old or the present prompt, and keeps branches and past."""

from __future__ import annotations

import re

import pytest

from tests.support.browser_page import Tab, bluish, reddish
from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs, live

pytestmark = pytest.mark.browser

RED, BLUE = "a big red circle on a black background", "a big blue circle on a black background"


def numbers(watched: Tab) -> list[int]:
    labels = watched.page.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.getAttribute('aria-label'))")
    return [int(re.match(r"Chunk (\d+)", label)[1]) for label in labels]  # type: ignore[index]


def shown(watched: Tab, count: int) -> None:
    watched.until(lambda: watched.page.locator(".tile[data-shown]").count() >= count, f"{count} chunks were on screen")


def red_then_blue(watched: Tab) -> None:
    live(watched, RED)
    shown(watched, 4)
    live(watched, BLUE)
    watched.until(lambda: watched.share(bluish) > 0.05, "the second prompt is on screen")


def newest_in_sight(watched: Tab) -> bool:
    return watched.page.evaluate(  # type: ignore[no-any-return]
        "() => { const strip = document.getElementById('timeline');"
        " return strip.scrollWidth > strip.clientWidth + 100"
        " && strip.scrollLeft + strip.clientWidth > strip.scrollWidth - 100; }"
    )


def test_going_back_restores_prompt_and_dial_or_keeps_the_present_ones(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    red_then_blue(watched)
    watched.page.locator(".tile").nth(2).click()
    assert "a big red circle" in watched.page.inner_text("#back-then")
    assert "a big blue circle" in watched.page.inner_text("#back-now")
    watched.page.click("#back-now")
    watched.page.locator(".branch").wait_for()
    watched.page.wait_for_timeout(1500)
    assert watched.share(bluish) > 0.05
    first = numbers(watched)[1]
    watched.page.locator(".tile").nth(1).click()
    watched.page.click("#back-then")
    watched.until(lambda: watched.share(reddish) > 0.05, "the prompt of that chunk is on screen again")
    made = numbers(watched)
    assert made == list(range(made[0], made[0] + len(made)))
    assert first in made


def test_staying_changes_nothing(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    red_then_blue(watched)
    watched.page.locator(".tile").nth(1).click()
    watched.page.keyboard.press("Escape")
    watched.page.wait_for_timeout(800)
    assert watched.page.locator(".branch").count() == 0


def test_a_branch_is_returned_to_with_its_prompts(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    red_then_blue(watched)
    fork = watched.page.locator(".tile").nth(1)
    number = (fork.get_attribute("aria-label") or "").split(",")[0].split()[1]
    fork.click()
    watched.page.click("#back-then")
    branch = watched.page.locator(".branch")
    branch.wait_for()
    label = branch.get_attribute("aria-label") or ""
    assert label.startswith(f"Branch left at chunk {number}, ")
    assert "a big blue circle" in label
    assert branch.locator("canvas").count() >= 3
    watched.until(lambda: watched.share(reddish) > 0.05, "as it was before the branch")
    branch.click()
    watched.until(lambda: watched.share(bluish) > 0.05, "its red chunks, and then its blue ones")
    made = numbers(watched)
    assert made == list(range(made[0], made[0] + len(made)))


def test_it_follows_after_a_click_on_an_old_tile_and_in_the_next_take(tab: Tabs, server: FaultyServer) -> None:
    watched = tab(viewport={"width": 330, "height": 800}).open(server.url).playing()
    watched.until(lambda: newest_in_sight(watched), "the strip is wider than the page and at its end", 40)
    watched.page.evaluate("() => document.getElementById('timeline').scrollTo(0, 0)")
    watched.page.locator(".tile").nth(1).click()
    watched.until(lambda: newest_in_sight(watched), "it follows after going back", 40)
    watched.page.evaluate("() => document.getElementById('timeline').scrollTo(0, 0)")
    watched.page.wait_for_timeout(300)
    watched.page.click("#new-take")
    watched.until(lambda: numbers(watched)[:1] == [0] or watched.page.locator(".tile").count() < 3, "a new take")
    watched.until(lambda: newest_in_sight(watched), "the next take is followed", 40)


def test_a_reload_rebuilds_tiles_and_prompts(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    red_then_blue(watched)
    count = watched.page.locator(".tile").count()
    watched.page.reload()
    watched.playing()
    watched.until(lambda: watched.page.locator(".tile").count() >= count, "the chunks from before are there")
    made = numbers(watched)
    assert made == list(range(len(made)))
    log = watched.page.locator("#prompt-log .text").all_inner_texts()
    assert log[:2] == [BLUE, RED]
    watched.page.locator(".tile").nth(1).click()  # one that this page has never shown
    assert "red circle" in watched.page.inner_text("#back-then")
    watched.page.click("#back-then")
    watched.until(lambda: watched.share(reddish) > 0.05, "and one can go back to it")
