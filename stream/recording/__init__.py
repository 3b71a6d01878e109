"""What a session showed, as a file: `timeline` places the packets, `fmp4` writes them, `recording` keeps one session's,
`store` keeps all of a server's within bounds. Nothing here is waited for by what is on the air."""

from .recording import Recording
from .store import Recordings

__all__ = ["Recording", "Recordings"]
