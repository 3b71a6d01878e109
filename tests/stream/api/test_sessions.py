"""Sessions over HTTP: what comes back, and that every wrong request is a problem document that says what to do."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from farcast.protocol import ModelInfo, SessionCreated, SessionInfo

from tests.support.running_server import Running, running, wait_for
from tests.support.uploads import bomb, png


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture
def created(server: Running) -> Iterator[dict[str, Any]]:
    made = server.create()
    yield made
    server.delete(made)


def problem(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["code"] == code, body
    assert body["detail"].endswith("."), body
    assert "Traceback" not in answer.text
    return str(body["detail"])


def test_a_session_is_made_looked_at_and_ended(server: Running, http: httpx.Client) -> None:
    answer = http.post("/v1/sessions", json={"prompt": "a blue star", "seed": 7, "dial": {"latency_ms": 500}})
    assert answer.status_code == 201
    session = SessionCreated.model_validate_json(answer.content)
    assert answer.headers["location"] == session.urls.session
    assert (session.seed, session.dial.latency_ms, session.prompt) == (7, 500.0, "a blue star")
    headers = {"Authorization": f"Bearer {session.token}"}
    seen = SessionInfo.model_validate_json(http.get(session.urls.session, headers=headers).content)
    assert seen.id == session.id
    assert http.delete(session.urls.session, headers=headers).status_code == 204
    again = SessionInfo.model_validate_json(http.get(session.urls.session, headers=headers).content)
    assert again.state == "stopped"
    problem(http.post(session.urls.image, headers=headers, files={"image": png()}), 409, "stopped")
    problem(
        http.post(session.urls.whep, headers={**headers, "Content-Type": "application/sdp"}, content="v=0"),
        409,
        "stopped",
    )


def bearer(made: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['token']}"}


def test_the_model_is_described(http: httpx.Client) -> None:
    model = ModelInfo.model_validate_json(http.get("/v1/model").content)
    assert (model.name, model.chunk_frames, model.fps) == ("fake", 12, 16.0)
    assert model.examples


def test_the_token_is_needed(http: httpx.Client, created: dict[str, Any]) -> None:
    url = created["urls"]["session"]
    answer = http.get(url)
    problem(answer, 401, "unauthorised")
    assert answer.headers["www-authenticate"] == "Bearer"
    problem(http.get(url, headers={"Authorization": "Bearer nonsense"}), 401, "unauthorised")
    problem(http.get(url, headers={"Authorization": "Bearer \u00fc".encode("latin-1")}), 401, "unauthorised")  # type: ignore[dict-item]
    problem(http.get(url, params={"token": created["token"]}), 401, "unauthorised")  # addresses end in logs
    assert http.get(url, headers=bearer(created)).status_code == 200
    assert http.get(url, headers={"Farcast-Token": created["token"]}).status_code == 200
    problem(http.get("/v1/sessions/unknown", headers=bearer({"token": "x"})), 404, "no_session")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": "   "}, "empty"),
        ({"prompt": "x" * 3000}, "3000"),
        ({"prompt": 7}, "text"),
        ({"prompt": None}, "text"),
        ({}, "prompt"),
        ({"prompt": "a\u0000b"}, "control"),
        ({"prompt": "a", "seed": -1}, "seed"),
        ({"prompt": "a", "seed": 1.5}, "seed"),
        ({"prompt": "a", "steps": 3}, "steps"),
        ({"prompt": "a", "dial": {"latency_ms": 0}}, "latency_ms"),
        ({"prompt": "a", "dial": {"floor": 9, "ceiling": 3}}, "floor"),
        ({"prompt": "a", "guidance": 100}, "guidance"),
        ([], "object"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_a_reason(http: httpx.Client, body: Any, says: str) -> None:
    answer = http.post("/v1/sessions", json=body)
    assert answer.status_code == 400
    assert says in problem(answer, 400, answer.json()["code"])


def test_bodies_that_are_not_what_they_should_be(http: httpx.Client) -> None:
    json_type = {"Content-Type": "application/json"}
    problem(http.post("/v1/sessions", content="{", headers=json_type), 400, "bad_json")
    problem(http.post("/v1/sessions", content="[" * 60000, headers=json_type), 400, "bad_json")
    problem(http.post("/v1/sessions", content='{"prompt": NaN}', headers=json_type), 400, "bad_json")
    problem(
        http.post("/v1/sessions", content="a", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type"
    )
    problem(http.post("/v1/sessions"), 415, "unsupported_media_type")
    problem(http.post("/v1/sessions", content=b"x" * 70_000, headers=json_type), 413, "too_large")
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(http.post("/v1/sessions", content=b"nonsense", headers=form), 400, "bad_form")
    problem(http.post("/v1/sessions", content=b"n", headers={"Content-Type": "multipart/form-data"}), 400, "bad_form")
    problem(http.post("/v1/sessions", files={"image": png()}), 400, "invalid")
    two = {"request": (None, '{"prompt": "a"}'), "image": png(), "clip": b"x"}
    problem(http.post("/v1/sessions", files=two), 400, "invalid")


def test_a_body_that_lies_about_its_length_is_cut_off(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1024

    answer = http.post("/v1/sessions", content=endless(), headers={"Content-Type": "application/json"})
    problem(answer, 413, "too_large")


def test_unknown_paths_and_methods(http: httpx.Client) -> None:
    problem(http.get("/nothing/here"), 404, "not_found")
    problem(http.put("/v1/sessions"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"this is no image", 400, "bad_image"),
        (b"", 400, "bad_image"),
        (png()[:60], 400, "bad_image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, 400, "bad_image"),
        (b"%PDF-1.4 hello", 400, "bad_image"),
        (bomb(), 413, "image_too_large"),
    ],
    ids=["text", "empty", "cut off", "broken", "pdf", "bomb"],
)
def test_a_bad_image_never_reaches_the_device(
    http: httpx.Client, created: dict[str, Any], data: bytes, status: int, code: str
) -> None:
    start = {"request": (None, '{"prompt": "a"}'), "image": ("a.png", data)}
    problem(http.post("/v1/sessions", files=start), status, code)
    url = created["urls"]["image"]
    problem(http.post(url, headers=bearer(created), files={"image": ("a.png", data)}), status, code)


def test_a_session_starts_from_an_image_and_keeps_it_in_its_score(server: Running, http: httpx.Client) -> None:
    form = {"request": (None, json.dumps({"prompt": "a blue star"})), "image": ("a.png", png(colour="lime"))}
    made = http.post("/v1/sessions", files=form).json()
    try:
        score = http.get(made["urls"]["score"], headers=bearer(made)).json()
        assert any("image" in entry for entry in score["entries"])
    finally:
        server.delete(made)


def test_a_session_starts_from_a_clip(server: Running, http: httpx.Client) -> None:
    import av

    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=8)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    form = {"request": (None, '{"prompt": "a"}'), "clip": ("a.mp4", data.getvalue())}
    answer = http.post("/v1/sessions", files=form)
    assert answer.status_code == 201, answer.text
    server.delete(answer.json())
    form["clip"] = ("a.mp4", b"no clip")
    problem(http.post("/v1/sessions", files=form), 400, "bad_clip")


def test_the_score_tells_prompts_budgets_and_dial_by_chunk(
    server: Running, http: httpx.Client, created: dict[str, Any]
) -> None:
    token = bearer(created)
    wait_for(lambda: http.get(created["urls"]["score"], headers=token).json()["chunks"] >= 2)
    score = http.get(created["urls"]["score"], headers=token).json()
    assert score["seed"] == created["seed"]
    kinds = [key for entry in score["entries"] for key in entry if key != "chunk"]
    assert next(entry for entry in score["entries"] if "prompt" in entry)["chunk"] == 0
    assert {"prompt", "dial", "steps"} <= set(kinds)
    budgets = [entry for entry in score["entries"] if "sigmas" in entry]
    assert all(e["sigmas"][0] == 1.0 and e["sigmas"][-1] == 0.0 and len(e["sigmas"]) == e["steps"] + 1 for e in budgets)


def test_health_metrics_and_description(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"ok": True}
    assert http.get("/readyz").json()["ready"] is True
    text = http.get("/metrics").text
    assert "farcast_engine_ready 1.0" in text
    docs = http.get("/docs")
    assert docs.status_code == 200
    assert not re.search(r"(src|href)=.?(https?:)?//", docs.text), "the description comes from this server alone"
    schema = http.get("/openapi.json").json()
    assert "/v1/sessions/{session_id}/whep" in schema["paths"]
    assert "SessionRequest" in schema["components"]["schemas"]


def test_pages_that_the_operator_allows_may_use_the_api_and_see_its_headers() -> None:
    with running(allow_origins=("http://elsewhere",)) as server:
        answer = httpx.options(
            f"{server.url}/v1/sessions/x/whep",
            headers={"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST"},
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "http://elsewhere"
        plain = httpx.get(f"{server.url}/healthz", headers={"Origin": "http://elsewhere"})
        assert {"Location", "Link", "ETag"} <= set(plain.headers["access-control-expose-headers"].split(", "))


def test_the_page_is_served_and_nothing_beside_it(http: httpx.Client) -> None:
    answer = http.get("/")
    assert answer.status_code == 200
    assert "<video" in answer.text
    for path in (
        "/../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/node_modules/typescript/package.json",
        "/.git/config",
    ):
        assert http.get(path).status_code == 404


@pytest.mark.slow
def test_the_limit_on_sessions_is_a_503_with_a_time_to_come_back() -> None:
    with running(max_sessions=1) as server:
        made = server.create()
        answer = httpx.post(f"{server.url}/v1/sessions", json={"prompt": "a"})
        problem(answer, 503, "full")
        assert int(answer.headers["retry-after"]) > 0
        server.delete(made)
        server.delete(server.create())


@pytest.mark.slow
def test_while_the_model_loads_the_page_answers_and_readiness_says_no() -> None:
    with running("fake?load=2", start_timeout=0.3) as server:
        assert httpx.get(server.url).status_code == 200
        problem(httpx.get(f"{server.url}/readyz"), 503, "loading")
        problem(httpx.post(f"{server.url}/v1/sessions", json={"prompt": "a"}), 503, "loading")
        wait_for(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)


@pytest.mark.slow
def test_a_model_that_cannot_be_opened_is_said_to_whoever_asks() -> None:
    with running("broken") as server:
        wait_for(lambda: "broken" in httpx.get(f"{server.url}/readyz").text)
        problem(httpx.post(f"{server.url}/v1/sessions", json={"prompt": "a"}), 503, "invalid_model")
