"""A short animation of the page in use, for the README: python -m bench.page.animate URL docs/results/page.webp.

Records what Chromium shows while a prompt is typed, a picture is dropped and the dial is turned, and writes an animated
WebP below the size asked for. Needs a running server; plays whatever model that has.
"""

from __future__ import annotations

import argparse
import base64
import io
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

from .scenes import POINTER, chromium, drop, examples, open_page, wait_for_prompt

SIZE = (1280, 800)
WIDTH = 800
FPS = 8


class Film:
    """Frames as the browser presents them, with their times."""

    def __init__(self, page: Page) -> None:
        self.frames: list[tuple[float, bytes]] = []
        self.session = page.context.new_cdp_session(page)
        self.session.on("Page.screencastFrame", self._keep)

    def _keep(self, event: dict[str, Any]) -> None:
        self.frames.append((time.monotonic(), base64.b64decode(event["data"])))
        self.session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    def start(self) -> None:
        options = {"format": "jpeg", "quality": 92, "maxWidth": SIZE[0], "maxHeight": SIZE[1], "everyNthFrame": 2}
        self.session.send("Page.startScreencast", options)

    def stop(self) -> list[Image.Image]:
        """The frames at FPS: at each moment the newest that had come."""
        self.session.send("Page.stopScreencast")
        began, ended = self.frames[0][0], self.frames[-1][0]
        out, i = [], 0
        for n in range(int((ended - began) * FPS)):
            while i + 1 < len(self.frames) and self.frames[i + 1][0] <= began + n / FPS:
                i += 1
            with Image.open(io.BytesIO(self.frames[i][1])) as frame:
                height = round(WIDTH * frame.height / frame.width)
                out.append(frame.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS))
        return out


def perform(page: Page) -> None:
    """The piece: a prompt, a picture, the dial."""
    words = examples(page)
    page.mouse.move(900, 400)
    page.wait_for_timeout(1500)
    box = page.locator("#prompt")
    box.hover()
    box.click()
    page.keyboard.press("Control+a")
    page.keyboard.type(words[2], delay=28)
    page.wait_for_timeout(250)
    page.keyboard.press("Enter")
    wait_for_prompt(page)
    page.wait_for_timeout(2500)
    page.mouse.move(420, 330, steps=12)
    drop(page, hover_ms=900)
    page.wait_for_timeout(3500)
    dial = page.locator("#dial").bounding_box()
    assert dial is not None
    y = dial["y"] + dial["height"] / 2
    page.mouse.move(dial["x"] + 0.4 * dial["width"], y, steps=10)
    page.mouse.down()
    for share in (0.3, 0.2, 0.1, 0.03):
        page.mouse.move(dial["x"] + share * dial["width"], y, steps=3)
        page.wait_for_timeout(120)
    page.wait_for_timeout(1800)
    for share in (0.2, 0.4, 0.6, 0.75):
        page.mouse.move(dial["x"] + share * dial["width"], y, steps=3)
        page.wait_for_timeout(120)
    page.mouse.up()
    page.wait_for_timeout(2500)


def save(frames: list[Image.Image], target: Path, limit: int) -> int:
    """Write with the best quality that stays under `limit` bytes; returns that quality."""
    for quality in (70, 55, 42, 32, 24, 16, 10):
        out = io.BytesIO()
        frames[0].save(
            out, "WEBP", save_all=True, append_images=frames[1:], duration=round(1000 / FPS), loop=0, quality=quality,
            method=4, minimize_size=False, allow_mixed=True,
        )  # fmt: skip
        if out.tell() <= limit:
            break
    target.write_bytes(out.getvalue())
    return quality


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("target", type=Path)
    parser.add_argument("--limit", type=int, default=1_500_000, help="bytes")
    parser.add_argument("--scheme", choices=["light", "dark"], default="dark")
    options = parser.parse_args()
    with chromium() as browser:
        size = {"width": SIZE[0], "height": SIZE[1]}
        page = open_page(browser, options.url, viewport=size, color_scheme=options.scheme)
        page.evaluate(POINTER)
        page.wait_for_timeout(3000)
        film = Film(page)
        film.start()
        perform(page)
        frames = film.stop()
        page.click("#stop")
    quality = save(frames, options.target, options.limit)
    size_kb = options.target.stat().st_size / 1000
    print(f"{options.target}: {len(frames)} frames, {len(frames) / FPS:.1f} s, quality {quality}, {size_kb:.0f} kB")


if __name__ == "__main__":
    main()
