"""`farcast bench chaos`: what it counts, and a few rounds of it against a real server with a cheap model."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

pytest.importorskip("torch", reason="the server's packages are not installed")

from farcast.protocol import ProtocolError, parse_client

from bench.chaos.clients import Client
from bench.chaos.faults import FAULTS
from bench.chaos.rounds import Outcome, Setting, measure, pick, told
from bench.chaos.rude import message
from bench.chaos.uninterrupted import differing, load
from bench.commands.chaos import bars
from models.evaluation.report import document

PATTERN = ("bench.transport.pattern_model:open_model", "pattern?width=64&height=64")
BY_NAME = {fault.name: fault for fault in FAULTS}


def test_every_fault_comes_once_before_one_comes_again() -> None:
    names = [fault.name for fault, _ in zip(pick(FAULTS, random.Random(3), lambda: 0.0), FAULTS, strict=False)]
    assert sorted(names) == sorted(BY_NAME)


def test_engines_are_not_lost_faster_than_a_server_allows() -> None:
    now = 0.0
    faults, lost = pick(FAULTS, random.Random(1), lambda: now), []
    for now in range(0, 1200, 6):
        if next(faults).engine_lost:
            lost.append(now)
    assert all(later - at >= 60 for at, later in zip(lost, lost[3:], strict=False))
    assert len(lost) > 30


def test_no_malformed_message_is_a_command() -> None:
    chance = random.Random(0)
    for _ in range(2000):
        text = message(chance)
        if isinstance(text, str):
            with pytest.raises(ProtocolError):
                parse_client(text)


@pytest.mark.parametrize(
    ("fault", "said", "closed", "expected"),
    [
        ("engine killed", ["recovering: The engine is being started again."], [], True),
        ("engine killed", ["underrun"], ["media: gone"], False),
        ("server SIGTERM", [], ["control: received 1012 (service restart)"], True),
        ("server SIGTERM", [], ["control: no close frame received or sent"], False),
        ("server SIGKILL", [], ["control: no close frame received or sent"], True),
        ("server SIGKILL", [], [], False),
        ("malformed messages", [], [], True),
    ],
)
def test_who_was_told(fault: str, said: list[str], closed: list[str], *, expected: bool) -> None:
    client = Client("http://127.0.0.1:1", 0, seed=1, steps=1, show=False)
    client.seen.told, client.seen.closed = said, closed
    assert told(BY_NAME[fault], client) is expected


def test_a_chunk_that_differs_is_found() -> None:
    engine, source = PATTERN
    model = load(engine, source, 1)
    score = {
        "seed": 1, "guidance": 1.0, "checks": [], "entries": [{"prompt": "x"}, {"sigmas": [1.0, 0.0]}]
    }  # fmt: skip
    assert differing(model, score, 10) == (0, [])
    from bench.chaos.uninterrupted import checks

    fresh = [check for check, _ in zip(checks(model, score), range(4), strict=False)]
    assert len(set(fresh)) == 4
    score["checks"] = [*fresh[:2], "00000000", fresh[3]]
    assert differing(model, score, 10) == (4, [2])
    assert differing(model, score, 2) == (2, [])


def test_bars_fail_for_what_went_wrong() -> None:
    outcome = Outcome()
    outcome.rounds["engine killed"] = 1
    outcome.seconds["engine killed"] += [3.0, 4.0, 5.0]
    outcome.lost.append("session 1, engine killed: failed")
    figures = {
        **outcome.figures(), "tracebacks": 1, "server_exits_by_itself": 0, "exit_statuses_after_sigterm": [0, 1]
    }  # fmt: skip
    report = document("chaos", figures, bars(figures))
    json.dumps(report, allow_nan=False)
    assert [bar["name"] for bar in report["bars"] if bar["holds"]] == [
        "clients not told", "ends of the server that nobody asked for", "pixels equal: chunks that differ"
    ]  # fmt: skip


@pytest.mark.slow
def test_sessions_outlive_the_engine_and_the_server() -> None:
    engine, model = PATTERN
    names = ("engine killed", "server SIGTERM", "malformed messages")
    setting = Setting(len(names), model=model, engine=engine, faults=[BY_NAME[name] for name in names])
    figures = asyncio.run(measure(setting, lambda line: None))
    assert {name: of["rounds"] for name, of in figures["by_fault"].items()} == dict.fromkeys(sorted(names), 1)
    # All bars but those on speed, which a busy machine misses.
    assert [bar.name for bar in bars(figures) if not bar.holds and "median" not in bar.name] == []
