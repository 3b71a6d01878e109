"""The house: which room may import which, what is declared and pinned; and the deployment fits the code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())  # farcast-server
CLIENT = tomllib.loads((ROOT / "client/python/pyproject.toml").read_text())  # farcast
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def sources(room: str) -> Iterator[Path]:
    return (path for path in sorted((ROOT / room).rglob("*.py")) if "node_modules" not in path.parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Top-level packages that a file imports, wherever the statement stands; relative ones stay inside anyway."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("models", {"stream", "farcast", "asyncio", "socket", "aiortc", "fastapi", "uvicorn", "websockets", "httpx"}),
        ("client/python/farcast", {"stream", "models", "torch", "diffusers", "transformers", "fastapi"}),
        ("stream/governor", {"torch", "asyncio", "farcast", "models", "pydantic"}),
    ],
)
def test_arrows_point_one_way(room: str, forbidden: set[str]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(room)
        for line, name in imports(path)
        if name in forbidden
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("stream.app", ("torch", "diffusers", "transformers")),  # the model is in a process of its own
        ("farcast", ("aiortc", "av", "httpx", "torch")),
        ("farcast.protocol", ("aiortc", "av", "httpx", "torch")),
        ("farcast.live", ("torch", "fastapi", "stream", "models")),
    ],
)
def test_importing_brings_in_no_more_than_needed(module: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_nothing_is_unpickled() -> None:
    """safetensors only: a checkpoint must not be able to run code."""
    wrong = []
    for room in ("models", "stream", "client/python"):
        for path in sources(room):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
            wrong += [f"{path.relative_to(ROOT)}:{line}" for line, name in imports(path) if name in ("pickle", "dill")]
    assert wrong == []


def test_the_page_needs_only_its_own_server() -> None:
    """No CDN, no fonts from elsewhere: every address in the page's files is relative, or a mere XML name."""
    wrong = []
    for path in sorted((ROOT / "client/web").rglob("*")):
        if path.suffix in (".html", ".js", ".css", ".svg", ".webmanifest") and "node_modules" not in path.parts:
            for address in re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"'`)<>]*""", path.read_text()):
                if not address.startswith(("http://www.w3.org/", "https://www.w3.org/")):
                    wrong.append(f"{path.relative_to(ROOT)}: {address}")
    assert wrong == []


def test_commands_exist() -> None:
    """Every announced command can be found (without importing it)."""
    missing = []
    commands = [project["project"]["entry-points"]["farcast.commands"] for project in (CLIENT, PROJECT)]
    for name, target in [item for known in commands for item in known.items()]:
        module = target.split(":")[0].replace(".", "/")
        home = ROOT / "client/python" if module.startswith("farcast") else ROOT
        if not (home / f"{module}.py").is_file() and not (home / module / "__init__.py").is_file():
            missing.append(f"{name} = {target}")
    assert missing == []


@pytest.mark.parametrize(
    ("room", "extras"),
    [
        ("client/python", None),
        ("models", ["train"]),
        ("stream", []),
        ("tests", ["test"]),
        ("bench", ["bench"]),
    ],
)
def test_what_is_imported_is_declared(room: str, extras: list[str] | None) -> None:
    """No package that is there only because another one needs it. `extras` of farcast-server; None: farcast alone."""
    optional = PROJECT["project"]["optional-dependencies"]
    wanted = list(CLIENT["project"]["dependencies"])
    if extras is not None:
        wanted += [*PROJECT["project"]["dependencies"], *(name for extra in extras for name in optional[extra])]
    declared = {canonical(re.match(r"[\w.-]+", name)[0]) for name in wanted}  # type: ignore[index]
    # pydantic documents its own core as a part of it.
    ours = {"bench", "models", "stream", "farcast", "tests", "pydantic_core"}
    by_import = packages_distributions()
    wrong = set()
    for path in sources(room):
        for line, name in imports(path):
            owners = {canonical(owner) for owner in by_import.get(name, [name])}
            if name not in sys.stdlib_module_names and name not in ours and not owners & declared:
                wrong.add(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == set()


# -- versions --------------------------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements/constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))  # type: ignore[misc]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_versions_are_pinned_in_one_place() -> None:
    pinned = {canonical(name) for name in pins()}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*CLIENT["project"]["dependencies"], *PROJECT["project"]["dependencies"], *extras["test"], *extras["dev"]]
    wanted += [*PROJECT["build-system"]["requires"], *CLIENT["build-system"]["requires"]]
    names = [re.match(r"[\w.-]+", requirement)[0] for requirement in wanted]  # type: ignore[index]
    assert [name for name in names if canonical(name) not in pinned | {"farcast", "farcast-server"}] == []
    assert [name for name in wanted if "==" in name and not name.startswith("farcast==")] == []
    assert all(re.fullmatch(r"[\w.!]+", version) for version in pins().values()), "exact public versions, no addresses"


