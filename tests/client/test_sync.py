"""The blocking client, as a notebook would use it."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import farcast
import pytest

from tests.support.faults import FaultyServer


@pytest.mark.slow
def test_everything_without_async(server: FaultyServer, tmp_path: Path) -> None:
    with farcast.sync.connect(server.url, prompt="a red circle") as live:
        frames = list(itertools.islice(live.frames(), 3))
        assert [frame.image.shape for frame in frames] == [(64, 96, 3)] * 3
        assert live.prompt("a blue star").text == "a blue star"
        assert live.dial(500).dial.latency_ms == 500
        assert live.pause().state == "paused"
        assert live.resume().state == "live"
        assert live.rewind(1).chunk == 1
        assert live.ping() < 5
        assert live.prompt(mix={"a red circle": 1.0}).text == "a red circle"
        assert live.render(tmp_path / "final.mp4", steps=4).state == "done"
        with live.record(tmp_path / "b.mp4") as recorder:
            list(itertools.islice(live.frames(), 3))
        assert recorder.frames >= 2
        assert live.record_for(tmp_path / "a.mp4", seconds=0.3).frames > 2
        assert live.stats().media is not None
        assert live.score()["seed"] == live.session.seed
        with pytest.raises(farcast.ProtocolError, match="empty"):
            live.prompt(" ")
        live.stop()
        assert {(event.type, event.state) for event in live.events()} <= {("session", "stopped")}
    assert not [thread for thread in threading.enumerate() if thread.name == "farcast"]


def test_an_iterator_that_outlives_the_connection(server: FaultyServer) -> None:
    with farcast.sync.connect(server.url, prompt="a red circle") as live:
        frames = live.frames()
        next(frames)
    with pytest.raises(farcast.SessionEnded):
        next(frames)
    with pytest.raises(farcast.SessionEnded):
        live.ping()


def test_errors_come_out_as_they_are() -> None:
    with pytest.raises(farcast.ConnectionFailed), farcast.sync.connect("http://127.0.0.1:9", prompt="x"):
        pass
