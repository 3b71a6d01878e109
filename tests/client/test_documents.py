"""Documents made from the message types: complete, and the copies in docs/ are the newest."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from farcast import protocol
from farcast.protocol import schema


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [node["$ref"]] if "$ref" in node else [ref for value in node.values() for ref in references(value)]
    return [ref for value in node for ref in references(value)] if isinstance(node, list) else []


def resolve(document: dict[str, Any], ref: str) -> Any:
    node: Any = document
    for part in ref.removeprefix("#/").split("/"):
        node = node[part]
    return node


@pytest.mark.parametrize("document", [protocol.asyncapi(), protocol.json_schema()], ids=["asyncapi", "json schema"])
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = references(document)
    assert len(found) > 15
    for ref in found:
        assert resolve(document, ref)


def test_every_message_is_described() -> None:
    document = protocol.asyncapi()
    assert document["asyncapi"] == "3.0.0"
    listed = set(document["channels"]["control"]["messages"])
    sent, received = (
        {m.model_fields["type"].default for m in group()} for group in (schema.client_messages, schema.server_messages)
    )
    assert listed == sent | received
    assert {"prompt", "dial", "rewind"} <= sent
    assert {"prompt_applied", "chunk", "error"} <= received
    for message in document["components"]["messages"].values():
        assert len(message["summary"]) > 10
    steer = {ref["$ref"].rsplit("/", 1)[1] for ref in document["operations"]["steer"]["messages"]}
    assert steer == sent


@pytest.mark.parametrize(
    ("name", "document"), [("asyncapi.json", protocol.asyncapi()), ("wire.schema.json", protocol.json_schema())]
)
def test_the_copy_in_docs_is_the_newest(root: Path, name: str, document: dict[str, Any]) -> None:
    assert json.loads((root / "docs" / name).read_text()) == document, "run `make docs`"


def test_the_examples_of_the_wire_page_are_true(root: Path) -> None:
    """Every JSON line in docs/wire.md is a message that parses."""
    text = (root / "docs/wire.md").read_text()
    lines = re.findall(r"^(?:→|←) (\{.*\})$", text, re.MULTILINE)
    assert len(lines) >= 10
    kinds = set()
    for line in lines:
        arrow = protocol.parse_client if f"→ {line}" in text else protocol.parse_server
        kinds.add(arrow(line).type)
    assert {"prompt", "prompt_applied", "prompt_rejected", "dial_applied", "chunk", "session", "error"} <= kinds


def test_the_score_in_its_page_is_one(root: Path) -> None:
    example = re.search(
        r"^```json\n(\{\"score\".*?)^```", (root / "docs/score.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert example is not None
    score = protocol.parse_score(example[1])
    assert {entry.kind for entry in score.entries} >= {"prompt", "dial", "sigmas", "rebuilt"}


def test_the_python_in_the_client_page_is_python(root: Path) -> None:
    """Every snippet compiles, and the methods of `live` that it calls exist."""
    from farcast.live import Live

    snippets = re.findall(r"^```python\n(.*?)^```", (root / "docs/client.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(snippets) >= 5
    called: set[str] = set()
    for snippet in snippets:
        compile(snippet, "client.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        called |= set(re.findall(r"\blive\.(\w+)", snippet))
    assert len(called) > 12
    assert [name for name in called if not hasattr(Live, name)] == []
