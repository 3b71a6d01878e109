from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.fake import Fake, serving


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving() as server:
        yield server
