"""Debian's nginx and Caddy with the files of deploy/, on loopback."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> str | None:
    """Debian puts servers in /usr/sbin, which is not on everybody's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class Started:
    """`url`: address of Farcast with the prefix and a slash; `verify`: for TLS; `logs`: all files it may log to."""

    url: str
    verify: ssl.SSLContext | bool
    logs: tuple[Path, ...]

    def logged(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.logs if path.exists())


@contextmanager
def nginx(upstream: str, folder: Path) -> Iterator[Started]:
    """nginx with deploy/nginx.conf before `upstream`, HOST:PORT: port, certificate, and where the logs are changed."""
    port, binary = free_port(), program("nginx")
    assert binary is not None
    certificate, key = self_signed(folder)
    text = (ROOT / "deploy/nginx.conf").read_text()
    for old, new in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/certs/video.example.org.pem": str(certificate),
        "/etc/ssl/private/video.example.org.key": str(key),
        "/var/log/nginx": str(folder),
        "127.0.0.1:8000": upstream,
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "farcast.conf").write_text(text)
    (folder / "nginx.conf").write_text(
        f"worker_processes 1;\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/main.log;\n"
        "events { worker_connections 128; }\n"
        f"http {{\n    client_body_temp_path {folder}/body;\n    proxy_temp_path {folder}/proxied;\n"
        f"    fastcgi_temp_path {folder}/f;\n    uwsgi_temp_path {folder}/u;\n    scgi_temp_path {folder}/s;\n"
        f"    include {folder}/farcast.conf;\n}}\n"
    )
    command = [binary, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "start.log")]
    trust = ssl.create_default_context(cafile=str(certificate))
    logs = tuple(folder / name for name in ("farcast.log", "farcast.error.log", "main.log", "start.log", "out.log"))
    with _running(command, port, folder / "out.log"):
        yield Started(f"https://127.0.0.1:{port}/farcast/", trust, logs)


@contextmanager
def caddy(upstream: str, folder: Path) -> Iterator[Started]:
    """Caddy with deploy/Caddyfile before `upstream`, over HTTP, as it asks nobody here for a certificate."""
    port, binary = free_port(), program("caddy")
    assert binary is not None
    environment = {
        "FARCAST_SITE": f"http://127.0.0.1:{port}",
        "FARCAST_UPSTREAM": upstream,
        "FARCAST_LOG": str(folder / "farcast.log"),
        "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
    }  # fmt: skip
    command = [binary, "run", "--config", str(ROOT / "deploy/Caddyfile"), "--adapter", "caddyfile"]
    with _running(command, port, folder / "out.log", environment):
        yield Started(f"http://127.0.0.1:{port}/farcast/", True, (folder / "farcast.log", folder / "out.log"))


@contextmanager
def _running(command: list[str], port: int, out: Path, more: Mapping[str, str] | None = None) -> Iterator[None]:
    with out.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(more or {})})
    try:
        end = time.monotonic() + 20
        while True:
            assert process.poll() is None, out.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end, out.read_text()
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Files of a certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, secret
