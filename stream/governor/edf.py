"""Earliest deadline first, step by step: whose unit of work runs next on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def pick(sessions: Iterable[T], *, deadline: Callable[[T], float] | None = None) -> T | None:
    """The session whose deadline is nearest, None when there is none. Ties go to the first.

    deadline: how to read it off a session; by default its attribute `deadline`.
    """
    return min(sessions, key=deadline or _deadline, default=None)


def _deadline(session: object) -> float:
    return float(getattr(session, "deadline"))  # noqa: B009
