"""The process that has the decoders imported and forks a child for each upload: a child starts in milliseconds.

It never sees a byte of an upload. Through its control socket (descriptor 0) come sockets, each the far end of a job's
channel. When the server closes its end (deadline, end of the server), the child is killed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import select
import signal
import socket

from models.media.formats import PICTURES
from stream.uploads.worker import serve_one

CONTROL_FD = 0
STDERR_FD = 2
MOST_FD = 65536


def main() -> None:
    """Until the control socket is closed."""
    _import_decoders()
    control = socket.socket(fileno=CONTROL_FD)
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    children: dict[int, socket.socket] = {}
    watched = select.poll()
    watched.register(control, select.POLLIN)
    watched.register(woken, select.POLLIN)
    while True:
        ready = {fd for fd, _ in watched.poll()}
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
        for pid, channel in list(children.items()):
            if channel.fileno() in ready:  # the other end is closed: nobody waits for this child
                os.kill(pid, signal.SIGKILL)
            if os.waitpid(pid, os.WNOHANG)[0]:
                watched.unregister(channel)
                children.pop(pid).close()
        if control.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                break
            for descriptor in descriptors:
                channel = socket.socket(fileno=descriptor)
                children[_fork(channel)] = channel
                watched.register(channel, 0)  # errors and hang-ups only; what is readable is the child's
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _fork(channel: socket.socket) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Neither the control socket nor the channels of other people's uploads.
        os.closerange(0, STDERR_FD)
        os.closerange(STDERR_FD + 1, channel.fileno())
        os.closerange(channel.fileno() + 1, MOST_FD)
        serve_one(channel)
    except Exception as error:  # the server sees the channel end without an answer
        os.write(STDERR_FD, f"the decoder of an upload failed: {error!r}"[:300].encode() + b"\n")
    finally:
        os._exit(0)


def _import_decoders() -> None:
    """Load what Pillow and PyAV load at first use: a child can open no file."""
    import av
    import numpy as np
    from PIL import Image

    from models.media.read import clip_tail, fit_image, open_image

    av.logging.set_level(None)
    for plugin in ("Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):
        importlib.import_module(f"PIL.{plugin}ImagePlugin")
    for name in PICTURES:
        file = io.BytesIO()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, name)
        fit_image(open_image(file.getvalue(), near=(4, 4)), 4, 4)
        if name == "GIF":
            clip_tail(file.getvalue(), 4, 4, 16.0, seconds=1.0, max_bytes=1024, max_frames=8)


if __name__ == "__main__":
    main()
