from __future__ import annotations

import pytest

from tests.support.running_server import Running


@pytest.fixture(scope="session")
def server(running_server: Running) -> Running:
    return running_server
