"""`farcast info`: what a checkpoint is, readable and as JSON."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from stream.cli.info import app, licence
from stream.errors import InvalidRequest


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_embedded_model_says_what_it_is() -> None:
    found: dict[str, Any] = json.loads(printed("--json"))
    assert (found["name"], found["fps"], found["licence"][:10]) == ("farcast-tiny", 16, "Apache-2.0")
    assert "star" in found["vocabulary"]["shape"]
    assert found["caption"].startswith("a {size}")
    assert 1 <= found["steps"] <= 50
    low, high = found["guidance_range"]
    assert low <= found["guidance"] <= high
    table = printed()
    for word in ("farcast-tiny", "Apache-2.0", "shape", "triangle", "guidance"):
        assert word in table


def test_a_model_of_free_text_has_no_words() -> None:
    table = printed("--model", "random:tiny")
    assert "free text" in table
    assert json.loads(printed("--model", "random:tiny", "--json"))["vocabulary"] is None


def test_the_licence_of_published_weights_is_named() -> None:
    assert "non-commercial" in licence("nvidia/AnyFlow-FAR-Wan2.1-1.3B-Diffusers")
    assert "somebody/model" in licence("somebody/model")


def test_a_model_that_is_not_there_is_an_error_in_words() -> None:
    result = CliRunner().invoke(app, ["--model", "/nowhere"])
    assert isinstance(result.exception, InvalidRequest)
    assert "no folder /nowhere" in str(result.exception)
