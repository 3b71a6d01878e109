"""WHEP as HTTP: every requirement of draft-ietf-wish-whep-03 on endpoint and session that a client can see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from stream.api.whep import accepts
from stream.ice import IceServer
from stream.webrtc.sdp import PLAYOUT_DELAY, parse_fragment, parse_offer
from tests.support.running_server import Running, running, wait_for
from tests.support.whep_peer import FRAGMENT, SDP, Peer

ORIGIN = {"Origin": "https://player.example"}


@pytest.fixture(scope="module")
def turning() -> Iterator[Running]:
    """A server that names a STUN and a TURN server (nobody asks them anything here)."""
    servers = (IceServer("stun:127.0.0.1:9"), IceServer("turn:127.0.0.1:9"))
    with running(
        ice_servers=servers, turn_secret="secret", record=False, allow_origins=("https://player.example",)
    ) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        yield run


@pytest.fixture
async def http(turning: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=turning.url, timeout=10) as client:
        yield client


@pytest.fixture
async def take(turning: Running) -> AsyncIterator[dict[str, Any]]:
    made = await asyncio.to_thread(turning.create)
    yield made
    await asyncio.to_thread(turning.delete, made)


async def post(http: httpx.AsyncClient, take: dict[str, Any], **headers: str) -> tuple[Peer, httpx.Response]:
    peer = Peer()
    offer = await peer.offer()
    bearer = {"Authorization": f"Bearer {take['token']}"}
    answer = await http.post(take["urls"]["whep"], content=offer, headers={**SDP, **bearer, **headers})
    return peer, answer


async def test_the_answer_has_all_that_a_player_needs(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    peer, answer = await post(http, take, **ORIGIN)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/sdp"
    assert answer.headers["location"].startswith(take["urls"]["whep"] + "/")
    links = answer.headers.get_list("link")
    assert [link.split(">")[0] for link in links] == ["<stun:127.0.0.1:9", "<turn:127.0.0.1:9"]
    assert 'credential-type="password"' in links[1]
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {"Location", "Link", "ETag", "Accept-Patch"} <= exposed
    lines = answer.text.splitlines()
    assert "a=sendonly" in lines
    assert "a=rtcp-mux-only" in lines
    assert len([line for line in lines if line.startswith("a=candidate:")]) >= 1, "all candidates are in the answer"
    await http.delete(answer.headers["location"])
    await peer.peer.close()


async def test_options_and_preflights_say_what_may_be_posted(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    url = take["urls"]["whep"]
    bare = await http.options(url)
    assert (bare.status_code, bare.headers["accept-post"]) == (200, "application/sdp")
    assert [link.split(">")[0] for link in bare.headers.get_list("link")] == ["<stun:127.0.0.1:9"], "no relay for all"
    mine = await http.options(url, headers={"Authorization": f"Bearer {take['view_token']}"})
    assert any(link.startswith("<turn:") for link in mine.headers.get_list("link"))
    wrong = await http.options(url, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401
    asked = {
        **ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    preflight = await http.options(url, headers=asked)
    assert (preflight.status_code, preflight.headers["accept-post"]) == (200, "application/sdp")
    assert preflight.headers["access-control-allow-origin"] == "https://player.example"
    asked = {**ORIGIN, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "if-match"}
    assert (await http.options(url + "/x", headers=asked)).status_code == 200
    assert (await http.options(url + "/x")).headers["accept-patch"] == "application/trickle-ice-sdpfrag"


async def test_get_and_head_find_an_endpoint_and_say_nothing(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    url = take["urls"]["whep"]
    for method in ("GET", "HEAD"):
        found = await http.request(method, url)
        assert (found.status_code, found.content) == (200, b"")
        assert found.headers["content-type"].startswith("application/sdp")
        assert (await http.request(method, "/v1/sessions/none/whep")).status_code == 404
        assert (await http.request(method, url + "/none")).status_code == 404
    peer, answer = await post(http, take)
    seen = await http.get(answer.headers["location"])
    assert (seen.status_code, seen.content) == (200, b"")
    await http.delete(answer.headers["location"])
    await peer.peer.close()


async def test_other_methods_are_405_and_say_which_are_not(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        refused = await http.request(method, take["urls"]["whep"])
        assert refused.status_code == 405
        assert refused.headers["allow"]
        assert refused.headers["content-type"] == "application/problem+json"


async def test_entity_tags(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    peer, answer = await post(http, take)
    where, etag = answer.headers["location"], answer.headers["etag"]
    fragment = "a=mid:0\r\na=end-of-candidates\r\n"
    for condition in (etag, "*", f'"other", {etag}'):
        fine = await http.patch(where, content=fragment, headers={**FRAGMENT, "If-Match": condition})
        assert (fine.status_code, fine.content, "etag" in fine.headers) == (204, b"", False)
    wrong = await http.patch(where, content=fragment, headers={**FRAGMENT, "If-Match": '"old"'})
    assert (wrong.status_code, wrong.json()["code"]) == (412, "wrong_etag")
    assert (await http.patch(where, content=fragment, headers=FRAGMENT)).status_code == 204, "players send none"
    assert (await http.delete(where, headers={"If-Match": '"old"'})).status_code == 200, "not asked for here"
    await peer.peer.close()


async def test_fragments_that_are_none(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    peer, answer = await post(http, take)
    where = answer.headers["location"]
    for body in (b"", b"hello", b"a=mid:0\r\n", b"\xff\xfe", b"a=candidate:1 1 udp x 127.0.0.1 9 typ host\r\n"):
        refused = await http.patch(where, content=body, headers=FRAGMENT)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_sdp"), body
    useless = "".join(
        f"a=candidate:1 1 {kind} 1 {host} 9 typ host\r\n"
        for kind, host in (("tcp", "127.0.0.1"), ("udp", "no.such.example"), ("udp", "x.local"), ("udp", "256.1.1.1"))
    )
    assert (await http.patch(where, content=useless, headers=FRAGMENT)).status_code == 204, "left out without a word"
    many = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 60
    assert (await http.patch(where, content=many, headers=FRAGMENT)).status_code == 400, "with those before, too many"
    ten_thousand = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 10_000
    assert (await http.patch(where, content=ten_thousand, headers=FRAGMENT)).status_code == 413
    await http.delete(where)
    await peer.peer.close()


@pytest.mark.slow
async def test_a_session_that_is_over_and_one_that_is_full(http: httpx.AsyncClient, turning: Running) -> None:
    made = await asyncio.to_thread(turning.create)
    first, _ = await post(http, made)
    before = turning.manager.config.max_viewers
    turning.manager.config.__dict__["max_viewers"] = 1  # frozen, and one server is enough for these tests
    try:
        second, full = await post(http, made)
        assert full.status_code == 503
        assert int(full.headers["retry-after"]) > 0
        await second.peer.close()
    finally:
        turning.manager.config.__dict__["max_viewers"] = before
    await asyncio.to_thread(turning.delete, made)
    third, over = await post(http, made)
    assert (over.status_code, over.json()["code"]) == (409, "stopped")
    await asyncio.to_thread(
        wait_for,
        lambda: (
            not any(v.session.id == made["id"] and not v.closed.is_set() for v in turning.app.state.viewers.values())
        ),
        10,
    )
    metrics = (await http.get("/metrics")).text
    assert 'farcast_viewers_gone_total{why="over"}' in metrics, "viewers do not outlive the session"
    for peer in (first, third):
        await peer.peer.close()


async def test_names_are_looked_up_by_nobody_who_waits(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    peer = Peer()
    sdp = await peer.offer()
    names = "".join(f"a=candidate:{i} 1 udp {i + 1} {i}a.local {9000 + i} typ host\r\n" for i in range(40))
    bearer = {"Authorization": f"Bearer {take['token']}"}
    began = asyncio.get_running_loop().time()
    answer = await http.post(take["urls"]["whep"], content=sdp + names, headers={**SDP, **bearer})
    assert answer.status_code == 201
    assert asyncio.get_running_loop().time() - began < 3, "forty look-ups would take forty seconds"
    await peer.take(answer)
    await peer.frame()
    await http.delete(peer.location)
    await peer.peer.close()


async def test_sound_and_bundled_video_may_be_offered_too(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver("audio", direction="recvonly")
    pc.addTransceiver("video", direction="recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    sdp = pc.localDescription.sdp
    head, video = sdp.split("m=video ", 1)
    bundled = head + "m=video 0 " + video.split(" ", 1)[1].replace("a=mid:1\r\n", "a=mid:1\r\na=bundle-only\r\n")
    assert parse_offer(bundled).mid == "0"
    bearer = {"Authorization": f"Bearer {take['token']}"}
    answer = await http.post(take["urls"]["whep"], content=bundled, headers={**SDP, **bearer})
    assert answer.status_code == 201, answer.text
    sections = answer.text.split("m=")
    assert "a=inactive" in sections[1]
    assert "a=sendonly" in sections[2]
    refused = head + "m=video 0 " + video.split(" ", 1)[1]
    assert (await http.post(take["urls"]["whep"], content=refused, headers={**SDP, **bearer})).status_code == 400
    await http.delete(answer.headers["location"])
    await pc.close()


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("", True),
        ("*/*", True),
        ("application/*;q=0.5", True),
        ("text/html, application/sdp", True),
        ("image/png", False),
        ("application/sdp;q=0, */*", False),
        ("application/sdpx", False),
    ],
)
def test_accept(header: str, taken: bool) -> None:
    assert accepts(header, "application/sdp") is taken


def test_a_fragment_as_the_draft_shows_it() -> None:
    fragment = parse_fragment(
        "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
        "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4\r\n"
        "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n"
        "a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 ufrag EsAw\r\n"
        "a=end-of-candidates\r\n"
    )
    assert (fragment.ufrag, fragment.count, len(fragment.candidates)) == ("EsAw", 2, 1)


async def test_who_takes_a_hint_to_play_without_delay_gets_it(http: httpx.AsyncClient, take: dict[str, Any]) -> None:
    extension = f"a=extmap:7 {PLAYOUT_DELAY}"
    peer = Peer()
    sdp = (await peer.offer()).replace("a=recvonly\r\n", f"a=recvonly\r\n{extension}\r\n")
    bearer = {"Authorization": f"Bearer {take['token']}"}
    answer = await http.post(take["urls"]["whep"], content=sdp, headers={**SDP, **bearer})
    assert answer.text.splitlines().count(extension) == 1
    await peer.take(answer)
    await peer.frame()
    await http.delete(peer.location)
    await peer.peer.close()
    other, plain = await post(http, take)
    assert PLAYOUT_DELAY not in plain.text
    await http.delete(plain.headers["location"])
    await other.peer.close()
