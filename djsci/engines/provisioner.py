"""jupyter_client's own parts, as a kernel behind a wall needs them: its command, its sockets."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from .wall import Wall

FRONT = Path(__file__).with_name("front.py")


class Provisioner(LocalProvisioner):  # type: ignore[misc]
    """Wraps the command and replaces the environment; jupyter_client copies the server's."""

    environment: Mapping[str, str]
    wall: Wall
    on_start: Callable[[int], None]

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        prepared: dict[str, Any] = await super().pre_launch(env=dict(self.environment), **kwargs)
        prepared["cmd"] = self.wall.command(
            own_launch(prepared["cmd"]),
            environment=self.environment,
            connection=Path(self.parent.connection_file),
        )
        return prepared

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        connection = await super().launch_kernel(cmd, **kwargs)
        self.on_start(self.process.pid)  # at once: a start may be cancelled from here on
        return connection


def own_launch(command: Sequence[str]) -> list[str]:
    """`command` with our front in the place of `-m ipykernel_launcher`."""
    command = list(command)
    for at in range(len(command) - 1):
        if command[at] == "-m" and command[at + 1] in ("ipykernel_launcher", "ipykernel"):
            return [*command[:at], "-I", str(FRONT), *command[at + 2 :]]
    return command


class Client(AsyncKernelClient):  # type: ignore[misc]
    """jupyter_client's client, whose sockets do not linger when they are closed."""

    def _create_connected_socket(self, channel: str, identity: bytes | None = None) -> Any:
        socket = super()._create_connected_socket(channel, identity=identity)
        socket.linger = 0
        return socket


class KernelManager(AsyncKernelManager):  # type: ignore[misc]
    """jupyter_client's manager, without the second client that it keeps on the control channel."""

    def _connect_control_socket(self) -> None:
        pass
