"""Bad input and bad luck: the page says what happened, offers the way on, and loses nothing that was typed."""

from __future__ import annotations

import pytest

from tests.support.browser_page import bluish
from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs, give, greenish, picture, upload

pytestmark = pytest.mark.browser


def test_bad_pictures_are_refused_with_a_reason(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    error = watched.page.locator("#image-error")
    upload(watched, "notes.txt", "text/plain", b"hello")
    watched.until(lambda: "“notes.txt” is not a picture" in error.inner_text(), "a text is refused")
    assert watched.page.locator("#image-again").is_hidden()  # to send it again would not help
    assert watched.page.locator("#given").is_hidden()
    upload(watched, "broken.png", "image/png", b"\x89PNG\r\n\x1a\nnothing")
    watched.until(lambda: "cannot be read" in error.inner_text(), "a damaged picture is refused")
    server.refuse_images()
    upload(watched, "fine.png", "image/png", picture())
    watched.until(lambda: "not an image that can be read" in error.inner_text(), "the server's reason is shown")
    server.accept_all()
    upload(watched, "fine.png", "image/png", picture())
    watched.until(lambda: error.is_hidden() and watched.share(greenish) > 0.3, "and the next one works")


def test_the_camera(tab: Tabs, server: FaultyServer) -> None:
    refused = tab().open(server.url).playing()
    refused.page.click("#camera")
    refused.until(lambda: "not allowed" in refused.page.locator("#camera-error").inner_text(), "a refusal is explained")
    refused.page.keyboard.press("Escape")
    allowed = tab(permissions=["camera"]).open(server.url).playing()
    allowed.page.click("#camera")
    allowed.page.locator("#camera-take:enabled").click(timeout=10_000)
    allowed.until(lambda: "goes on from" in allowed.page.locator("#given-text").inner_text(), "the moment is on screen")


def test_a_lost_connection_is_mended_on_the_same_take(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    take = watched.page.evaluate("() => sessionStorage.getItem('farcast.take')")
    server.cut()
    watched.state("reconnecting")
    watched.say("a blue circle")  # said into the silence
    watched.state("live", 30_000)
    assert watched.page.evaluate("() => sessionStorage.getItem('farcast.take')") == take
    watched.until(lambda: watched.share(bluish) > 0.03, "what was said while away is not lost")


def test_a_restarted_server_offers_a_new_take(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.say("a big blue circle on a black background")
    watched.until(lambda: watched.share(bluish) > 0.05, "the prompt is on screen")
    watched.page.fill("#prompt", "half a thou")
    server.forget()
    watched.state("lost")
    assert "no longer on the server" in watched.page.locator("#veil-detail").inner_text()
    assert watched.page.locator("#prompt").input_value() == "half a thou"
    watched.page.click("#veil-action")
    watched.playing()
    watched.until(lambda: watched.share(bluish) > 0.05, "the new take goes on with the prompt")
    assert watched.page.locator("#prompt").input_value() == "half a thou"


def test_a_full_server_says_so_and_the_page_tries_again(tab: Tabs, server: FaultyServer) -> None:
    server.fill()
    watched = tab().open(server.url)
    watched.state("refused")
    assert "All places on this server are taken" in watched.page.locator("#veil-detail").inner_text()
    assert watched.page.locator("#veil-action").inner_text().startswith("Trying again in")
    server.accept_all()
    watched.playing()


def test_a_reload_goes_on_with_the_take_and_keeps_the_draft(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    take = watched.page.evaluate("() => sessionStorage.getItem('farcast.take')")
    watched.page.fill("#prompt", "not sent yet")
    watched.page.reload()
    watched.playing()
    assert watched.page.evaluate("() => sessionStorage.getItem('farcast.take')") == take
    assert watched.page.locator("#prompt").input_value() == "not sent yet"


def test_a_picture_whose_upload_broke_off_is_kept_and_sent_again(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.page.route("**/image", lambda route: route.abort("connectionreset"))
    give(watched, "drop", picture())
    again = watched.page.locator("#image-again")
    again.wait_for()
    assert "does not answer" in watched.page.inner_text("#image-error")
    assert watched.page.locator("#given-thumb").is_visible()
    watched.page.unroute("**/image")
    again.click()
    watched.until(lambda: watched.share(greenish) > 0.3, "the same picture, sent again")
    assert watched.page.locator("#image-error").is_hidden()


HUGE = """() => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(21 * 2 ** 20)], "huge.png", {type: "image/png"}));
    dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
}"""


def test_too_large_a_picture_and_files_that_are_none(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    error = watched.page.locator("#image-error")
    watched.page.evaluate(HUGE)
    watched.until(lambda: "larger than 20 MB" in error.inner_text(), "its size is named")
    upload(watched, "torn.mp4", "video/mp4", b"\0\0\0\x18ftypmp42 and no more")
    watched.until(lambda: "cannot be read as a video" in error.inner_text(), "a damaged clip is refused", 20)
    assert watched.page.get_attribute("body", "data-state") == "live"  # and the take goes on


def test_a_prompt_said_while_the_server_restarts_begins_the_new_take(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.page.route("**/v1/sessions/**", lambda route: route.abort())  # it is down, for the picture as well
    server.forget()
    watched.state("reconnecting")
    watched.say("a big blue circle on a white background")
    watched.page.click("#mix-toggle")
    watched.page.fill("#prompt-b", "half a second thought")
    watched.page.unroute("**/v1/sessions/**")  # it is up again, and knows nothing
    watched.state("lost", 30_000)
    watched.page.click("#veil-action")
    watched.playing()
    watched.until(lambda: watched.share(bluish) > 0.05, "the new take shows what was asked for last")
    assert watched.page.input_value("#prompt-b") == "half a second thought"


def test_a_picture_given_to_a_full_server_is_there_when_it_has_room(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    watched.page.click("#stop")
    watched.state("ended")
    server.fill()
    give(watched, "drop", picture())
    watched.state("refused")
    server.accept_all()
    watched.page.click("#veil-action")
    watched.playing()
    watched.until(lambda: watched.share(greenish) > 0.3, "the take begins from the picture")
