"""A list of prompts by time, for `farcast generate --prompt-file`."""

from __future__ import annotations

import re
from pathlib import Path

from stream.errors import ConfigError

LINE = re.compile(r"(?:(?P<frame>\d+)|(?P<seconds>\d+(?:\.\d+)?)s)\t(?P<prompt>.+)")
MAX_BYTES = 1 << 20


def read_prompts(path: Path, fps: float) -> list[tuple[int, str]]:
    """(pixel frame, prompt), the first at frame 0 and frames rising. Empty lines and lines that begin with # are left out.

    A line is FRAME<tab>PROMPT or SECONDS"s"<tab>PROMPT: `48\\ta blue star`, `3s\\ta blue star`. Raises ConfigError.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB.")
    found: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line.rstrip())
        if match is None:
            raise ConfigError(f"{path}, line {number}: give FRAME or SECONDS (as 2.5s), a tab, and a prompt.")
        frame = int(match["frame"]) if match["frame"] else round(float(match["seconds"]) * fps)
        if frame <= found[-1][0] if found else frame != 0:
            expected = f"after frame {found[-1][0]}" if found else "0 for the first prompt"
            raise ConfigError(f"{path}, line {number}: the time must be {expected}, not frame {frame}.")
        found.append((frame, match["prompt"].strip()))
    if not found:
        raise ConfigError(f"{path} has no prompt.")
    return found
