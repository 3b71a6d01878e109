"""`python -m farcast` is `farcast`."""

from __future__ import annotations

from .cli import main

main()
