"""`farcast sessions`: an operator lists and ends the sessions of a server."""

from __future__ import annotations

import json

import httpx
import pytest
from farcast.commands.sessions import app
from farcast.errors import RequestRefused
from typer.testing import CliRunner

from stream.config import ApiKey
from tests.support.running_server import running

CREATE, OPERATE = "create-key-0123456789", "operate-key-0123456789"


def test_sessions_are_listed_and_ended() -> None:
    keys = (ApiKey.parse(f"create:{CREATE}"), ApiKey.parse(f"operate:{OPERATE}"))
    with running(api_keys=keys) as server:
        started = [
            httpx.post(
                f"{server.url}/v1/sessions",
                json={"prompt": "a red circle"},
                headers={"Authorization": f"Bearer {CREATE}"},
                timeout=20,
            ).json()
            for _ in range(2)
        ]

        def command(*arguments: str, key: str = OPERATE) -> str:
            result = CliRunner().invoke(app, [server.url, "--key", key, *arguments])
            if result.exception is not None:
                raise result.exception
            return result.stdout

        with pytest.raises(RequestRefused, match="scope"):
            command(key=CREATE)
        listed = json.loads(command("--json"))["sessions"]
        assert {session["id"] for session in listed} == {made["id"] for made in started}
        first = started[0]["id"]
        lines = command("--end", first).splitlines()
        assert any(line.startswith(first) and "stopped" in line and "operator" in line for line in lines)
        command("--end-all")
        assert server.manager.running == []
