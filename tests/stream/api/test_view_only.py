"""The view-only token opens the picture and the news and nothing else; and whom nobody watches makes room."""

from __future__ import annotations

import json

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.running_server import Running, running, wait_for


def test_who_may_only_watch_is_told_so_and_refused(server: Running) -> None:
    made = server.create()
    watcher = {**made, "token": made["view_token"]}
    headers = server.headers(watcher)
    try:
        with httpx.Client(base_url=server.url, timeout=20) as http:
            assert http.get(made["urls"]["session"], headers=headers).json()["role"] == "watch"
            assert http.get(made["urls"]["session"], headers=server.headers(made)).json()["role"] == "steer"
            for refused in (
                http.delete(made["urls"]["session"], headers=headers),
                http.get(made["urls"]["score"], headers=headers),
                http.post(made["urls"]["image"], headers=headers, files={"image": b"x"}),
            ):
                assert refused.status_code == 401
                assert refused.json()["code"] == "watch_only"
            bad_offer = http.post(
                made["urls"]["whep"], content=b"nonsense", headers={**headers, "Content-Type": "application/sdp"}
            )
            assert bad_offer.status_code == 400  # the offer is at fault, not the token
        with connect(server.socket(watcher), additional_headers=headers) as socket:
            assert json.loads(socket.recv(10))["type"] == "session"
            for message in (
                {"type": "prompt", "id": "m1", "text": "mine now"},
                {"type": "dial", "id": "m1", "steps": 1},
                {"type": "stop", "id": "m1"},
            ):
                socket.send(json.dumps(message))
                while (answer := json.loads(socket.recv(10))).get("re") != "m1":
                    pass
                assert (answer["type"], answer["code"]) == ("error", "watch_only")
            socket.send(json.dumps({"type": "ping", "id": "m2", "t": 1.0}))
            while (answer := json.loads(socket.recv(10))).get("re") != "m2":
                pass
            assert answer["type"] == "pong"
        assert httpx.get(server.url + made["urls"]["session"], headers=headers).json()["state"] != "stopped"
    finally:
        server.delete(made)


@pytest.mark.slow
def test_a_session_paused_for_want_of_viewers_makes_room() -> None:
    with running(max_sessions=1, viewer_grace=0.1) as server:
        old = server.create("a red circle")
        session = server.manager.sessions[old["id"]]
        wait_for(lambda: session.state == "paused")
        new = server.create("a blue star")
        assert session.state == "stopped"
        server.delete(new)
