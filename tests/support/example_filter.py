"""The content filter of docs/filters.md, and ones that misbehave."""

from __future__ import annotations

from stream.uploads.filters import Subject


def refuse(subject: Subject) -> str | None:
    """No prompt with "secret", no picture and no frame that is mostly green."""
    if "secret" in subject.text:
        return "This word is not allowed here."
    if subject.pixels is not None:
        red, green, blue = subject.pixels.mean((0, 1))
        if green > 150 and green > red + 60 and green > blue + 60:
            return f"A {subject.kind} this green is not allowed here."
    return None


def broken(subject: Subject) -> str | None:
    raise RuntimeError("the filter is broken")
