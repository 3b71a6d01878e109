"""`farcast doctor`: each line says what was found and what to do; a failure sets the exit status."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from farcast.cli import run

from stream.cli import doctor, doctor_checks


def ask(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as end:
        run(doctor.app, list(args), prog="farcast doctor")
    return end.value.code, capsys.readouterr().out


def test_this_machine_and_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, said = ask(capsys, "--port", "0", "--json", "--record-dir", str(tmp_path))
    document = json.loads(said)
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert code == 0
    assert document["ok"] is True
    for name in ("encoder VP8", "encoder H264", "model", "webrtc over udp"):
        assert states[name] == "ok"
    for check in document["checks"]:
        assert check["found"]
        assert bool(check["action"]) == (check["state"] != "ok")


def test_a_port_in_use_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = ask(capsys, "--port", str(port))
    assert code == 1
    assert f"fail  tcp 127.0.0.1:{port}" in said
    assert "--port" in said


def test_a_range_without_a_free_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        check = list(doctor_checks.ports_checks("127.0.0.1", 0, (port, port)))[-1]
    assert (check.state, check.found) == ("fail", "0 of 1 free, one for each viewer")


@pytest.mark.parametrize(
    ("source", "state"), [(None, "ok"), ("random:tiny", "ok"), ("/no/such/folder", "fail"), ("a b/c", "fail")]
)
def test_the_checkpoint(source: str | None, state: str) -> None:
    assert doctor_checks.model_check(source).state == state


def test_a_folder_without_an_index_is_no_checkpoint(tmp_path: Path) -> None:
    assert doctor_checks.model_check(str(tmp_path)).state == "fail"


def test_little_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor_checks, "SPACE", 2**80)
    assert doctor_checks.space_check("x", tmp_path / "not" / "yet").state == "warn"
