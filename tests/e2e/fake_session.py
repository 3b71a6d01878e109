"""A session of the server without a model: its clock, its answers, and the frames it draws."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import RTCPeerConnection, VideoStreamTrack
from farcast.protocol import (
    Chunk,
    Dial,
    DialApplied,
    ImageApplied,
    Pong,
    PromptApplied,
    PromptPending,
    PromptRejected,
    ProtocolError,
    parse_client,
    refusal,
)
from farcast.protocol import Session as SessionMessage
from fastapi import WebSocket
from PIL import Image, ImageDraw

Mix = Sequence[tuple[str, float]]
SIDE, FPS, CHUNK = 128, 16, 12
COLOURS = {
    "red": (226, 52, 48), "blue": (44, 92, 222), "green": (52, 168, 83), "yellow": (248, 208, 56),
    "white": (245, 245, 245), "black": (16, 16, 16), "navy": (18, 28, 78), "gray": (128, 128, 128),
}  # fmt: skip


def draw(prompt: str, t: float, start: Image.Image | None) -> Image.Image:
    """A frame that shows the prompt at time t (s), over the picture the shot began with."""
    words = prompt.lower().replace(",", " ").split()
    found = [COLOURS[w] for w in words if w in COLOURS]
    shape = found[0] if found else (200, 200, 200)
    ground = found[1] if len(found) > 1 else COLOURS["navy"]
    frame = start.copy() if start else Image.new("RGB", (SIDE, SIDE), ground)
    x, y = SIDE / 2 + 34 * math.sin(1.3 * t), SIDE / 2 + 26 * math.sin(2.1 * t)
    r = 14 if "small" in words else 34 if "big" in words else 24
    ImageDraw.Draw(frame).ellipse((x - r, y - r, x + r, y + r), fill=shape)
    return frame


def draw_mix(mix: Mix, t: float, start: Image.Image | None) -> Image.Image:
    """The frames of all prompts laid over one another, by weight."""
    layers = [(weight, np.asarray(draw(text, t, start), np.float32)) for text, weight in mix]
    return Image.fromarray(sum(weight * layer for weight, layer in layers).astype(np.uint8))  # type: ignore[union-attr]


def film(mix: Mix, seconds: float) -> bytes:
    """An MP4 of what such a session shows."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for i in range(round(seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(np.asarray(draw_mix(mix, i / FPS, None)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def last_frame(clip: bytes) -> Image.Image:
    """What a take goes on from."""
    with av.open(io.BytesIO(clip)) as container:
        *_, frame = container.decode(video=0)
    return frame.to_image().resize((SIDE, SIDE))  # type: ignore[no-any-return]


class FakeSession:
    def __init__(self, number: int, prompt: str, dial: Dial, seed: int, image: Image.Image | None) -> None:
        self.id, self.token, self.view_token = f"s{number}", f"token{number}", f"view{number}"
        self.prompt, self.dial, self.seed, self.image = prompt, dial, seed, image
        self.mix: Mix = [(prompt, 1.0)]  # on screen
        self.shown = prompt  # the same in words
        self.state: Any = "live"
        self.frame = self.chunk = 0
        self.sockets: set[WebSocket] = set()
        self.peers: set[RTCPeerConnection] = set()
        self.next_image: tuple[str, Image.Image] | None = None
        self.waiting: list[tuple[str, str, Mix, float]] = []  # re, words, mix, since
        self.task = asyncio.create_task(self.run())

    def message(self, re: str | None = None) -> SessionMessage:
        return SessionMessage(
            re=re, id=self.id, state=self.state, width=SIDE, height=SIDE, fps=FPS, model="fake", prompt=self.prompt,
            seed=self.seed, dial=self.dial, chunk=self.chunk, frame=self.frame, viewers=len(self.peers),
        )  # fmt: skip

    async def tell(self, message: Any) -> None:
        for socket in list(self.sockets):
            with contextlib.suppress(Exception):
                await socket.send_text(message.dump())

    @property
    def steps(self) -> int:
        """As a governor might: the more time, the more steps."""
        wanted = self.dial.steps or round(self.dial.latency_ms / 375)
        return max(self.dial.floor, min(self.dial.ceiling, wanted))

    async def run(self) -> None:
        while self.state != "stopped":
            frames = 1 if self.chunk == 0 else CHUNK
            while self.state == "paused":
                await asyncio.sleep(0.05)
            began = self.frame
            if self.waiting:
                await self.apply_prompts()
            if self.next_image:
                re, self.image = self.next_image
                self.next_image = None
                await self.tell(ImageApplied(re=re, chunk=self.chunk, frame=self.frame))
            took = 60 + 55 * self.steps + 20 * math.sin(self.chunk)
            await self.tell(
                Chunk(
                    index=self.chunk, frame=began, frames=frames, steps=self.steps, took_ms=took, deadline_ms=750,
                    lead_ms=750 + 90 * math.cos(self.chunk / 3), fps=FPS, realtime_factor=750 / took, prompt=self.shown,
                )
            )  # fmt: skip
            await asyncio.sleep(frames / FPS)
            self.frame = began + frames
            self.chunk += 1

    async def apply_prompts(self) -> None:
        *old, (re, text, self.mix, since) = self.waiting
        self.waiting = []
        for gone, words, *_ in old:
            await self.tell(PromptRejected(re=gone, text=words, code="superseded", message="A newer prompt came."))
        self.prompt = self.shown = text
        latency = (time.monotonic() - since) * 1000 + 50
        await self.tell(
            PromptApplied(
                re=re, text=text, chunk=self.chunk, frame=self.frame, pts=self.frame / FPS, latency_ms=latency
            )
        )

    async def obey(self, raw: str) -> None:
        try:
            message = parse_client(raw)
        except ProtocolError as error:
            return await self.tell(refusal(error))
        if message.type == "ping":
            return await self.tell(Pong(re=message.id, t=message.t))
        if message.type == "prompt":
            mix = message.mix or [(message.words, 1.0)]
            self.waiting.append((message.id, message.words, mix, time.monotonic()))
            return await self.tell(PromptPending(re=message.id, text=message.words))
        if message.type == "dial":
            self.dial = message.merged(self.dial)
            applied = DialApplied(re=message.id, dial=self.dial, chunk=self.chunk, frame=self.frame)
            return await self.tell(applied)
        if message.type == "rewind":
            self.chunk = message.chunk - 1  # the chunk under way closes as the one before
            self.frame = max(0, 1 + CHUNK * (message.chunk - 1)) if message.chunk else 0
        else:
            self.state = {"pause": "paused", "resume": "live", "stop": "stopped"}[message.type]
        return await self.tell(self.message(message.id))

    async def cut(self) -> None:
        for socket in list(self.sockets):
            with contextlib.suppress(Exception):
                await socket.close(1012)
        for peer in list(self.peers):
            await peer.close()
        self.peers.clear()


class Picture(VideoStreamTrack):
    """Frames by the clock; stands still while the session does."""

    def __init__(self, session: FakeSession) -> None:
        super().__init__()
        self.session, self.count, self.t = session, 0, 0.0
        self.began = time.monotonic()

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(max(0.0, self.began + self.count / FPS - time.monotonic()))
        while self.session.state == "paused":
            await asyncio.sleep(0.05)
            self.began = time.monotonic() - self.count / FPS
        self.count += 1
        self.t += 1 / FPS
        frame = av.VideoFrame.from_ndarray(np.asarray(draw_mix(self.session.mix, self.t, self.session.image)))
        frame.pts, frame.time_base = self.count * 90000 // FPS, Fraction(1, 90000)
        return frame
