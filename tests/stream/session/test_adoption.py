"""A session goes from one server to another over a shared state store, and never runs in two."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from stream.config import ApiKey
from stream.state.record import SessionRecord, StaleEpoch
from stream.state.store import StateStore
from tests.support.running_server import Running, running, wait_for

KEY = "operator-0123456789"
MODEL = "fake?step=0.002"
OPTIONS: dict[str, Any] = {"state_shared": True, "api_keys": (ApiKey(KEY),), "viewer_grace": 600.0}
OPERATOR = {"Authorization": f"Bearer {KEY}"}


def created(run: Running) -> dict[str, Any]:
    answer = httpx.post(f"{run.url}/v1/sessions", json={"prompt": "a red circle"}, headers=OPERATOR, timeout=20)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def adopt(run: Running, session: str, **params: int) -> httpx.Response:
    return httpx.post(f"{run.url}/v1/sessions/{session}/adopt", headers=OPERATOR, params=params, timeout=20)


def look(run: Running, made: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(run.url + made["urls"]["session"], headers=run.headers(made)).json()
    return document


def kept(folder: Path, session: str) -> bool:
    return any((folder / "sessions" / session).glob("snapshot-*"))


def test_it_goes_on_in_the_other_server_and_ends_in_the_first(tmp_path: Path) -> None:
    options = {**OPTIONS, "state_dir": str(tmp_path)}
    with running(MODEL, **options) as one, running(MODEL, **options) as two:
        made = created(one)
        wait_for(lambda: kept(tmp_path, made["id"]))
        assert httpx.get(f"{two.url}/v1/load", headers=OPERATOR).json()["sessions"] == {}, "nothing by itself"
        answer = adopt(two, made["id"], epoch=0)
        assert answer.status_code == 200, answer.text
        assert answer.json()["epoch"] == 1
        assert adopt(two, made["id"], epoch=0).json()["epoch"] == 1, "asking twice changes nothing"
        wait_for(lambda: look(one, made)["state"] == "stopped", 6, "the first server notices the claim")
        wait_for(lambda: look(two, made)["state"] == "live")
        assert httpx.get(f"{one.url}/v1/load", headers=OPERATOR).json()["sessions"] == {}
        assert httpx.get(f"{two.url}/v1/load", headers=OPERATOR).json()["sessions"] == {made["id"]: 1}
        stale = adopt(one, made["id"], epoch=0)
        assert (stale.status_code, stale.json()["code"]) == (409, "stale_epoch")
        back = adopt(one, made["id"], epoch=1)
        assert (back.status_code, back.json()["epoch"]) == (200, 2)
        wait_for(lambda: look(one, made)["state"] == "live")


def test_a_drained_server_writes_down_what_another_goes_on_with(tmp_path: Path) -> None:
    options = {**OPTIONS, "state_dir": str(tmp_path)}
    with running(MODEL, **options) as one, running(MODEL, **options) as two:
        made = created(one)
        wait_for(lambda: look(one, made)["state"] == "live")
        wait_for(lambda: kept(tmp_path, made["id"]))
        drained = httpx.post(f"{one.url}/v1/drain", headers=OPERATOR, timeout=20).json()
        assert drained["sessions"] == {made["id"]: 0}
        refused = httpx.post(f"{one.url}/v1/sessions", json={"prompt": "x"}, headers=OPERATOR)
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        shown = look(one, made).get("chunk", 0)
        assert adopt(two, made["id"]).json()["chunk"] >= shown


def test_trouble_is_a_clear_answer(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with running(MODEL, **OPTIONS, state_dir=str(folder)) as run:
        made = created(run)
        wait_for(lambda: kept(folder, made["id"]))
        assert adopt(run, "nosuchsession").status_code == 404
        for headers in ({}, run.headers(made), {"Authorization": "Bearer key-of-another-fleet"}):
            answer = httpx.post(f"{run.url}/v1/sessions/{made['id']}/adopt", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "no_key")
        shutil.rmtree(folder)
        folder.write_text("the store is gone")
        healthy = "state_healthy"
        wait_for(lambda: not httpx.get(f"{run.url}/v1/load", headers=OPERATOR).json()[healthy], 15, "it says so")
        assert look(run, made)["state"] in ("starting", "live"), "and the session goes on"


def test_a_single_server_has_no_such_routes(tmp_path: Path) -> None:
    with running(MODEL, state_dir=str(tmp_path), api_keys=(ApiKey(KEY),)) as run:
        assert httpx.get(f"{run.url}/v1/load", headers=OPERATOR).status_code == 404


def record(epoch: int) -> SessionRecord:
    return SessionRecord("s", "t", "v", "m", "w", "p", 1, 1.0, {}, "live", 0, 0, 0.0, 0.0, epoch=epoch)


@pytest.mark.parametrize("url", ["{folder}", "memory://claims"])
def test_claims_fence_writes(tmp_path: Path, url: str) -> None:
    one, two = (StateStore(url.format(folder=tmp_path), shared=True) for _ in range(2))
    one.lock()
    two.lock()
    one.write(record(0), None)
    assert two.claimed("s") == 0
    two.claim("s", 1)
    with pytest.raises(StaleEpoch):
        one.claim("s", 1)
    with pytest.raises(StaleEpoch):
        one.write(record(0), None)
    two.write(record(1), None)
    found = one.read("s")
    assert found is not None
    assert found[0].epoch == 1
    one.delete("s")
