"""`farcast eval` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.checkpoint.bundle import Bundle
from stream.cli import eval as command
from stream.errors import ConfigError

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _small(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "opened", lambda model, device: bundle)


@pytest.mark.slow
def test_json(tmp_path: Path) -> None:
    args = ["--quick", "--prompts", "1", "--steps", "1", "--minutes", "0", "--json", "--out", str(tmp_path / "out")]
    done = RUNNER.invoke(command.app, args, catch_exceptions=False)
    document = json.loads(done.stdout.strip().splitlines()[-1])
    assert document["bench"] == "eval"
    assert document["figures"]["t2v"]["truth"]["colour"]["value"] == 1.0
    assert {"name", "value", "op", "bound", "holds"} == set(document["bars"][0])
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["eval-sheet.webp", "eval-steps.png", "eval.json"]


def test_vbench(tmp_path: Path) -> None:
    prompts = tmp_path / "scene.txt"
    prompts.write_text("a red bird\n")
    args = ["--vbench", str(tmp_path / "v"), "--prompt-list", str(prompts), "--samples", "1", "--frames", "13"]
    done = RUNNER.invoke(command.app, [*args, "--steps", "1"], catch_exceptions=False)
    assert "vbench evaluate" in done.stdout
    assert (tmp_path / "v" / "scene" / "a red bird-0.mp4").stat().st_size > 500


@pytest.mark.parametrize(
    "args",
    [
        ["--steps", "one"],
        ["--sampler", "magic"],
        ["--vbench", "somewhere"],
        ["--compare", "nothing"],
        ["stray=folder"],
        ["--out", __file__],
    ],
)
def test_wrong_usage_says_what_to_do(args: list[str]) -> None:
    with pytest.raises(ConfigError):
        RUNNER.invoke(command.app, ["--quick", *args], catch_exceptions=False)


def test_rivals() -> None:
    kinds = ("flowmap", "renoise")
    assert command.rival("teacher=runs/teacher@g2.5", kinds) == ("teacher", "runs/teacher", "flowmap", 2.5)
    assert command.rival("student=a@b/c@renoise", kinds) == ("student", "a@b/c", "renoise", None)
    assert command.rival("both=x@g3@renoise", kinds) == ("both", "x", "renoise", 3.0)


@pytest.mark.slow
def test_four_checkpoints_in_one_plot(tmp_path: Path) -> None:
    names = ["teacher=a@g2", "flowmap=b", "anyflow=c", "consistency=d@renoise"]
    args = ["--prompts", "2", "--steps", "1,4", "--out", str(tmp_path / "out"), "--json", "--compare", *names]
    done = RUNNER.invoke(command.app, args, catch_exceptions=False)
    document = json.loads(done.stdout.strip().splitlines()[-1])
    found = document["figures"]["checkpoints"]
    assert list(found) == ["teacher", "flowmap", "anyflow", "consistency"]
    assert (found["teacher"]["guidance"], found["consistency"]["sampler"]) == (2.0, "renoise")
    # The same weights and seeds: no difference where the sampler is the same, and one step is one step.
    qualities = {name: {count: cell["quality"] for count, cell in found[name]["t2v"].items()} for name in found}
    assert qualities["flowmap"] == qualities["anyflow"]
    assert qualities["flowmap"]["1"] == qualities["consistency"]["1"]
    assert [bar["name"].partition(" ")[0] for bar in document["bars"]] == ["anyflow:", "anyflow"]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["compare-sheet.webp", "compare.json", "compare.png"]
    plain = RUNNER.invoke(command.app, ["--prompts", "1", "--steps", "1", "--compare", *names], catch_exceptions=False)
    assert "paired differences" in plain.stdout
