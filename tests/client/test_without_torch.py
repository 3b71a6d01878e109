"""The base install: the client, its commands and its documents work where the server's packages are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = ("torch", "diffusers", "transformers", "fastapi", "uvicorn", "starlette", "stream", "models", "safetensors")
PRELUDE = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Blocker())
"""


def without(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRELUDE + code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_every_module_of_the_client_loads(root: Path) -> None:
    package = root / "client/python/farcast"
    names = [
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(package.rglob("*.py"))
        if path.name != "__main__.py"
    ]
    assert len(names) > 25
    code = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)\nprint(len(sys.modules) > 0)"
    done = without(code)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_base_install_work(tmp_path: Path) -> None:
    code = "from farcast.cli import main; main(sys.argv[1:])"
    assert "score" in without(code, "--help").stdout
    assert json.loads(without(code, "schema", "json").stdout)["title"] == "Farcast wire"
    score = {
        "score": 1, "model": "m", "seed": 1, "guidance": 1.0, "width": 16, "height": 16, "fps": 16.0, "chunks": 1,
        "entries": [{"chunk": 0, "prompt": "a red circle"}, {"chunk": 0, "steps": 1, "sigmas": [1.0, 0.0]}],
    }  # fmt: skip
    (tmp_path / "s.json").write_text(json.dumps(score))
    shown = without(code, "score", "show", str(tmp_path / "s.json"))
    assert shown.returncode == 0, shown.stderr
    assert "prompt  a red circle" in shown.stdout


@pytest.mark.parametrize("command", ["serve", "generate", "render", "bench"])
def test_the_others_say_what_to_install(command: str) -> None:
    done = without("from farcast.cli import main; main(sys.argv[1:])", command, "--help")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "farcast" in done.stderr
