"""The checks of `farcast doctor`. Each one looks at one thing and changes nothing."""

from __future__ import annotations

import asyncio
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "warn", "fail"]
PACKAGES = ("farcast", "farcast-server", "torch", "diffusers", "transformers", "aiortc", "av")
SPACE = 1 * 2**30  # bytes below which a warning is due
UDP_SECONDS = 10.0


@dataclass(frozen=True)
class Check:
    """`found` is what there is; `action` what to do, for a warning or a failure."""

    name: str
    state: State
    found: str
    action: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def machine_checks() -> Iterator[Check]:
    """Versions, PyTorch and GPU, encoders."""
    yield _versions()
    yield _gpu()
    yield from _encoders()


def _versions() -> Check:
    found, missing = [f"Python {platform.python_version()}"], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    text = ", ".join(found)
    if missing:
        return Check("versions", "fail", f"{text}; not installed: {', '.join(missing)}", "Run `make setup`.")
    return Check("versions", "ok", text)


def _gpu() -> Check:
    import torch

    cuda = torch.version.cuda
    build = f"PyTorch {torch.__version__}, " + (f"built for CUDA {cuda}" if cuda else "built for the CPU")
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        return Check("gpu", "ok", f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free; {build}")
    if shutil.which("nvidia-smi") is None:
        return Check("gpu", "ok", f"none; the embedded model runs on the CPU; {build}")
    if cuda is None:
        return Check("gpu", "warn", f"there is a driver, but {build}", "Run `make setup GPU=1`.")
    action = "Run nvidia-smi; the driver may be older than this CUDA."
    return Check("gpu", "warn", f"there is a driver, but PyTorch finds no device; {build}", action)


def _encoders() -> Iterator[Check]:
    import av
    import numpy as np

    from stream.video.encoder import CODECS, VideoEncoder, picture

    frame = picture(np.zeros((64, 64, 3), np.uint8))
    for codec in CODECS:
        try:
            packet = VideoEncoder(codec, 64, 64, 16.0, 300_000).encode(frame, 0, keyframe=True)
        except (ValueError, OSError, av.error.FFmpegError) as error:
            action = "Install PyAV from its wheel: pip install --force-reinstall --only-binary av av"
            yield Check(f"encoder {codec}", "fail", str(error), action)
        else:
            yield Check(f"encoder {codec}", "ok", f"{packet.size if packet is not None else 0} bytes for a test frame")


def model_check(source: str | None) -> Check:
    """Whether the checkpoint is on this machine. Downloads nothing."""
    from models.checkpoint.bundle import TINY
    from models.checkpoint.files import INDEX, check_folder
    from models.errors import ModelError

    if source is not None and source.startswith("random:"):
        return Check("model", "ok", f"{source}: random weights")
    folder = TINY if source is None else Path(source).expanduser()
    if folder.is_dir():
        try:
            check_folder(folder)
        except ModelError as error:
            return Check("model", "fail", str(error), "Give another --model, or fetch it again.")
        return Check("model", "ok", f"{'embedded' if source is None else folder}, all parts are there")
    name = str(source)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        return Check("model", "fail", f"no folder {name}", "Give an existing folder or a hub id such as owner/name.")
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, INDEX)
    except HFValidationError:
        return Check("model", "fail", f"{name!r} is not a hub id", "A hub id looks like owner/name.")
    if isinstance(cached, str):
        return Check("model", "ok", f"{name} is in the hub's cache: {Path(cached).parent}")
    return Check("model", "warn", f"{name} is not on this machine", "The first start downloads it.")


def ports_checks(host: str, port: int, media: tuple[int, int] | None) -> Iterator[Check]:
    """The TCP port, and how many of the UDP ports are free."""
    name = f"tcp {host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(1)  # with SO_REUSEADDR, bind alone succeeds beside some other servers
    except OSError as error:
        yield Check(name, "fail", str(error.strerror), "Choose another --port, or end what uses this one.")
    else:
        yield Check(name, "ok", "free")
    if media is None:
        return
    low, high = media
    count = sum(_free_udp(one) for one in range(low, high + 1))
    text = f"{count} of {high - low + 1} free, one for each viewer"
    if count == 0:
        yield Check(f"udp {low}-{high}", "fail", text, "Choose another range with --ice-ports.")
    else:
        state: State = "ok" if count > (high - low) // 2 else "warn"
        yield Check(f"udp {low}-{high}", state, text, "" if state == "ok" else "Something else uses many of them.")


def _free_udp(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return False
        return True


async def udp_check(host: str, media: tuple[int, int] | None) -> Check:
    """A WebRTC data channel from this process to itself, over the addresses that a viewer would be offered."""
    from aiortc import RTCConfiguration, RTCPeerConnection

    from stream.config import ServerConfig
    from stream.webrtc.aiortc_hooks import IceAddresses, offer_addresses
    from stream.webrtc.viewer import local_addresses

    addresses = local_addresses(ServerConfig(host=host, open=True))
    near, far = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    opened = asyncio.Event()
    near.createDataChannel("doctor").on("open", opened.set)
    shown = ", ".join(addresses) or "no address"
    try:
        offer_addresses(near, IceAddresses(addresses))
        await near.setLocalDescription(await near.createOffer())
        await far.setRemoteDescription(near.localDescription)
        offer_addresses(far, IceAddresses(addresses, media))
        await far.setLocalDescription(await far.createAnswer())
        await near.setRemoteDescription(far.localDescription)
        async with asyncio.timeout(UDP_SECONDS):
            await opened.wait()
    except TimeoutError:
        action = "A local firewall drops UDP: open the range of --ice-ports, or name addresses with --ice-address."
        return Check("webrtc over udp", "fail", f"this host does not reach itself at {shown}", action)
    except (OSError, ValueError) as error:
        return Check("webrtc over udp", "fail", str(error), "Name addresses with --ice-address.")
    finally:
        await asyncio.gather(near.close(), far.close())
    others = "" if any(a not in ("127.0.0.1", "::1") for a in addresses) else "; nobody else can watch"
    return Check("webrtc over udp", "ok", f"this host reaches itself; offered addresses: {shown}{others}")


def space_check(name: str, folder: Path | None) -> Check:
    """Room on the disk of a folder that may not exist yet."""
    if folder is None:
        return Check(name, "ok", "not on this machine's disk")
    place = folder.expanduser().absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return Check(name, "fail", f"{place} is not a folder", "Choose another folder.")
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < SPACE:
        return Check(name, "warn", text, "Make room, or choose another folder with --state-dir or --record-dir.")
    return Check(name, "ok", text)
