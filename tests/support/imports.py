"""Who imports whom: the graph of a package's modules, its cycles, and its imports that point upward.

Every import statement counts, wherever it stands: at the top of a file, in a function, under `TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Graph = Mapping[str, frozenset[str]]  # module -> modules it imports, by dotted name

# Floors from low to high, each a list of rooms. A room may import its own modules and those of lower floors only.
STREAM_FLOORS: Sequence[Sequence[str]] = (
    ("stream.types", "stream.errors"),
    ("stream.ice", "stream.metrics", "stream.governor", "stream.uploads"),
    ("stream.config",),
    ("stream.access", "stream.engine", "stream.video"),
    ("stream.recording", "stream.score", "stream.state"),
    ("stream.session",),
    ("stream.webrtc",),
    ("stream.api",),
    ("stream.app",),
    ("stream.server",),
    ("stream.fleet",),
    ("stream.cli",),
)


def import_graph(*roots: Path) -> dict[str, frozenset[str]]:
    """Modules under the package folders `roots` and what they import of each other, as dotted names.

    `from package import name` counts as the submodule where `name` is one, as the package otherwise. That importing a
    submodule also runs its package's `__init__` is not counted.
    """
    files = {name: path for root in roots for name, path in _modules(root)}
    return {
        name: frozenset(found for found in _imports(name, path, files) if found != name) for name, path in files.items()
    }


def cycles(graph: Graph) -> list[list[str]]:
    """Sets of modules that import each other, directly or not: the strongly connected components of more than one
    module, sorted."""
    found: list[list[str]] = []
    seen: set[str] = set()
    for name in sorted(graph):
        if name not in seen:
            component = {other for other in _reachable(graph, name) if name in _reachable(graph, other)}
            seen |= component
            if component:
                found.append(sorted(component))
    return found


def rooms(graph: Graph, depth: int = 2) -> dict[str, frozenset[str]]:
    """The graph of packages at this depth of the dotted name: `stream.video.encoder` -> `stream.video`."""
    cut: dict[str, set[str]] = {}
    for name, imported in graph.items():
        room = _room(name, depth)
        cut.setdefault(room, set()).update(_room(other, depth) for other in imported)
    return {room: frozenset(imported - {room}) for room, imported in cut.items()}


def upward(graph: Graph, floors: Sequence[Sequence[str]]) -> list[str]:
    """Imports of a higher floor, or of another room on the same floor, as sentences.

    A module belongs to the longest room name that is its own name or a prefix of it. A module of no room is reported,
    except the top package itself.
    """
    place = {room: level for level, on_floor in enumerate(floors) for room in on_floor}
    wrong = []
    for name in sorted(graph):
        room = _longest(name, place)
        if room is None:
            if "." in name:
                wrong.append(f"{name} is on no floor")
            continue
        for other in sorted(graph[name]):
            theirs = _longest(other, place)
            if theirs is not None and theirs != room and place[theirs] >= place[room]:
                wrong.append(f"{name} imports {other}")
    return wrong


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*.py")):
        if "node_modules" in path.parts:
            continue
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (found for alias in node.names if (found := _known(alias.name, known)))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                if (found := _known(f"{source}.{alias.name}", known)) is not None:
                    yield found


def _known(name: str, known: Mapping[str, Path]) -> str | None:
    """The module that a dotted name stands for or lies in; None for another package's."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def _reachable(graph: Graph, start: str) -> set[str]:
    """What `start` imports, directly or not; holds `start` itself only where a cycle leads back to it."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph.get(name, ()))
    return found


def _room(name: str, depth: int) -> str:
    return ".".join(name.split(".")[:depth])


def _longest(name: str, place: Mapping[str, int]) -> str | None:
    while name and name not in place:
        name = name.rpartition(".")[0]
    return name or None