# -- deployment ------------------------------------------------------------------------------------------------------


def serve_options() -> set[str]:
    """Every option that `farcast serve` takes."""
    import typer

    from stream.cli.serve import app

    return {name for option in typer.main.get_command(app).params for name in option.opts}


def options_of(words: list[str]) -> set[str]:
    return {word.split("=")[0] for word in words if word.startswith("--")}


def test_compose_has_its_parts() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"server", "server-gpu", "coturn", "prometheus", "grafana"}
    assert "profiles" not in services["server"], "`docker compose up` alone starts the CPU server"
    assert services["server"]["build"]["args"]["KIND"] == "cpu"
    gpu = services["server-gpu"]
    assert (gpu["profiles"], gpu["build"]["args"]["KIND"]) == (["gpu"], "gpu")
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        if "image" in service:
            assert re.fullmatch(r"[\w/-]+:v?[\d.]+", service["image"]), f"{name}: an exact version"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), f"{name} mounts {source}"


@pytest.mark.parametrize("service", ["server", "server-gpu"])
def test_compose_speaks_the_servers_language(service: str) -> None:
    command: list[str] = COMPOSE["services"][service]["command"]
    assert command[0] == "serve"
    assert options_of(command) <= serve_options()
    media = next(word.split("=")[1] for word in command if word.startswith("--ice-ports="))
    assert f"{media}:{media}/udp" in COMPOSE["services"][service]["ports"]
    assert "8000:8000" in COMPOSE["services"][service]["ports"]


def test_the_dockerfile_fits() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), f"COPY {name}"
    command = json.loads(re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)[1])  # type: ignore[index]
    assert options_of(command) <= serve_options()
    ports = command[command.index("--ice-ports") + 1]
    assert f"EXPOSE 8000/tcp {ports}/udp" in text
    assert re.search(r"^USER farcast$", text, re.MULTILINE), "not as root"
    assert "HEALTHCHECK" in text


def test_prometheus_and_grafana_show_what_the_server_counts() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    from stream.metrics import Metrics

    scrape = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"][0]
    host, port = scrape["static_configs"][0]["targets"][0].split(":")
    assert host in COMPOSE["services"]["server"]["networks"]["default"]["aliases"]
    assert port == "8000"

    known: set[str] = set()
    for family in text_string_to_metric_families(Metrics().text().decode()):
        known |= {
            family.name,
            f"{family.name}_total",
            f"{family.name}_bucket",
            f"{family.name}_sum",
            f"{family.name}_count",
        }
    board: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/farcast.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\b(?:farcast|process)_\w+", target["expr"])
    }
    assert asked <= known
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {sources["datasources"][0]["uid"]}


def test_the_relay_opens_no_way_inside() -> None:
    lines = set((ROOT / "deploy/turnserver.conf").read_text().splitlines())
    assert {"use-auth-secret", "no-tcp-relay", "denied-peer-ip=10.0.0.0-10.255.255.255"} <= lines
    assert {"denied-peer-ip=127.0.0.0-127.255.255.255", "denied-peer-ip=192.168.0.0-192.168.255.255"} <= lines


def test_the_front_door() -> None:
    """The README's first lines say what to type; the licence is the whole one."""
    head = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "make run" in head
    assert "make test" in head
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"
