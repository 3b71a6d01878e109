from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faults import FaultyServer, faulty_server


@pytest.fixture(scope="session")
def one_faulty_server() -> Iterator[FaultyServer]:
    with faulty_server("fake?step=0.002&size=96&height=64&too_many=13") as server:
        yield server


@pytest.fixture
def server(one_faulty_server: FaultyServer) -> FaultyServer:
    """The real server over the fake backend, 96 x 64 pixels; nothing is left of the test before."""
    one_faulty_server.reset()
    return one_faulty_server
