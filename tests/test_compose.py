"""compose.yaml: its syntax, and what it promises about networks, rights and secrets."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_only_web_is_published_and_only_on_this_machine():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in published["web"])


def test_the_database_has_no_way_out():
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "valkey", "migrate"):
        assert SERVICES[name]["networks"] == ["inside"]


@pytest.mark.parametrize("name", ["web", "migrate"])
def test_our_containers_have_no_rights_to_spare(name: str):
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not [volume for volume in service["volumes"] if ".sock" in volume]


def test_what_is_named_exists():
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
    build = SERVICES["migrate"]["build"]
    container = (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
    for line in container.splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1])
    assert "USER 10001" in container


def test_no_secret_has_a_default():
    for name in re.findall(r"\$\{(\w*PASSWORD\w*)[^}]*\}", TEXT):
        assert re.search(rf"\$\{{{name}:\?", TEXT)
        assert not re.search(rf"\$\{{{name}:?-", TEXT)


def test_the_server_gets_the_time_to_drain():
    from djsci import conf

    assert SERVICES["web"]["stop_grace_period"] == f"{conf.DEFAULTS['DRAIN'] + 15}s"
