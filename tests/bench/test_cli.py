"""`farcast bench`: finds benches by name and hands their options over."""

from __future__ import annotations

import pytest
from farcast import cli

from bench import cli as bench


def run(*args: str) -> None:
    cli.run(bench.app, list(args), prog="farcast bench")


def test_without_a_name_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run()
    out = capsys.readouterr().out
    assert "governor" in bench.names()
    for name in bench.names():
        assert f"  {name} " in out
        assert len(bench.summary(name)) > 10


def test_an_unknown_bench(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("nonsense")
    assert ended.value.code == 1
    assert "There is no bench 'nonsense'. There are: " in capsys.readouterr().err


def test_options_reach_the_bench(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("governor", "--help")
    assert ended.value.code == 0
    assert "farcast bench governor" in capsys.readouterr().out
