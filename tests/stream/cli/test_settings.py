"""Options of `farcast serve` from flags, the environment and a file; and its log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream.cli import serve as command
from stream.cli.logs import Repeats
from stream.config import ServerConfig
from stream.errors import ConfigError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no farcast.toml here


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """Configurations of the servers that would have been started."""
    seen: list[ServerConfig] = []

    async def run(config: ServerConfig, level: int) -> None:
        seen.append(config)

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr("stream.cli.logs.set_up", lambda level: None)
    return seen


def serve(*arguments: str) -> Any:
    result = CliRunner().invoke(command.app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_flags_come_before_the_environment_and_that_before_the_file(
    started: list[ServerConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'max_sessions = 2\nport = 1\nice-server = ["stun:a.example"]\nrecord = false'
    (tmp_path / "farcast.toml").write_text(text)
    monkeypatch.setenv("FARCAST_PORT", "2")
    monkeypatch.setenv("FARCAST_MAX_SESSIONS", "3")
    monkeypatch.setenv("FARCAST_ALLOW_ORIGIN", "https://a.example https://b.example")
    serve("--max-sessions", "4")
    (config,) = started
    assert (config.max_sessions, config.port, config.record) == (4, 2, False)
    assert [server.url for server in config.ice_servers] == ["stun:a.example"]
    assert config.allow_origins == ("https://a.example", "https://b.example")


def test_another_file_is_named_with_config(started: list[ServerConfig], tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("render_minutes = 3")
    serve("--config", str(path))
    assert started[0].render_seconds == 180


@pytest.mark.parametrize(
    ("text", "says"),
    [("max_session = 4", "no option"), ("port = 'x'", "port"), ("port =", "not TOML"), ("open_ = true", "no option")],
)
def test_a_file_with_a_mistake_is_refused(started: list[ServerConfig], tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "farcast.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        serve()
    assert started == []


def test_keys_come_from_the_environment_and_a_file_and_are_not_logged(
    started: list[ServerConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keys").write_text("# ours\noperate:abcdefghijklmnop\n\n")
    monkeypatch.setenv("FARCAST_API_KEY", "create:0123456789abcdef")
    monkeypatch.setenv("FARCAST_TURN_SECRET", "hush-hush")
    with caplog.at_level(logging.INFO):
        serve("--host", "0.0.0.0", "--api-key-file", "keys", "--user-sessions", "1")
    (config,) = started
    assert [(key.key, set(key.scopes)) for key in config.api_keys] == [
        ("0123456789abcdef", {"create"}), ("abcdefghijklmnop", {"operate"}),
    ]  # fmt: skip
    assert config.rates is not None
    assert config.rates.sessions == 1
    assert "0123456789abcdef" not in caplog.text
    assert "hush-hush" not in caplog.text
    assert "host='0.0.0.0'" in caplog.text
    assert "0123456789abcdef" not in repr(config)


def test_a_public_address_without_a_key_does_not_start(
    started: list[ServerConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="--open"):
        serve("--host", "0.0.0.0")
    serve("--host", "0.0.0.0", "--open")
    assert started[0].rates is not None
    monkeypatch.setenv("FARCAST_OPEN", "true")
    serve("--host", "0.0.0.0")
    assert started.pop().open
    serve()
    assert started[1].rates is None


def test_a_warning_that_repeats_is_logged_once_a_minute() -> None:
    repeats = Repeats(seconds=60.0)

    def passes(level: int, text: str, *arguments: object) -> bool:
        return repeats.filter(logging.LogRecord("a", level, "f", 1, text, arguments, None))

    assert [passes(logging.WARNING, "no room for %s", n) for n in range(3)] == [True, False, False]
    assert passes(logging.WARNING, "another")
    assert all(passes(logging.INFO, "session %s", n) for n in range(3))
    def fails(error: Exception) -> bool:
        try:
            raise error
        except Exception as caught:
            info = (type(caught), caught, caught.__traceback__)
        return repeats.filter(logging.LogRecord("a", logging.ERROR, "f", 1, "session %s", ("x",), info))

    assert [fails(ValueError("a")), fails(ValueError("b")), fails(KeyError("c"))] == [True, False, True]
    quick = Repeats(seconds=0.0)
    record = logging.LogRecord("a", logging.ERROR, "f", 1, "x", (), None)
    assert quick.filter(record)
    for n in range(2000):  # what is remembered is bounded
        repeats.filter(logging.LogRecord("a", logging.ERROR, "f", 1, f"text {n}", (), None))
    assert len(repeats._seen) <= 512
