"""What the programs that picture the page share: a browser, a pointer one can see, and the hands that play."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, sync_playwright

from bench.transport.browser_viewer import FLAGS, find_chromium

LIVE = "body[data-first-frame-ms][data-state=live]"

# Screencasts show no pointer: one of the page's own, which follows the mouse.
POINTER = """() => {
    const dot = document.createElement("div");
    dot.style.cssText = "position:fixed;z-index:99;width:22px;height:22px;margin:-11px;border-radius:50%;" +
        "background:rgb(255 255 255/.55);border:2px solid rgb(0 0 0/.55);pointer-events:none;left:-40px";
    document.body.append(dot);
    addEventListener("pointermove", (e) => { dot.style.left = e.clientX + "px"; dot.style.top = e.clientY + "px"; });
}"""

DRAG = """() => {
    const data = new DataTransfer();
    data.items.add(new File([""], "picture.png", {type: "image/png"}));
    dispatchEvent(new DragEvent("dragenter", {dataTransfer: data, bubbles: true, cancelable: true}));
}"""
DROP = """(bytes) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "picture.png", {type: "image/png"}));
    document.getElementById("stage").dispatchEvent(
        new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """An installed Chromium, or Playwright's own where there is none."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser
        browser.close()


def picture() -> bytes:
    """Something to drop: a white ring on violet."""
    image = Image.new("RGB", (512, 512), (92, 52, 148))
    ImageDraw.Draw(image).ellipse((136, 136, 376, 376), fill=(250, 246, 236))
    ImageDraw.Draw(image).ellipse((206, 206, 306, 306), fill=(92, 52, 148))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def examples(page: Page) -> list[str]:
    """The prompts the loaded model shows best."""
    texts: list[str] = page.locator("#examples button").all_inner_texts()
    return texts


def wait_for_prompt(page: Page, seconds: float = 60) -> None:
    """Until the newest prompt is on screen. (The page's policy forbids the evaluated conditions of Playwright.)"""
    line = page.locator("#prompt-log li").first
    for _ in range(round(seconds * 10)):
        if line.get_attribute("data-status") == "live":
            return
        page.wait_for_timeout(100)


def drop(page: Page, data: bytes | None = None, *, hover_ms: float = 0) -> None:
    """Drop a picture on the stage, seen for a while in the air."""
    if hover_ms:
        page.evaluate(DRAG)
        page.wait_for_timeout(hover_ms)
    page.evaluate(DROP, list(data or picture()))


def open_page(browser: Browser, url: str, **options: Any) -> Page:
    page = browser.new_page(**options)
    page.goto(url)
    page.wait_for_selector(LIVE, timeout=120_000)
    return page
