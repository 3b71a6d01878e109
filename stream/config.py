"""Every option of the server, in one frozen value."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from .errors import ConfigError
from .ice import IceServer

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class ServerConfig:
    """Times in seconds, sizes in bytes. Raises ConfigError when a value makes no sense."""

    host: str = "127.0.0.1"
    port: int = 8000
    model: str | None = None  # folder or hub id; None = the embedded model
    device: str = "auto"
    # "module:function" that opens the model in the engine process
    engine: str = "stream.engine.torch_backend:open_model"
    execution: str = "eager"  # how passes through the network run: eager, compile, graphs or compile+graphs
    decoder: str | None = None  # a TAEHV file in place of the VAE's decoder
    lora: tuple[str, ...] = ()  # adapters fused into the transformer, FILE or FILE:SCALE
    engine_threads: int = 0  # torch threads of the engine; 0 = chosen from the number of cores

    max_sessions: int = 4
    max_viewers: int = 64  # a session
    viewer_grace: float = 20.0  # a session nobody watches is paused after this ...
    idle_lifetime: float = 600.0  # ... and deleted after this
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

    state_dir: str | None = None  # folder or fsspec URL where sessions are kept; None = they end with the server
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
