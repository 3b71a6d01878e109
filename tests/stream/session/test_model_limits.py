"""What a model says of itself bounds what a session may ask for: words, steps, guidance."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from farcast.protocol import Dial, ModelInfo
from websockets.asyncio.client import connect

from stream.session.session import default_ceiling
from tests.support.running_server import Running, running


@pytest.fixture(scope="module")
def closed() -> Iterator[Running]:
    """A server whose model has a closed vocabulary."""
    with running("fake?step=0.002&closed=1") as server:
        yield server


def test_the_model_names_its_words_steps_and_guidance(closed: Running) -> None:
    model = ModelInfo.model_validate_json(httpx.get(f"{closed.url}/v1/model").content)
    assert model.vocabulary is not None
    assert model.vocabulary.words == {"colour": ["red", "blue"], "shape": ["circle", "star"]}
    assert model.vocabulary.caption == "a {colour} {shape}"
    assert (model.steps, model.guidance, model.guidance_range, model.max_steps) == (4, 1.0, (1.0, 1.5), 50)


async def pending(server: Running, *prompts: dict[str, Any]) -> list[dict[str, Any]]:
    """The `prompt_pending` of each prompt, sent one after another on one control socket."""
    made, found = await asyncio.to_thread(server.create, "a red circle"), []
    headers = server.headers(made)
    async with connect(server.socket(made), additional_headers=headers) as socket, asyncio.timeout(20):
        for number, prompt in enumerate(prompts):
            await socket.send(json.dumps({"type": "prompt", "id": f"p{number}", **prompt}))
            while (message := json.loads(await socket.recv()))["type"] != "prompt_pending":
                pass
            found.append(message)
    await asyncio.to_thread(server.delete, made)
    return found


async def test_pending_prompts_name_the_words_that_mean_nothing(closed: Running) -> None:
    messages = await pending(
        closed, {"text": "A blue BALL, please"}, {"text": "a red star"},
        {"mix": [["a red cat", 1], ["a blue dog cat", 2]]},
    )  # fmt: skip
    assert [message["unknown"] for message in messages] == [["please"], [], ["cat", "dog"]]


def test_a_model_of_free_text_takes_what_the_wire_takes(server: Running) -> None:
    model = ModelInfo.model_validate_json(httpx.get(f"{server.url}/v1/model").content)
    assert (model.vocabulary, model.steps, model.guidance_range) == (None, None, (1.0, 20.0))


async def test_a_model_of_free_text_says_nothing_of_words(server: Running) -> None:
    assert "unknown" not in (await pending(server, {"text": "a cat"}))[0]


def test_the_models_steps_are_the_default_ceiling(closed: Running) -> None:
    made = [
        httpx.post(f"{closed.url}/v1/sessions", json={"prompt": "a red star", **more}).json()["dial"]
        for more in ({}, {"dial": {"latency_ms": 900}}, {"dial": {"ceiling": 20}}, {"dial": {"floor": 6}})
    ]
    assert [(dial["floor"], dial["ceiling"]) for dial in made] == [(1, 4), (1, 4), (1, 20), (6, 6)]
    assert default_ceiling(Dial(), None).ceiling == 32


@pytest.mark.parametrize(("guidance", "status"), [(1.0, 201), (1.5, 201), (2.5, 400), (20.0, 400)])
def test_guidance_out_of_the_models_range_is_refused(closed: Running, guidance: float, status: int) -> None:
    answer = httpx.post(f"{closed.url}/v1/sessions", json={"prompt": "a red star", "guidance": guidance})
    assert answer.status_code == status
    if status == 201:
        made = answer.json()
        httpx.delete(f"{closed.url}{made['urls']['session']}", headers={"Authorization": f"Bearer {made['token']}"})
    else:
        assert answer.json()["code"] == "guidance_out_of_range"
        assert "fake takes 1 to 1.5" in answer.json()["detail"]
