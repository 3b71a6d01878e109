"""Progress bars of diffusers and transformers while they load weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_bars() -> Iterator[None]:
    """No "Loading weights" bars inside the block, unless FARCAST_VERBOSE is set. Downloads keep theirs."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    shown = [of for of in (of_diffusers, of_transformers) if of.is_progress_bar_enabled()]
    if os.environ.get("FARCAST_VERBOSE"):
        shown = []
    for of in shown:
        of.disable_progress_bar()
    try:
        yield
    finally:
        for of in shown:
            of.enable_progress_bar()
