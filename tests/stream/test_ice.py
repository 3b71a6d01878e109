"""ICE servers: what an operator may name, and credentials that coturn takes for a while."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

import pytest

from stream.config import ServerConfig
from stream.errors import ConfigError
from stream.ice import IceServer, credentials, links
from stream.webrtc import viewer

STUN, TURN = IceServer("stun:stun.example.org"), IceServer("turn:turn.example.org:3478?transport=udp")


def test_credentials_are_what_coturn_expects() -> None:
    made = credentials("secret", "ann", now=1_000_000.0, lifetime=3600)
    assert made.username == "1003600:ann"
    digest = hmac.digest(b"secret", made.username.encode(), hashlib.sha1)
    assert made.password == base64.b64encode(digest).decode()


def test_links_are_as_whip_defines_them() -> None:
    stun, turn = links([STUN, TURN], "secret", now=1_000_000.0)
    assert stun == '<stun:stun.example.org>; rel="ice-server"'
    pattern = (
        r'<turn:turn\.example\.org:3478\?transport=udp>; rel="ice-server"; username="(\d+):[\w-]+"; '
        r'credential="[A-Za-z0-9+/]+=*"; credential-type="password"'
    )
    match = re.fullmatch(pattern, turn)
    assert match is not None, turn
    assert 1_000_000 < int(match[1]) <= 1_000_000 + 24 * 3600, "short-lived"


def test_everybody_gets_a_name_of_their_own_and_strangers_no_relay() -> None:
    assert links([TURN], "secret", 0.0) != links([TURN], "secret", 0.0)
    assert links([STUN, TURN], "secret", 0.0, relays=False) == links([STUN], None, 0.0)


@pytest.mark.parametrize(
    "url",
    ["stun:a.example", "stun:192.0.2.7:3479", "turn:[2001:db8::1]:3478", "turns:a.example:443?transport=tcp"],
)
def test_good_urls(url: str) -> None:
    assert IceServer(url).relays is not url.startswith("stun:")


@pytest.mark.parametrize(
    "url",
    ["", "turn.example.org", "http://a.example", "stun:a:99999", "turn:a?transport=sctp", 'turn:a>; rel="x', "stun:"],
)
def test_bad_urls_are_refused_in_words(url: str) -> None:
    with pytest.raises(ConfigError, match="ICE server"):
        IceServer(url)


def test_a_relay_needs_its_secret() -> None:
    with pytest.raises(ConfigError, match="--turn-secret"):
        ServerConfig(ice_servers=(TURN,))
    with pytest.raises(ConfigError, match="--relay needs"):
        ServerConfig(ice_servers=(STUN,), relay=True)


def test_what_this_side_asks() -> None:
    """STUN only where the public address is not known, a relay only when told to."""
    both = {"ice_servers": (STUN, TURN), "turn_secret": "secret"}
    urls = lambda **more: [s.urls for s in viewer.own_ice_servers(ServerConfig(**both, **more))]  # noqa: E731
    assert urls(host="127.0.0.1") == []
    assert urls(host="0.0.0.0", open=True) == [STUN.url]
    assert urls(host="0.0.0.0", open=True, public_address="192.0.2.7") == []
    assert urls(host="0.0.0.0", open=True, public_address="192.0.2.7", relay=True) == [TURN.url]
