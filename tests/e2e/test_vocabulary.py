"""The words that the model knows: offered to build a prompt from, and missed where a prompt has others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs
from tests.support.running_server import Running, running

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def closed() -> Iterator[Running]:
    """A server whose model has a closed vocabulary, a step count and a range of guidance."""
    with running("fake?step=0.01&closed=1") as server:
        yield server


def test_words_build_a_prompt_and_unknown_ones_are_named(tab: Tabs, closed: Running) -> None:
    watched = tab().open(closed.url + "/").playing()
    page = watched.page
    page.locator("#words summary").click()
    assert page.locator("#word-shape option").all_inner_texts() == ["circle", "star"]
    page.select_option("#word-shape", "star")
    page.select_option("#word-colour", "blue")
    assert page.locator("#prompt").input_value() == "a blue star"
    watched.say("a blue cat and a star")
    remark = page.locator("#unknown")
    watched.until(lambda: "“cat”, “and”" in remark.inner_text(), "the words that mean nothing are named")
    watched.say("a blue star")
    watched.until(lambda: not remark.is_visible(), "nothing is missed any more")
    assert page.locator("#ceiling").input_value() == "4"
    guidance = page.locator("#guidance")
    assert (guidance.get_attribute("min"), guidance.get_attribute("max")) == ("1", "1.5")


def test_a_model_of_free_text_offers_no_words(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.say("a cat")
    assert not watched.page.locator("#words").is_visible()
    assert not watched.page.locator("#unknown").is_visible()
