"""The WHEP player of another maker, for tests: whip-whep on libwebrtc for Node (tests/players/watch.mjs)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.timing import slack

PLAYERS = Path(__file__).resolve().parents[1] / "players"
INSTALLED = (PLAYERS / "node_modules/@roamhq/wrtc").is_dir() and shutil.which("node") is not None


def watch(url: str, token: str, seconds: float, *options: str) -> list[dict[str, Any]]:
    """What the player says, line by line."""
    command = ["node", str(PLAYERS / "watch.mjs"), url, token, str(seconds * min(6.0, slack())), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    return lines


def of(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]
