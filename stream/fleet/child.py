"""Run a command that ends with its parent: `python -m stream.fleet.child PARENT COMMAND...` (Linux).

Ray ends a worker's process without asking; its server must not go on without a supervisor and keep the device.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); kept across execve


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before that
            raise SystemExit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
