"""What a visitor's hands do, and files for them to give."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from tests.support.browser_page import Tab

Tabs = Callable[..., Tab]
GREEN = (30, 200, 60)


def picture(colour: tuple[int, int, int] = GREEN, size: int = 200) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(out, "PNG")
    return out.getvalue()


def greenish(r: int, g: int, b: int) -> bool:
    return g > 110 and g > 1.5 * r and g > 1.5 * b


def upload(tab: Tab, name: str, kind: str, data: bytes) -> None:
    tab.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})


def give(tab: Tab, how: str, data: bytes, name: str = "meadow.png", kind: str = "image/png") -> None:
    """Drop or paste a file on the picture."""
    event = "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})"
    if how == "paste":
        event = "new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})"
    tab.page.evaluate(
        "([bytes, name, type]) => { const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(bytes)], name, {type}));"
        f"document.getElementById('stage').dispatchEvent({event}); }}",
        [list(data), name, kind],
    )


def live(tab: Tab, text: str) -> None:
    """Send a prompt and wait until the page says it is on screen."""
    tab.say(text)
    line = tab.page.locator("#prompt-log li").first
    tab.until(lambda: line.get_attribute("data-status") == "live", f"{text!r} is live")
