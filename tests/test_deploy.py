"""The deployment: what compose, coturn, Prometheus and Grafana are told fits the server and each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())
BOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/farcast.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GUIDE = (ROOT / "docs/deploy.md").read_text()


def serve_parameters() -> list[Any]:
    from stream.cli.serve import app

    return list(typer.main.get_command(app).params)


def test_the_servers_environment_is_read() -> None:
    known = {name for parameter in serve_parameters() if isinstance(name := parameter.envvar, str)}
    known |= {f"FARCAST_{parameter.name.rstrip(chr(95)).upper()}" for parameter in serve_parameters()}
    beside = {"FARCAST_BIND", "HF_TOKEN"}  # of the entry point; of the hub's library
    assert set(COMPOSE["services"]["server"]["environment"]) <= known | beside
    assert {"FARCAST_MODEL", "FARCAST_EXECUTION", "HF_TOKEN"} <= set(COMPOSE["services"]["server"]["environment"])


@pytest.mark.parametrize(
    ("bind", "open_"), [("127.0.0.1", "true"), ("0.0.0.0", ""), ("192.0.2.7", ""), ("", "")]
)
def test_a_container_is_open_only_where_its_port_is_on_loopback(tmp_path: Path, bind: str, open_: str) -> None:
    server = COMPOSE["services"]["server"]
    shell, flag, script, name = server["entrypoint"]
    stand_in = tmp_path / "farcast"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$FARCAST_OPEN" "$@"\n')
    stand_in.chmod(0o755)
    said = subprocess.run(
        [shell, flag, script.replace("$$", "$"), name, *server["command"]],
        env={"FARCAST_BIND": bind, "PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.splitlines() == [open_, *server["command"]]
    for port in server["ports"]:
        assert port.startswith("${FARCAST_BIND:-127.0.0.1}:"), "nobody but this host, unless it is asked for"


def test_server_and_relay_share_the_secret_and_there_is_no_default_one() -> None:
    services = COMPOSE["services"]
    assert services["server"]["environment"]["FARCAST_TURN_SECRET"] == "${TURN_SECRET:-}"
    assert services["coturn"]["environment"]["TURN_SECRET"] == "${TURN_SECRET:-}"
    shell, flag, script = services["coturn"]["entrypoint"]
    assert (shell, flag) == ("/bin/sh", "-c")
    assert "/etc/coturn/turnserver.conf" in script
    refused = subprocess.run(
        [shell, flag, script.replace("$$", "$")], env={"TURN_SECRET": ""}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1, "coturn with an empty secret relays for everybody"
    assert "TURN_SECRET" in refused.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed: run requirements/players.sh")
def test_coturn_takes_every_line_of_its_configuration(tmp_path: Path) -> None:
    command = [
        "timeout", "2", "turnserver", "-c", str(ROOT / "deploy/turnserver.conf"), "--listening-port=0",
        "--static-auth-secret=x", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--log-file=stdout",
        f"--pidfile={tmp_path}/pid", f"--userdb={tmp_path}/db",
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    wrong = re.findall(r".*(?:Bad configuration|Unknown|unrecognized|CONFIG ERROR).*", said.stdout + said.stderr, re.I)
    assert wrong == []
    assert "Black listing: 10.0.0.0-10.255.255.255" in said.stdout


def test_relay_ports_do_not_meet_the_servers() -> None:
    text = (ROOT / "deploy/turnserver.conf").read_text()
    low, high = (int(re.search(rf"^{name}=(\d+)$", text, re.MULTILINE)[1]) for name in ("min-port", "max-port"))  # type: ignore[index]
    media = next(word for word in COMPOSE["services"]["server"]["command"] if word.startswith("--ice-ports="))
    first, last = map(int, media.partition("=")[2].split("-"))
    assert last < low < high or high < first
    for ports in (f"{first}-{last}", f"{low}-{high}", "3478", "8000"):
        assert ports in GUIDE, f"docs/deploy.md tells what to open: {ports}"


def test_what_the_dashboard_writes_beside_a_line_is_a_label_of_it() -> None:
    from prometheus_client import Counter, Gauge, Histogram

    from stream.metrics import Metrics

    labels: dict[str, set[str]] = {}
    for value in vars(Metrics()).values():
        if isinstance(value, Counter | Gauge | Histogram):
            name = value._name + ("_total" if isinstance(value, Counter) else "")
            labels[name] = set(value._labelnames) | ({"le"} if isinstance(value, Histogram) else set())
    for panel in BOARD["panels"]:
        assert panel["description"]
        for target in panel["targets"]:
            names = re.findall(r"\b(farcast_\w+)", target["expr"])
            has = set().union(*(labels[name.removesuffix("_bucket")] for name in names)) if names else set()
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            for group in re.findall(r"by \(([^)]*)\)", target["expr"]):
                wanted |= {word.strip() for word in group.split(",")}
            assert wanted <= has, (panel["title"], target["expr"])


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & mine, panel["title"]
        cells |= mine
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_the_guide_tells_of_every_option_and_metric_an_operator_needs() -> None:
    for parameter in serve_parameters():
        if not getattr(parameter, "hidden", False) and parameter.name.startswith(
            ("ice", "turn", "public", "relay", "host")
        ):
            assert parameter.opts[0] in GUIDE, parameter.opts
    from stream.metrics import Metrics

    known = set(re.findall(r"^# TYPE (\w+)", Metrics().text().decode(), re.MULTILINE))
    named = set(re.findall(r"`(farcast_\w+)`", GUIDE))
    assert named
    assert {name.removesuffix("_total") for name in named} <= {name.removesuffix("_total") for name in known}
    for name in re.findall(
        r"\$\{?(FARCAST_\w+|TURN_SECRET|GRAFANA_PASSWORD)", (ROOT / "docker-compose.yml").read_text()
    ):
        assert name in GUIDE, f"docs/deploy.md explains {name}"


def serve_options() -> set[str]:
    """Every option that `farcast serve` takes."""
    import typer

    from stream.cli.serve import app

    return {name for option in typer.main.get_command(app).params for name in option.opts}


def options_of(words: list[str]) -> set[str]:
    return {word.split("=")[0] for word in words if word.startswith("--")}


def test_compose_has_its_parts() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"server", "coturn", "prometheus", "grafana"}
    assert "profiles" not in services["server"], "`docker compose up` alone starts the CPU server"
    assert services["server"]["build"]["args"]["KIND"] == "cpu"
    # One service, so that no profile starts a second server on the same port: the GPU is a file on top.
    assert set(GPU["services"]) == {"server"}
    gpu = GPU["services"]["server"]
    assert gpu["build"]["args"]["KIND"] == "gpu"
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    published = [port.rpartition(":")[0] for service in services.values() for port in service.get("ports", [])]
    assert len(published) == len(set(published))
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        if "image" in service:
            assert re.fullmatch(r"[\w/-]+:v?[\d.]+", service["image"]), f"{name}: an exact version"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), f"{name} mounts {source}"


def test_compose_speaks_the_servers_language() -> None:
    server = COMPOSE["services"]["server"]
    command: list[str] = server["command"]
    assert command[0] == "serve"
    assert options_of(command) <= serve_options()
    media = next(word.split("=")[1] for word in command if word.startswith("--ice-ports="))
    assert [port.partition("}:")[2] for port in server["ports"]] == ["8000:8000", f"{media}:{media}/udp"]
    mounts = {volume.split(":")[1] for volume in server["volumes"]}
    folders = {word.split("=")[1] for word in command if word.startswith(("--record-dir=", "--state-dir="))}
    assert folders <= mounts, "the file system is read-only"


def test_the_dockerfile_fits() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), f"COPY {name}"
    command = json.loads(re.search(r"^CMD (\[.*\])$", text.replace("\\\n", ""), re.MULTILINE)[1])  # type: ignore[index]
    assert options_of(command) <= serve_options()
    ports = command[command.index("--ice-ports") + 1]
    assert f"EXPOSE 8000/tcp {ports}/udp" in text
    assert re.search(r"^USER farcast$", text, re.MULTILINE), "not as root"
    health = text.partition("HEALTHCHECK")[2].partition("ENTRYPOINT")[0]
    assert "/readyz" in health, "a server without a model is not healthy"
    assert re.search(r'"\$KIND" = gpu.*?\bgcc\b', text, re.DOTALL), "Triton and torch.compile need a compiler"
    volumes = re.search(r"^VOLUME (.+)$", text, re.MULTILINE)[1].split()  # type: ignore[index]
    for cache in re.findall(r"(?:HF_HOME|TRITON_CACHE_DIR|INDUCTOR_CACHE_DIR)=(\S+)", text):
        assert cache.startswith(tuple(volumes)), cache


def test_prometheus_and_grafana_show_what_the_server_counts() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    from stream.metrics import Metrics

    scrape = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"][0]
    host, port = scrape["static_configs"][0]["targets"][0].split(":")
    assert host in COMPOSE["services"]["server"]["networks"]["default"]["aliases"]
    assert port == "8000"

    known = {"up"}
    for family in text_string_to_metric_families(Metrics().text().decode()):
        known |= {
            family.name,
            f"{family.name}_total",
            f"{family.name}_bucket",
            f"{family.name}_sum",
            f"{family.name}_count",
        }
    board: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/farcast.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\b(?:farcast|process)_\w+", target["expr"])
    }
    assert asked <= known
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    for rule in rules:
        named = set(re.findall(r"\b(?:farcast_\w+|up)\b", rule["expr"]))
        assert named, rule["alert"]
        assert named <= known, rule["alert"]
        assert rule["alert"] in GUIDE
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert scrape["job_name"] in next(rule["expr"] for rule in rules if rule["alert"] == "FarcastDown")
    (rule_file,) = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["rule_files"]
    mounts = COMPOSE["services"]["prometheus"]["volumes"]
    assert f"./deploy/{rule_file}:/etc/prometheus/{rule_file}:ro" in mounts
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {sources["datasources"][0]["uid"]}


def test_the_relay_opens_no_way_inside() -> None:
    lines = set((ROOT / "deploy/turnserver.conf").read_text().splitlines())
    assert {"use-auth-secret", "no-tcp-relay", "denied-peer-ip=10.0.0.0-10.255.255.255"} <= lines
    assert {"denied-peer-ip=127.0.0.0-127.255.255.255", "denied-peer-ip=192.168.0.0-192.168.255.255"} <= lines


def test_the_systemd_unit(tmp_path: Path) -> None:
    text = (ROOT / "deploy/farcast.service").read_text()
    start = re.search(r"^ExecStart=(.+)$", text, re.MULTILINE)[1].split()  # type: ignore[index]
    assert start[1] == "serve"
    assert options_of(start) <= serve_options()
    assert "KillMode=mixed" in text, "SIGTERM to the whole group would end the engine before the server"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "farcast.service"
    unit.write_text(text.replace(start[0], "/bin/true"))
    said = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    wrong = [line for line in said.stderr.splitlines() if "farcast.service" in line]
    assert wrong == []


def test_the_front_door() -> None:
    """The README's first lines say what to type; the licence is the whole one."""
    head = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "make run" in head
    assert "make test" in head
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"
