"""The bounds of every number and text on the wire, in one place. The server and the page show these too."""

from __future__ import annotations

PROMPT_CHARS = 2000  # characters after trimming
MIX_ENTRIES = 4  # prompts of a weighted mix
MIX_WEIGHT = 1e6  # the largest weight in a mix; only their ratio counts
ID_CHARS = 64  # characters of a message id
MESSAGE_BYTES = 64 * 1024  # one control message
LATENCY_MS = (200.0, 30_000.0)  # the dial's latency target, milliseconds
STEPS = (1, 50)  # step budget of a chunk
TRANSITION = (0, 32)  # chunks over which one prompt blends into the next
SEED_MAX = 2**53 - 1  # the largest integer every JSON reader keeps exactly
GUIDANCE = (1.0, 20.0)  # classifier-free guidance; 1 = off
CHUNK_MAX = 2**31 - 1
