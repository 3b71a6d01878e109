"""Every error a user can cause, as types. The message says what was wrong, with the value, and what to do."""

from __future__ import annotations


class FarcastError(Exception):
    """Base of all errors meant for a user. `code` is stable and machine-readable, the message is for people."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ModelError(FarcastError):
    """A checkpoint that cannot be opened or cannot do what was asked of it."""

    code = "invalid_model"


class PromptError(FarcastError):
    """A prompt that cannot be encoded."""

    code = "invalid_prompt"


class MediaError(FarcastError):
    """An image or a clip that cannot be used."""

    code = "invalid_media"


class RequestError(FarcastError):
    """A number out of range: steps, sizes, chunks, guidance."""

    code = "invalid_request"
