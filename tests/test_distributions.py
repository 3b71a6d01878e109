"""The two distributions: what each wheel holds, and that farcast installs alone, without torch, models and stream."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import farcast
import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVER = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CLIENT = tomllib.loads((ROOT / "client/python/pyproject.toml").read_text())["project"]
QUIET = ["-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]


def pip(*args: str, cwd: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *args], capture_output=True, text=True, timeout=170, cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels by the name of their distribution, built as `make dist` does."""
    folder = tmp_path_factory.mktemp("dist")
    pip("wheel", *QUIET, "-w", str(folder), str(ROOT / "client/python"), str(ROOT), cwd=folder)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def alone(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with farcast alone, its dependencies left out."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder / "venv")
    pip("--python", str(folder / "venv/bin/python"), "install", *QUIET, str(wheels["farcast"]), cwd=folder)
    return folder / "venv"


def run(environment: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = str(environment / "bin" / command[0])
    return subprocess.run(
        [path, *command[1:]], capture_output=True, text=True, timeout=60, cwd=environment, env={"PATH": ""}, check=False
    )


def test_both_have_one_version() -> None:
    assert f"farcast=={farcast.__version__}" in SERVER["dependencies"]
    assert "version" in SERVER["dynamic"]
    assert "version" in CLIENT["dynamic"]
    assert json.loads((ROOT / "client/js/package.json").read_text())["version"] == farcast.__version__
    assert (ROOT / "LICENSE").read_bytes() == (ROOT / "client/python/LICENSE").read_bytes()


def test_the_client_needs_no_torch() -> None:
    needed = " ".join(CLIENT["dependencies"])
    assert not re.search("torch|diffusers|transformers|fastapi|uvicorn", needed)
    for name in ("aiortc", "websockets", "av", "numpy", "pydantic"):
        assert name in needed


def test_what_each_wheel_holds(wheels: dict[str, Path]) -> None:
    assert set(wheels) == {"farcast", "farcast_server"}
    client = zipfile.ZipFile(wheels["farcast"]).namelist()
    assert {"farcast/protocol/client.py", "farcast/py.typed"} <= set(client)
    assert {name.split("/")[0] for name in client} == {"farcast", f"farcast-{farcast.__version__}.dist-info"}
    server = zipfile.ZipFile(wheels["farcast_server"]).namelist()
    assert {"stream/app.py", "stream/web/index.html", "models/errors.py", "models/tiny/model_index.json"} <= set(server)
    assert {name.split("/")[0] for name in server} == {
        "stream", "models", f"farcast_server-{farcast.__version__}.dist-info"
    }  # fmt: skip
    assert not [name for name in client + server if "node_modules" in name or "__pycache__" in name]
    assert wheels["farcast"].stat().st_size < 200_000
    assert wheels["farcast_server"].stat().st_size < 40_000_000


def test_farcast_installs_alone(alone: Path) -> None:
    (site,) = alone.glob("lib/python*/site-packages")
    installed = {path.name for path in site.iterdir()} - {"__pycache__"}
    assert installed == {"farcast", f"farcast-{farcast.__version__}.dist-info"}
    assert run(alone, "farcast", "--version").stdout == f"farcast {farcast.__version__}\n"
    done = run(alone, "farcast", "serve")
    assert done.returncode == 1
    assert "comes with the server. Install farcast-server" in done.stderr


def test_a_bench_from_a_wheel_says_where_benches_are(alone: Path, wheels: dict[str, Path]) -> None:
    pip("--python", str(alone / "bin/python"), "install", *QUIET, str(wheels["farcast_server"]), cwd=alone)
    done = run(alone, "farcast", "bench", "live")
    assert done.returncode == 1
    assert "Benches come with the repository: git clone" in done.stderr
    assert len(done.stderr.splitlines()) == 1
