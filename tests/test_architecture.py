"""The rules of the house: which room may import which, how large rooms and modules are, pins, and the wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.imports import STREAM_FLOORS, cycles, import_graph, rooms, upward

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())  # farcast-server
CLIENT = tomllib.loads((ROOT / "client/python/pyproject.toml").read_text())  # farcast


SHIPPED = ("models", "stream", "client/python/farcast")

# As STREAM_FLOORS: a room imports its own modules and those of lower floors only.
MODELS_FLOORS = (
    ("models.errors",),
    ("models.network", "models.vae", "models.media", "models.toyworld"),
    ("models.checkpoint",),
    ("models.rollout",),
    ("models.training", "models.evaluation"),
)


def top(module: str) -> str:
    return module.split(".")[0]


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


# -- imports between our own modules, also those in functions and under TYPE_CHECKING ---------------------------------


@pytest.fixture(scope="module")
def graph() -> dict[str, frozenset[str]]:
    return import_graph(*(ROOT / package for package in (*SHIPPED, "bench", "tests")))


def test_no_import_circle(graph: dict[str, frozenset[str]]) -> None:
    assert cycles(graph) == []
    assert cycles(rooms(graph)) == []


@pytest.mark.parametrize(("package", "floors"), [("stream", STREAM_FLOORS), ("models", MODELS_FLOORS)])
def test_no_arrow_points_up(package: str, floors: Sequence[Sequence[str]], graph: dict[str, frozenset[str]]) -> None:
    assert upward({name: found for name, found in graph.items() if top(name) == package}, floors) == []


def test_nothing_that_ships_imports_benches_or_tests(graph: dict[str, frozenset[str]]) -> None:
    wrong = [
        f"{name} imports {other}"
        for name, found in graph.items()
        for other in found
        if (top(name) not in ("bench", "tests") and top(other) in ("bench", "tests"))
        or (top(name) == "bench" and top(other) == "tests")
    ]
    assert wrong == []


def test_no_test_module_imports_another(graph: dict[str, frozenset[str]]) -> None:
    """What several tests use stands in tests/support."""
    wrong = [
        f"{name} imports {other}"
        for name, found in graph.items()
        for other in found
        if other.split(".")[-1].startswith("test_") or other.endswith("conftest")
    ]
    assert wrong == []


# -- sizes and places --------------------------------------------------------------------------------------------------


def modules(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", "__main__", "conftest")]


def folders(*tops: str) -> Iterator[Path]:
    """Every folder with Python files below these."""
    for name in tops:
        yield from sorted({path.parent for path in sources(name)})


@pytest.mark.parametrize(("package", "most"), [("stream", 7), ("models", 3)])
def test_few_modules_stand_at_the_root(package: str, most: int) -> None:
    assert len(modules(ROOT / package)) <= most


def test_rooms_are_small() -> None:
    """Over twelve modules is two rooms. Those named here are larger already, and stay below their number."""
    larger = {
        "models/rollout": 14, "bench/transport": 14, "bench/commands": 14, "stream/cli": 14, "stream/engine": 13,
        "client/python/farcast": 14,
    }  # fmt: skip
    found = {str(room.relative_to(ROOT)): len(modules(room)) for room in folders(*SHIPPED, "bench")}
    assert {room: count for room, count in found.items() if count > larger.get(room, 12)} == {}


def test_modules_are_short() -> None:
    wrong = {
        str(path.relative_to(ROOT)): lines
        for room in (*SHIPPED, "bench", "tests")
        for path in sources(room)
        if (lines := len(path.read_text().splitlines())) > 350
    }
    assert wrong == {}


def test_no_two_modules_of_a_room_share_a_name() -> None:
    wrong = []
    for package in (*SHIPPED, "bench"):
        for room in sorted(path for path in (ROOT / package).iterdir() if path.is_dir()):
            names = Counter(path.stem for path in sources(f"{package}/{room.name}") if path.stem != "__init__")
            wrong += [f"{package}/{room.name}: {name}" for name, count in names.items() if count > 1]
    assert wrong == []


def test_every_test_stands_beside_its_module() -> None:
    """tests/X/Y/test_z.py: X/Y is a room, and where only one room has a module z, it is that one."""
    homes: dict[str, set[str]] = {}
    for room in folders(*SHIPPED, "bench"):
        place = str(room.relative_to(ROOT)).replace("client/python/farcast", "client")
        for name in [*(path.stem for path in modules(room)), *(path.name for path in room.iterdir() if path.is_dir())]:
            homes.setdefault(name, set()).add(place)
    wrong = []
    for path in sources("tests"):
        place = str(path.parent.relative_to(ROOT / "tests"))
        if not path.stem.startswith("test_") or place in ("e2e", "support", "."):  # of the page; of the tests; of all
            continue
        if not (ROOT / re.sub("^client", "client/python/farcast", place)).is_dir():
            wrong.append(f"{path.relative_to(ROOT)}: there is no {place}")
        home = homes.get(path.stem.removeprefix("test_"), set())
        if len(home) == 1 and not home & {place, str(Path(place).parent)}:
            wrong.append(f"{path.relative_to(ROOT)}: its module is in {home.pop()}")
    assert wrong == []


# -- packages of others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("stream.app", ("torch", "diffusers", "transformers", "ray")),  # the model is in a process of its own
        ("stream.cli.serve", ("ray",)),  # one server needs no cluster
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
        ("stream", ["fleet"]),
        ("tests", ["test"]),
        ("bench", ["bench", "fleet"]),
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


def test_every_file_that_the_documents_name_is_there() -> None:
    """Paths in ARCHITECTURE.md and CONTRIBUTING.md: from the root, or from where the map says that they stand."""
    wrong = []
    for document in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)(?:: \w+)?`", (ROOT / document).read_text()):
            places = (ROOT, ROOT / "client/python", ROOT / "client/web/js")
            if not any((place / name).exists() for place in places):
                wrong.append(f"{document}: {name}")
        if document == "ARCHITECTURE.md":
            for row in (ROOT / document).read_text().splitlines():
                if not row.startswith("| `"):
                    continue
                rooms_named = re.findall(r"`([\w/.]+)`", row.split("|")[1])
                for name in re.findall(r"`(\w+\.(?:py|js))`", row.partition("|")[2].partition("|")[2]):
                    if not any((ROOT / room / name).exists() for room in rooms_named):
                        wrong.append(f"{document}: {name} in {rooms_named}")
    assert wrong == []
