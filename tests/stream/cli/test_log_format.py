from __future__ import annotations

import logging

from stream.cli.log_format import OneLine


def test_a_message_cannot_forge_a_line() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "said %s", ("x\nERROR forged\x1b[2J\u202e\u2028é",), None)
    line = OneLine("%(levelname)s %(message)s").format(record)
    assert line == "INFO said x\\nERROR forged\\x1b[2J\\u202e\\u2028é"
