"""Each of bwrap's options is needed: without it, a canary is red."""

import json
import os

import pytest

from djsci.isolation import bwrap, evidence, landlock, probe

ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}
DESCRIPTOR = 3
# Seen by canaries of their own, below.
ELSEWHERE = {"--disable-userns", "--die-with-parent", "--cap-drop ALL"}
ELSEWHERE |= {f"--symlink {bwrap.HOSTS} /etc/hosts"}  # holds nothing back: tests of connections


def options() -> list[list[str]]:
    home = {"HOME": "/workdir", "TMPDIR": "/tmp"}  # noqa: S108
    home["IPYTHONDIR"] = "/workdir/.ipython"
    found = bwrap.arguments(
        "bwrap",
        environment={**ENVIRONMENT, **home},
        readable=[path for path in landlock.interpreter_paths() if os.path.exists(path)],
        sizes=evidence.SIZES,
        seccomp=DESCRIPTOR,
    )[1:]
    return [
        option
        for option in found
        if option[0] != "--ro-bind-try" or os.path.exists(option[1])
        if " ".join(option) not in ELSEWHERE
    ]


@pytest.mark.parametrize("option", options(), ids=" ".join)
def test_without_the_option_a_canary_is_red(option: list[str], bubblewrap: str) -> None:
    assert probe.run(bubblewrap, change=lambda command: probe.drop(command, *option)) != []


def test_without_unshared_namespaces_the_host_is_seen(bubblewrap: str) -> None:
    """`--unshare-all` is refused as a whole; so take each namespace away, and leave the rest."""
    names = ("net", "pid", "ipc", "uts")
    for name in names:
        others = [f"--unshare-{other}" for other in names if other != name]

        def change(command: list[str], others: list[str] = others) -> list[str]:
            at = command.index("--unshare-all")
            return [*command[:at], *others, *command[at + 1 :]]

        assert probe.run(bubblewrap, change=change) != [], name


def test_without_disable_userns_only_seccomp_holds(bubblewrap: str) -> None:
    assert probe.bare(bubblewrap) == []
    red = probe.bare(bubblewrap, change=lambda command: probe.drop(command, "--disable-userns"))
    assert red != []


def test_without_die_with_parent_a_run_outlives_its_server(bubblewrap: str) -> None:
    assert not probe.ends_with_parent(
        bubblewrap, change=lambda command: probe.drop(command, "--die-with-parent")
    )


def test_capabilities_are_seen(bubblewrap: str) -> None:
    """bwrap drops them by itself for a user that is not root; so turn the option round."""

    def change(command: list[str]) -> list[str]:
        return ["--cap-add" if part == "--cap-drop" else part for part in command]

    assert probe.run(bubblewrap, change=change) != []


@pytest.mark.parametrize("step", ["rules", "network", "limits", "uid"])
def test_without_a_step_of_landlock_a_canary_is_red(step: str, landlocked: str) -> None:
    if step == "uid" and os.geteuid() != 0:
        pytest.skip("Only root starts runs as other users.")

    def change(command: list[str]) -> list[str]:
        at = next(place for place, part in enumerate(command) if part.startswith("{"))
        steps = {name: value for name, value in json.loads(command[at]).items() if name != step}
        return [*command[:at], json.dumps(steps), *command[at + 1 :]]

    assert probe.run(landlocked, change=change) != []


def test_a_writable_system_is_seen(bubblewrap: str) -> None:
    """The socket folder apart, every bind of the host's is read-only."""
    found = bwrap.arguments("bwrap", environment={}, readable=["/opt/a"], seccomp=3)
    assert [option for option in found if option[0] in ("--bind", "--dev-bind")] == []
