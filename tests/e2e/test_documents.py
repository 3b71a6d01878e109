"""Files that hold a take: presets and scores are saved, opened, and refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.browser_page import Tab, bluish
from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs, give, greenish, live, picture

pytestmark = pytest.mark.browser
BLUE = "a big blue circle on a black background"


def take(watched: Tab) -> str:
    return str(watched.page.evaluate("() => sessionStorage.getItem('farcast.take')"))


def test_a_preset_holds_picture_prompt_and_dial(tab: Tabs, server: FaultyServer, tmp_path: Path) -> None:
    watched = tab().open(server.url).playing()
    live(watched, BLUE)
    give(watched, "drop", picture())
    watched.until(lambda: watched.share(greenish) > 0.3, "the picture is on screen")
    watched.page.fill("#dial", "10")
    watched.page.wait_for_timeout(500)
    with watched.page.expect_download() as got:
        watched.page.click("#preset")
    got.value.save_as(tmp_path / "preset.json")
    preset = json.loads((tmp_path / "preset.json").read_text())
    assert (preset["farcast_preset"], preset["prompt"]["text"], preset["dial"]["latency_ms"]) == (1, BLUE, 350)
    other = tab().open(server.url).playing()
    before = take(other)
    other.page.set_input_files("#file", str(tmp_path / "preset.json"))
    other.until(lambda: take(other) != before, "a new take begins from it")
    other.playing()
    other.until(lambda: other.share(greenish) > 0.3, "with its picture")
    assert other.page.input_value("#prompt") == BLUE
    assert other.page.input_value("#dial") == "11"  # the dial's grain


def test_a_score_is_played_again(tab: Tabs, server: FaultyServer, tmp_path: Path) -> None:
    watched = tab().open(server.url).playing()
    watched.until(lambda: watched.page.locator(".tile[data-shown]").count() >= 2, "chunks were on screen")
    live(watched, BLUE)
    with watched.page.expect_download() as got:
        watched.page.click("#score")
    got.value.save_as(tmp_path / "take.json")
    score = json.loads((tmp_path / "take.json").read_text())
    watched.page.set_input_files("#file", str(tmp_path / "take.json"))
    watched.page.wait_for_selector("#score-dialog[open]")
    assert "a big red circle" in watched.page.inner_text("#score-summary")
    assert watched.page.inner_text("#score-command") == "farcast render take.json --steps 32 -o take.mp4"
    before = take(watched)
    watched.page.click("#score-play")
    watched.until(lambda: take(watched) != before, "a new take")
    watched.playing()
    watched.until(lambda: watched.share(bluish) > 0.05, "its second prompt comes in by itself")
    assert [session.seed for session in server.sessions.values()] == [score["seed"]]


def test_other_json_is_refused_with_a_reason(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    for document, said in (
        ({"score": 99, "seed": 1, "entries": []}, "is a score of version 99; this Farcast reads up to 1"),
        ({"score": 1, "seed": 1, "chunks": 3, "entries": []}, "is a score without a prompt"),
        ({"seed": "edited by hand"}, "JSON, but no score"),
        ({"farcast_preset": 9}, "is a preset of version 9"),
        ({"farcast_preset": 1}, "is a preset without a prompt"),
    ):
        give(watched, "drop", json.dumps(document).encode(), "take.json", "application/json")
        watched.until(lambda said=said: said in watched.page.inner_text("#image-error"), said)
    assert watched.page.get_attribute("body", "data-state") == "live"
