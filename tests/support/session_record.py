"""A session's record, for tests of the store."""

from __future__ import annotations

from stream.state.record import SessionRecord

RECORD = SessionRecord(
    id="abc-1", token="t", view_token="v", model="fake", weights="w", prompt="a red circle", seed=7, guidance=1.0,
    dial={"latency_ms": 1500.0}, state="live", chunk=3, frame=30, created_at=1.0, saved_at=2.0, snapshot_chunk=3,
)  # fmt: skip
