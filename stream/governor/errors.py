"""The one error a user of the governor can cause."""

from __future__ import annotations


class GovernorError(ValueError):
    """A dial or a setting that makes no sense. The message says what to send instead."""

    code = "invalid_dial"
