"""The graph of imports finds what is hidden in functions and under TYPE_CHECKING."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imports import cycles, import_graph, rooms, upward


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """low <-> high, each hidden in another way; `alone` imports by every form of the statement."""
    files = {
        "__init__.py": "",
        "low/__init__.py": "",
        "low/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.high.two import Two\n",
        "low/other.py": "import os\n",
        "high/__init__.py": "from .two import Two\n",
        "high/two.py": "class Two: ...\ndef lazy():\n    from ..low import one\n",
        "alone.py": "import pack.low.other\nfrom .high import Two\nfrom . import low\n",
    }
    for name, text in files.items():
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pack"


def test_every_form_of_import_counts(package: Path) -> None:
    graph = import_graph(package)
    assert graph["pack.alone"] == {"pack.low.other", "pack.high", "pack.low"}
    assert graph["pack.high.two"] == {"pack.low.one"}
    assert graph["pack.low.one"] == {"pack.high.two"}
    assert graph["pack.low.other"] == frozenset()


def test_cycles_are_found_however_hidden(package: Path) -> None:
    graph = import_graph(package)
    assert cycles(graph) == [["pack.high.two", "pack.low.one"]]
    assert cycles(rooms(graph)) == [["pack.high", "pack.low"]]
    assert cycles({"a": frozenset({"b"}), "b": frozenset()}) == []


def test_upward_imports_are_named(package: Path) -> None:
    graph = import_graph(package)
    assert upward(graph, [["pack.low"], ["pack.high"], ["pack.alone"]]) == ["pack.low.one imports pack.high.two"]
    assert upward(graph, [["pack.low", "pack.high"], ["pack.alone"]]) == [
        "pack.high.two imports pack.low.one",
        "pack.low.one imports pack.high.two",
    ]
    assert "pack.alone is on no floor" in upward(graph, [["pack.low"], ["pack.high"]])
