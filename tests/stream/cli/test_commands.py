"""The commands: one line for what is wrong, a non-zero exit, and reports in the agreed form."""

from __future__ import annotations

import json
import math
import socket

import pytest
from farcast.cli import run

from models.evaluation.report import Bar, document, table
from stream.cli import serve
from stream.config import ServerConfig
from stream.errors import ConfigError


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as end:
        run(serve.app, list(args), prog="farcast serve")
    assert end.value.code not in (0, None)
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    return error


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = fails(capsys, "--port", str(taken.getsockname()[1]))
    assert error.count("\n") == 0
    assert "--port" in error


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--port", "99999"], "port"),
        (["--device", "abacus"], "--device"),
        (["--log-level", "loud"], "--log-level"),
        (["--ice-ports", "many"], "LOW-HIGH"),
        (["--ice-ports", "9-1"], "UDP"),
        (["--ice-address", "here"], "IP address"),
        (["--max-sessions", "0"], "--max-sessions"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    error = fails(capsys, *args)
    assert says in error
    assert error.count("\n") == 0


def test_a_model_that_cannot_be_opened_ends_the_server_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    error = fails(capsys, "--port", "0", "--engine", "tests.support.fake_backend:open_model", "--model", "broken")
    assert "The fake model is broken" in error.splitlines()[-1]


def test_the_configuration_checks_itself() -> None:
    with pytest.raises(ConfigError):
        ServerConfig(public_address="example")
    assert ServerConfig().on_loopback
    assert not ServerConfig(host="0.0.0.0", open=True).on_loopback


def test_a_report_has_the_agreed_form_and_a_bar_without_a_value_does_not_hold() -> None:
    bars = [Bar("fast", 1.2, ">=", 1.0), Bar("small", 900.0, "<=", 500.0), Bar("unknown", math.nan, ">=", 1.0)]
    figures = {"x": 1.5, "deep": [{"y": math.nan}]}
    report = json.loads(json.dumps(document("live", figures, bars), allow_nan=False))
    assert report["figures"] == {"x": 1.5, "deep": [{"y": None}]}
    assert set(report) == {"bench", "machine", "figures", "bars"}
    assert [bar["holds"] for bar in report["bars"]] == [True, False, False]
    assert set(report["bars"][0]) == {"name", "value", "op", "bound", "holds"}
    assert "FAILS" in table(report)
