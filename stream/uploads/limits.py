"""What the decoding of one upload may take: processor time, memory, files. The kernel enforces it (setrlimit(2))."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of one decoding. `seconds`: from hand-over to the answer; `cpu_seconds`: of processor time; `memory`: bytes of
    address space, libraries included (about 250 MB)."""

    seconds: float
    cpu_seconds: int
    memory: int
    nice: int = 0  # added to the process's niceness, so that long work leaves the sessions their processor

    def apply(self) -> None:
        """To this process, for good. No file, socket or process can be opened after this.

        A limit that the platform does not know is left out (macOS has no working RLIMIT_AS).
        """
        os.nice(self.nice)
        bounds = {
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory,
            "RLIMIT_NOFILE": 0,  # what is open stays open
            "RLIMIT_FSIZE": 0,
            "RLIMIT_NPROC": 0,
            "RLIMIT_CORE": 0,
        }
        for name, most in bounds.items():
            try:
                resource.setrlimit(getattr(resource, name), (most, most))
            except (AttributeError, ValueError, OSError):
                continue
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, self.seconds + 1)  # should the server be gone, that would kill it


IMAGE = Limits(seconds=20.0, cpu_seconds=8, memory=1280 * 2**20)
CLIP = Limits(seconds=30.0, cpu_seconds=20, memory=1792 * 2**20, nice=5)

CLIP_SECONDS = 20.0  # of an uploaded clip that are used, from its end
CLIP_FRAMES = 4000  # that are decoded for them at most
CLIP_BYTES = 400 * 2**20  # of the frames that come back
MESSAGE_BYTES = 4096  # of a job's or an answer's header
