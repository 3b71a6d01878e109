"""Every option of the server, in one frozen value."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from .errors import ConfigError
from .ice import IceServer

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


Scope = Literal["create", "operate"]
SCOPES: frozenset[Scope] = frozenset(("create", "operate"))


@dataclass(frozen=True)
class ApiKey:
    """A key of the server: `create` starts sessions, `operate` lists and ends them. `name` stands for it in logs."""

    key: str = field(repr=False)
    scopes: frozenset[Scope] = SCOPES

    @classmethod
    def parse(cls, text: str) -> ApiKey:
        """`KEY`, with every scope, or `create:KEY`, `operate:KEY`. Raises ConfigError."""
        head, colon, rest = text.strip().partition(":")
        scopes, key = (frozenset((head,)), rest) if colon and head in SCOPES else (SCOPES, text.strip())
        if len(key) < 16 or not key.isprintable() or any(c.isspace() for c in key):
            raise ConfigError("A key has 16 characters or more and no spaces. Make one with `openssl rand -hex 24`.")
        return cls(key, scopes)

    @property
    def name(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class RateLimits:
    """What one user (an address, with a key where one is used) may do, as `limits` writes rates: "20/minute"."""

    sessions: int = 2  # at once
    sockets: int = 32  # at once
    creations: str = "20/minute"
    prompts: str = "300/minute"  # prompts, dials, rewinds, pauses
    pictures: str = "30/minute"
    kilobytes: str = "262144/minute"

    def __post_init__(self) -> None:
        for rate in (self.creations, self.prompts, self.pictures, self.kilobytes):
            if re.fullmatch(r"[1-9]\d*/(second|minute|hour|day)", rate) is None:
                raise ConfigError(f"{rate!r} is no rate. Give one like 20/minute.")
        if self.sessions < 1 or self.sockets < 1:
            raise ConfigError("A user must be allowed one session and one socket at least.")


@dataclass(frozen=True)
class ServerConfig:
    """Times in seconds, sizes in bytes. Raises ConfigError when a value makes no sense."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[ApiKey, ...] = ()  # without one, everybody who reaches the server may start sessions
    open: bool = False  # ... which has to be said where that is not only this machine
    public_urls: tuple[str, ...] = ()  # addresses under which the page is served, by a proxy for one
    root_path: str = ""  # path prefix of a proxy before the server, such as /farcast
    allow_origins: tuple[str, ...] = ()  # of other pages that may use the server; "*" = all
    model: str | None = None  # folder or hub id; None = the embedded model
    device: str = "auto"
    # "module:function" that opens the model in the engine process
    engine: str = "stream.engine.torch_backend:open_model"
    execution: str = "eager"  # how passes through the network run: eager, compile, graphs or compile+graphs
    decoder: str | None = None  # a TAEHV file in place of the VAE's decoder
    lora: tuple[str, ...] = ()  # adapters fused into the transformer, FILE or FILE:SCALE
    engine_threads: int = 0  # torch threads of the engine; 0 = chosen from the number of cores

    rates: RateLimits | None = None  # of one user; None = no limit, for a server that one person uses
    max_sessions: int = 4
    max_viewers: int = 64  # a session
    viewer_grace: float = 20.0  # a session nobody watches is paused after this ...
    idle_lifetime: float = 600.0  # ... and deleted after this
    lifetime: float = 0.0  # seconds after which a session ends, however it is used; 0 = never
    pause_grace: float = 60.0  # how long a session that its user paused keeps its place while others wait for one
    tombstone: float = 120.0  # how long a stopped session is still known (409 instead of 404)
    start_grace: float = 3.0  # how long the first frame waits for the first viewer
    start_timeout: float = 60.0  # how long POST /v1/sessions waits for a model that is still loading

    renders: bool = True  # make takes again for those who ask
    render_seconds: float = 600.0  # the longest take that is
    renderer: str = "stream.score.render_job:open_renderer"  # "module:function", see there

    max_lead: float = 6.0  # seconds of video that may wait for playout, whatever the dial says
    min_fps: float = 8.0  # elastic playout never goes slower than this

    ice_addresses: tuple[str, ...] = ()  # local addresses to offer; empty = all, and loopback when bound to it
    ice_ports: tuple[int, int] | None = None  # inclusive UDP range; None = any free port
    public_address: str | None = None  # what to announce instead of the local address (server behind NAT)
    ice_servers: tuple[IceServer, ...] = ()  # STUN and TURN servers that are named to viewers
    turn_secret: str | None = None  # shared with those TURN servers; credentials are made from it
    relay: bool = False  # also this side gets a relay from them: for a server that viewers cannot reach
    connect_timeout: float = 15.0  # a peer that has not connected by then is dropped
    silence_timeout: float = 4.5  # a viewer that sends neither RTCP nor an ICE check for so long is gone

    record: bool = True  # what every session shows, to be downloaded
    record_dir: str | None = None  # None = a temporary folder that goes with the server
    record_seconds: float = 3600.0  # the most of one session
    record_bytes: int = 512 * 1024 * 1024  # the most of one session
    record_space: int = 4 * 1024 * 1024 * 1024  # of all recordings; the oldest finished ones make room
    record_keep: float = 3600.0  # how long a recording stays after its session

    max_connections: int = 2048  # TCP connections at once, as far as the descriptors allow

    state_dir: str | None = None  # folder or fsspec URL where sessions are kept; None = they end with the server
    state_shared: bool = False  # several servers use it (a fleet): sessions are adopted one by one, and claims fence
    state_bytes: int = 4 * 1024 * 1024 * 1024  # of all of them; the oldest make room
    state_keep: float = 7 * 86400.0  # seconds since a session was last written

    max_json: int = 64 * 1024
    max_sdp: int = 64 * 1024
    max_upload: int = 32 * 1024 * 1024
    filters: tuple[str, ...] = ()  # "module:function" of content filters, see stream.uploads.filters
    upload_space: int = 256 * 1024 * 1024  # of all uploads being received or decoded, in memory and temporary files
    upload_processes: int = 2  # uploads decoded at a time, each in a process of its own
    upload_waiting: int = 8  # uploads that wait for one of those; more are refused

    def __post_init__(self) -> None:
        if not self.on_loopback and not self.api_keys and not self.open:
            raise ConfigError(
                f"With --host {self.host} others reach the server, and there is no key. Set one with --api-key-file or "
                "FARCAST_API_KEY, or say --open to let everybody in."
            )
        for url in (*self.public_urls, *(origin for origin in self.allow_origins if origin != "*")):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(f"{url!r} is no address of a page. Give one like https://video.example.org.")
        if self.root_path and not re.fullmatch(r"(/[\w.~-]+)+", self.root_path):
            raise ConfigError(f"--root-path must be like /farcast, without a slash at its end, not {self.root_path!r}.")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"The port must be from 0 to 65535, not {self.port}.")
        if self.render_seconds <= 0:
            raise ConfigError(f"--render-minutes must be above 0, not {self.render_seconds / 60:g}.")
        if self.max_sessions < 1:
            raise ConfigError(f"--max-sessions must be 1 or more, not {self.max_sessions}.")
        if self.record_seconds <= 0 or self.record_keep < 0 or self.record_bytes < 2**20:
            raise ConfigError("--record-minutes must be above 0, --record-size 1 MiB or more, --record-keep 0 or more.")
        if self.record_space < self.record_bytes:
            raise ConfigError("--record-space must be at least as large as --record-size, the bound of one recording.")
        for address in (*self.ice_addresses, *filter(None, [self.public_address])):
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise ConfigError(f"{address!r} is not an IP address. Give one like 192.0.2.7.") from None
        if any(server.relays for server in self.ice_servers) and not self.turn_secret:
            raise ConfigError(
                "A turn: server needs the secret it shares with this one: --turn-secret, or FARCAST_TURN_SECRET."
            )
        if self.relay and not any(server.relays for server in self.ice_servers):
            raise ConfigError("--relay needs a turn: server, named with --ice-server.")
        if self.ice_ports is not None:
            low, high = self.ice_ports
            if not 1 <= low <= high <= 65535:
                raise ConfigError(f"The UDP range {low}-{high} must lie in 1-65535, lower end first.")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK_NAMES
