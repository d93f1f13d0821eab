"""compose.yaml: its syntax, and what it promises about networks, rights and secrets."""

import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from djsci import conf

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ["migrate", "web1", "web2", "worker", "worker-gpu"]
WALLED = ["web1", "web2", "worker", "worker-gpu"]
PROFILE: dict[str, Any] = json.loads((ROOT / "deploy/seccomp.json").read_text(encoding="utf-8"))
# profiles/seccomp/default.json of moby 20.10.24, as sorted JSON without spaces
DOCKERS = "cb0ae9e0e1aef1c6d6dbff413fcfd904f34e7dd0dc726b259782cb9bc4760901"
ADDED = {"clone", "mount", "pivot_root", "sethostname", "umount2", "unshare"}
REMOVED = {"io_uring_enter", "io_uring_register", "io_uring_setup"}


def default(text: str) -> str:
    """What a value is where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_only_the_proxy_is_published_and_only_on_this_machine():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["proxy"]
    assert [default(port) for port in published["proxy"]] == [
        "127.0.0.1:8000:8080",
        "127.0.0.1:8443:8443",
    ]


def test_the_database_has_no_way_out():
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert COMPOSE["networks"]["front"]["internal"] is True
    for name in ("postgres", "valkey", "migrate"):
        assert SERVICES[name]["networks"] == ["inside"]
    assert "inside" not in SERVICES["proxy"]["networks"]


def test_addresses_are_believed_of_the_network_that_the_proxy_shares_with_the_servers_alone():
    [network] = COMPOSE["networks"]["front"]["ipam"]["config"]
    assert network["subnet"] == SERVICES["web1"]["environment"]["DJSCI_TRUSTED_PROXIES"]
    members = {name for name, service in SERVICES.items() if "front" in service["networks"]}
    assert members == {"proxy", "web1", "web2"}


@pytest.mark.parametrize("name", [*OURS, "proxy", "valkey"])
def test_a_container_has_no_rights_to_spare(name: str):
    service = SERVICES[name]
    assert int(service["user"].partition(":")[0]) >= 10001
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["tmpfs" if name != "valkey" else "init"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_bounded_and_reaches_no_engine(name: str):
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not service.keys() & {"privileged", "pid", "ipc", "network_mode", "devices"}
    assert not [volume for volume in service.get("volumes", ()) if ".sock" in volume]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])


def test_one_image_serves_and_executes():
    assert {SERVICES[name]["image"] for name in OURS} == {"djsci"}
    assert {SERVICES[name]["user"] for name in OURS} == {"10001:10001"}
    for name in OURS:  # the versions' content
        assert "data:/data" in SERVICES[name]["volumes"]
        assert SERVICES[name]["environment"] == SERVICES["web1"]["environment"]
    assert SERVICES["web2"] == SERVICES["web1"]


def test_each_worker_serves_its_queue_in_threads():
    for name, queue in (("worker", "djsci.default"), ("worker-gpu", "djsci.gpu")):
        command = SERVICES[name]["command"]
        assert command[:4] == ["celery", "-A", "asgi_project", "worker"]
        assert command[command.index("-P") + 1] == "threads"
        assert command[command.index("-Q") + 1] == queue
        assert {"--without-gossip", "--without-mingle"} <= set(command)
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["worker-gpu"]
    environment = SERVICES["worker"]["environment"]
    urls = [environment[name].partition("@")[2] for name in ("REDIS_URL", "CELERY_BROKER_URL")]
    assert urls == ["valkey:6379/0", "valkey:6379/1"]


def test_what_is_named_exists():
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file()
        for option in service["security_opt"]:
            if option.startswith("seccomp="):
                assert (ROOT / option.partition("=")[2]).is_file()
    build = SERVICES["migrate"]["build"]
    container = (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
    for line in container.splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1])
    assert "USER 10001" in container
    assert "bubblewrap" in container


def test_valkey_refuses_writes_before_it_is_killed_for_its_memory():
    valkey = SERVICES["valkey"]
    [most] = re.findall(r"--maxmemory (\d+)mb", valkey["command"][-1])
    assert int(most) <= 0.8 * int(valkey["mem_limit"].removesuffix("m"))


def test_no_secret_has_a_default():
    for name in re.findall(r"\$\{(\w*PASSWORD\w*)[^}]*\}", TEXT):
        assert re.search(rf"\$\{{{name}:\?", TEXT)
        assert not re.search(rf"\$\{{{name}:?-", TEXT)


def test_every_server_gets_the_time_to_drain():
    assert [name for name in SERVICES if "healthcheck" not in SERVICES[name]] == ["migrate"]
    for name in ("proxy", *OURS, "postgres"):
        seconds = conf.DEFAULTS["DRAIN"] + 15 + lame_duck(SERVICES[name].get("command", []))
        assert SERVICES[name]["stop_grace_period"] == f"{seconds}s"


def lame_duck(command: list[str]) -> int:
    return int(command[command.index("--lame-duck") + 1]) if "--lame-duck" in command else 0


def test_a_proxy_notices_that_a_server_goes_before_it_refuses_calls():
    [asks] = re.findall(r"health_interval (\d+)s", (ROOT / "deploy/Caddyfile").read_text())
    for name in ("web1", "web2"):
        assert lame_duck(SERVICES[name]["command"]) >= 2 * int(asks)


@pytest.mark.parametrize("name", WALLED)
def test_bubblewrap_works_where_runs_are_admitted_and_where_they_are_executed(name: str):
    assert set(SERVICES[name]["security_opt"]) == {
        "no-new-privileges:true",
        "seccomp=deploy/seccomp.json",
        "systempaths=unconfined",
        "apparmor=unconfined",
    }


def test_no_other_container_has_more_system_calls():
    for name in SERVICES.keys() - set(WALLED):
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_the_profile_is_dockers_but_for_what_bubblewrap_calls():
    profile = copy.deepcopy(PROFILE)
    added = profile["syscalls"].pop()
    assert set(added["names"]) == ADDED
    assert added["action"] == "SCMP_ACT_ALLOW"
    assert not added["args"]
    assert not added["includes"]
    assert not any(set(rule["names"]) & REMOVED for rule in profile["syscalls"])
    plain = next(rule for rule in profile["syscalls"] if "ioprio_set" in rule["names"])
    plain["names"] = sorted({*plain["names"], *REMOVED})
    for rule in profile["syscalls"]:
        rule["names"].sort()
    text = json.dumps(profile, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == DOCKERS


@pytest.mark.faults
@pytest.mark.parametrize("site", [":8080", "name.example"])
@pytest.mark.skipif(not shutil.which("caddy"), reason="caddy is not installed")
def test_caddy_reads_its_configuration(site: str):
    done = subprocess.run(
        ["caddy", "adapt", "--config", str(ROOT / "deploy/Caddyfile"), "--adapter", "caddyfile"],
        env={**os.environ, "DJSCI_SITE": site, "DJSCI_TLS": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    servers = json.loads(done.stdout)["apps"]["http"]["servers"]
    site_server = next(one for one in servers.values() if ":8081" not in one["listen"])
    text = json.dumps(site_server)
    assert f'"max_size": {21 << 20}' in text
    assert all(f'"dial": "web{number}:8000"' in text for number in (1, 2))
    assert '"retry_match": [{"method": ["HEAD"]}]' in text  # no GET twice
    assert '"keep_alive": {"enabled": false}' in text
    assert site_server["listen"] == ([":8080"] if site.startswith(":") else [":8443"])
