"""The page of results: every bench writes its own section, and leaves the others' alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

HEAD = """# Transport, measured

What happens to a frame after the model has made it. A test pattern stands in for the model; every frame carries its
number, and whoever sees it reads the number back.
"""
ORDER = ("transport", "impairments", "soak")


def put(folder: Path, section: str, text: str) -> None:
    """Write `text` as this section of `transport.md` in `folder`."""
    assert section in ORDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "transport.md"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = {name: body for name in ORDER if (body := _section(old, name)) is not None}
    parts[section] = text.strip()
    body = "\n\n".join(f"<!-- {n} -->\n{parts[n]}\n<!-- /{n} -->" for n in ORDER if n in parts)
    path.write_text(f"{HEAD}\n{body}\n", encoding="utf-8")


def _section(text: str, name: str) -> str | None:
    match = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, re.DOTALL)
    return match.group(1) if match else None


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def where(machine: dict[str, object]) -> str:
    """One line about the machine and how busy it was."""
    return (
        f"{machine.get('cores')} cores ({machine.get('cpu')}), Python {machine.get('python')}, "
        f"aiortc {machine.get('aiortc')}, load {machine.get('load')} when it ended."
    )
