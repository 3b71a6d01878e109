"""Forms with files over a running server: quota, full disk, odd bodies; and admission before decoding."""

from __future__ import annotations

import errno
import json
import socket
import tempfile
from typing import Any

import httpx
import pytest

from tests.support.media_files import PLAYLISTS, clip, picture
from tests.support.running_server import Running, running, wait_for

REQUEST = (None, '{"prompt": "a"}')


def post(run: Running, **files: Any) -> httpx.Response:
    form = {"request": REQUEST, **{name: ("f", data) for name, data in files.items()}}
    return httpx.post(f"{run.url}/v1/sessions", files=form, timeout=30)


@pytest.mark.parametrize("name", list(PLAYLISTS))
def test_playlists_are_no_clips(server: Running, name: str) -> None:
    answer = post(server, clip=PLAYLISTS[name])
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_clip")
    assert "MP4" in answer.json()["detail"]


def test_a_full_disk_is_said(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
    answer = post(server, image=picture())
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert server.app.state.uploads.quota.used == 0


def test_unfinished_uploads_share_a_quota() -> None:
    with running(upload_space=2**20) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        quota = run.app.state.uploads.quota
        host, port = run.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(
                b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                b"Content-Length: 2000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"image\"; "
                b"filename=\"f\"\r\n\r\n" + b"x" * 1_000_000
            )
            wait_for(lambda: quota.used > 900_000)
            answer = post(run, image=b"x" * 200_000)
            assert (answer.status_code, answer.json()["code"]) == (503, "uploads_full")
            assert int(answer.headers["retry-after"]) > 0
        wait_for(lambda: quota.used == 0)
        answer = post(run, image=picture())
        assert answer.status_code == 201
        run.delete(answer.json())


@pytest.mark.parametrize("charset", ["hex", "utf-16", "idna", "x" * 300, "undefined"])
def test_odd_character_sets(server: Running, charset: str) -> None:
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    body = b"--b\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n\xff\xfe\x00\r\n--b--\r\n"
    answer = httpx.post(f"{server.url}/v1/sessions", content=body, headers={"Content-Type": kind}, timeout=20)
    assert answer.status_code == 400, answer.text


def test_a_file_that_breaks_off_starts_no_session_without_it(server: Running) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="request"\r\n\r\n{"prompt": "a"}\r\n'
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
    ) + picture()
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{server.url}/v1/sessions", content=body, headers=kind, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_form")


def test_text_that_is_not_utf8(server: Running) -> None:
    form = {"request": ("r", b'{"prompt": "\xff\xfe"}')}
    answer = httpx.post(f"{server.url}/v1/sessions", files=form, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


def test_who_would_be_refused_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(max_sessions=1) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        made = run.create()
        decoded: list[int] = []
        monkeypatch.setattr(run.app.state.uploads.pool, "_decode", lambda *_: decoded.append(1))
        for files in ({"image": picture()}, {"clip": clip()}):
            answer = post(run, **files)
            assert (answer.status_code, answer.json()["code"]) == (503, "full")
        assert not decoded
        run.delete(made)


def test_a_bad_upload_ends_no_quiet_session_and_gives_its_place_back() -> None:
    with running(max_sessions=1, viewer_grace=0.1) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        made = run.create()
        session = run.manager.sessions[made["id"]]
        wait_for(lambda: session.state == "paused", 20)
        assert post(run, image=b"no picture").status_code == 400
        assert session.state == "paused"
        answer = post(run, image=picture())
        assert answer.status_code == 201, answer.text
        assert session.over
        run.delete(answer.json())


def test_prompts_are_in_nfc(server: Running) -> None:
    made = server.create("a cafe\u0301")
    assert made["prompt"] == "a caf\u00e9"
    assert json.dumps(made["prompt"])
    server.delete(made)
