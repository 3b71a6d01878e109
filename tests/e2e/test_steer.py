"""Steering by the page: prompts, mixes, the dial, pictures, the timeline."""

from __future__ import annotations

import re

import pytest

from tests.support.browser_page import bluish, reddish
from tests.support.faults import FaultyServer
from tests.support.film import clip
from tests.support.page_actions import Tabs, give, greenish, picture, upload

pytestmark = pytest.mark.browser


def test_a_prompt_is_pending_then_live_and_changes_the_picture(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.say("a big blue circle on a white background")
    line = watched.page.locator("#prompt-log li").first
    assert line.get_attribute("data-status") in ("pending", "live")
    watched.until(lambda: line.get_attribute("data-status") == "live", "the prompt is live")
    mark = line.locator(".mark").inner_text()
    assert mark.startswith("live · 0:0")
    assert mark.endswith("s")
    watched.until(lambda: watched.share(bluish) > 0.05 and watched.share(reddish) < 0.01, "blue, and no red any more")
    assert watched.page.locator("#prompt-log li").nth(1).get_attribute("data-status") == "over"
    assert "Now showing: a big blue circle" in watched.page.locator("#announce").inner_text()


def test_history_examples_and_an_empty_prompt(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    box = watched.page.locator("#prompt")
    watched.page.press("#prompt", "Enter")
    assert "Write what" in watched.page.locator("#announce").inner_text()
    watched.say("first red")
    watched.say("second blue")
    box.fill("a draft")
    box.press("ArrowUp")
    assert box.input_value() == "second blue"
    box.press("ArrowUp")
    assert box.input_value() == "first red"
    box.press("ArrowDown")
    box.press("ArrowDown")
    assert box.input_value() == "a draft"
    watched.page.locator("#examples button").nth(2).click()
    assert box.input_value() == "a green square drifting on a white background"
    watched.until(lambda: watched.share(greenish) > 0.02, "the example is on screen")


def test_two_prompts_at_once_the_older_is_replaced_and_a_bad_one_refused(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.say("a red one")
    watched.say("a blue one")
    older = watched.page.locator("#prompt-log li").nth(1)
    watched.until(lambda: older.get_attribute("data-status") in ("replaced", "over"), "the older prompt is answered")
    watched.say("x" * 2001)
    why = watched.page.locator("#prompt-log .why")
    why.wait_for()
    assert "2000" in why.inner_text()
    assert len(watched.page.locator("#prompt").input_value()) == 2001  # nothing typed is lost


def test_the_dial_changes_the_steps_and_does_not_cut(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    steps = watched.page.locator("#buy-steps")
    watched.until(lambda: steps.inner_text().isdigit(), "steps are reported")
    before = int(steps.inner_text())
    watched.page.evaluate(
        "() => { window.states = []; new MutationObserver(() => states.push(document.body.dataset.state))"
        ".observe(document.body, {attributes: true, attributeFilter: ['data-state']}); }"
    )
    take = watched.page.evaluate("() => sessionStorage.getItem('farcast.take')")
    watched.page.focus("#dial")
    for _ in range(20):
        watched.page.keyboard.press("ArrowRight")
    watched.until(lambda: int(steps.inner_text()) > before, "more time buys more steps")
    assert "answer within" in (watched.page.get_attribute("#dial", "aria-valuetext") or "")
    watched.page.locator("#advanced summary").click()
    watched.page.fill("#fixed", "3")
    watched.page.press("#fixed", "Tab")
    watched.until(lambda: steps.inner_text() == "3", "a fixed budget holds")
    assert watched.page.evaluate("() => window.states") == []  # it was live all along
    assert watched.page.evaluate("() => sessionStorage.getItem('farcast.take')") == take
    assert watched.page.locator("#stat-steps").inner_text() == "3"


def test_a_picture_however_it_comes_is_what_the_shot_starts_from(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    upload(watched, "meadow.png", "image/png", picture())
    watched.until(lambda: watched.share(greenish) > 0.3, "the chosen picture is on screen")
    watched.until(lambda: "goes on from this picture" in watched.page.locator("#given-text").inner_text(), "it says so")
    give(watched, "drop", picture((40, 90, 230)))
    watched.until(lambda: watched.share(bluish) > 0.3, "a dropped one")
    give(watched, "paste", picture())
    watched.until(lambda: watched.share(greenish) > 0.3, "a pasted one")
    tiles = watched.page.locator(".tile[data-image]")
    watched.until(lambda: tiles.count() == 3, "the timeline marks them")
    assert "from a picture" in (tiles.last.get_attribute("aria-label") or "")
    assert watched.page.evaluate("() => document.querySelector('.shot-label img').naturalWidth") == 200


def test_pause_resume_stop_and_again(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.page.click("#pause")
    watched.state("paused")
    assert watched.page.locator("#pause-text").inner_text() == "Resume"
    watched.page.wait_for_timeout(600)
    before = watched.pixels()
    watched.page.wait_for_timeout(500)
    now = watched.pixels()  # encoded anew twice a second for whoever joins: the same but for rounding
    assert max(abs(a - b) for old, new in zip(before, now, strict=True) for a, b in zip(old, new, strict=True)) < 4
    watched.page.click("#pause")
    watched.state("live")
    watched.page.click("#stop")
    watched.state("ended")
    assert watched.page.locator("#veil-title").inner_text() == "The take has ended"
    watched.say("a blue circle")  # a prompt after the end begins a new take
    watched.playing()
    watched.until(lambda: watched.share(bluish) > 0.03, "the new take shows it")


def test_the_timeline_goes_back_by_keyboard(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    tiles = watched.page.locator(".tile")
    watched.until(lambda: tiles.count() >= 5, "chunks line up")
    watched.page.locator(".tile[tabindex='0']").focus()
    watched.page.keyboard.press("Home")
    watched.page.keyboard.press("ArrowRight")
    label = watched.page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    assert re.search(r"\b\d+ steps?: go back to here$", label)
    second = watched.page.locator(".tile[tabindex='0']")
    assert second.get_attribute("aria-label") == label
    watched.page.keyboard.press("Enter")
    watched.until(lambda: tiles.count() <= 3, "later chunks are gone")
    watched.until(lambda: tiles.count() >= 5, "and made anew")
    numbers = [int((t.get_attribute("aria-label") or "").split(",")[0].split()[1]) for t in tiles.all()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_two_prompts_are_mixed_by_a_slider(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    page = watched.page
    page.fill("#prompt", "a big red circle on a black background")
    page.click("#mix-toggle")
    page.fill("#prompt-b", "a big blue circle on a black background")
    page.press("#prompt-b", "Enter")
    line = page.locator("#prompt-log li").first
    watched.until(lambda: line.get_attribute("data-status") == "live", "the mix is live")
    assert line.locator(".text span").all_text_contents() == [
        "50 % a big red circle on a black background",
        "50 % a big blue circle on a black background",
    ]
    purple = lambda r, g, b: r > 70 and b > 70 and g < 90  # noqa: E731
    watched.until(lambda: watched.share(purple) > 0.05, "both are seen at once")
    lines = page.locator("#prompt-log li").count()
    page.focus("#mix")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#mix", "aria-valuetext") == "40 percent the first prompt, 60 percent the second"
    watched.until(lambda: line.inner_text().startswith("40 %") and "live" in line.inner_text(), "the mix follows")
    assert page.locator("#prompt-log li").count() == lines  # one line, however often the slider moves
    assert page.locator(".shot").count() <= 2  # the mix is one; what was made before the page listened may have none
    page.keyboard.press("End")
    watched.until(lambda: watched.share(bluish) > 0.05 and watched.share(purple) < 0.02, "all of the second")
    page.reload()
    watched.playing()
    page.click("#mix-toggle")
    assert page.input_value("#prompt-b") == "a big blue circle on a black background"  # nothing typed is lost


def test_an_earlier_prompt_is_chosen_from_the_list(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.say("first red")
    watched.say("second blue")
    watched.page.click("#history")
    past = watched.page.locator("#history-list button")
    assert past.all_inner_texts() == ["second blue", "first red"]
    past.nth(1).click()
    assert watched.page.input_value("#prompt") == "first red"
    assert watched.page.evaluate("() => document.activeElement.id") == "prompt"
    watched.page.click("#history")
    watched.page.click("#history-forget")
    assert watched.page.locator("#history-list button").count() == 0
    watched.page.keyboard.press("Escape")
    watched.page.locator("#prompt-log .text", has_text="second blue").click()  # a line of the take comes back as well
    assert watched.page.input_value("#prompt") == "second blue"


def test_a_clip_is_gone_on_from_in_a_new_take(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    take = watched.page.evaluate("() => sessionStorage.getItem('farcast.take')")
    give(watched, "drop", clip(), "walk.mp4", "video/mp4")
    watched.until(lambda: watched.page.evaluate("() => sessionStorage.getItem('farcast.take')") != take, "a new take")
    watched.playing()
    watched.until(lambda: watched.share(greenish) > 0.02, "it goes on from the clip")
