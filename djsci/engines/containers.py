"""Starts workers in containers: one each, whose guest comes on stdin, so any image with Python will
do.
"""

import asyncio
import json
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from djsci.isolation import container
from djsci.isolation import process as bare

from .ground import BACKEND, Ground
from .remote import SPARE, RemoteWorker
from .workers import START, StartFailed

TEMPORARY = "/tmp"  # noqa: S108 - the container's
BOOT = f"""
import os, sys
def read(size):
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            sys.exit("nobody sent the guest")
        data += piece
    return data
with open("{container.GUEST}/guest.zip", "wb") as file:
    file.write(read(int.from_bytes(read(4), "big")))
sys.path.insert(0, file.name)
from djsci.guest.remote import main
main()
"""


async def start(
    ground: Ground,
    *,
    folder: Path,
    uid: int | None,
    preload: Sequence[str],
    seconds: float,
    aside: ThreadPoolExecutor,
) -> RemoteWorker:
    """A worker that has said hello; it lives `seconds`, or as long as its run may.

    Raises `StartFailed`.
    """
    worker, mark = RemoteWorker(ground, uid=uid), secrets.token_hex(8)
    options = {
        "mark": mark,
        "seconds": seconds,
        "folder": container.WORK,
        "preload": list(preload),
        "environment": _environment(),
    }

    def begin() -> bytes:
        longest = seconds + ground.longest + 2 * SPARE
        run = container.Run(
            worker.name, container.owner(), longest, uid, has_network=ground.has_network
        )
        command = container.command(
            ["-I", "-c", BOOT, json.dumps(options)],
            run,
            settings=ground.container,
            limits=ground.limits(),
            seccomp=container.write_profile(folder / "seccomp.json"),
        )
        worker.start(command, folder)
        return (folder / "guest.zip").read_bytes()

    starting = asyncio.get_running_loop().run_in_executor(aside, begin)
    try:
        await asyncio.wait({starting})
        async with asyncio.timeout(START):
            await worker.greet(starting.result(), mark)
            await worker.hello()
    except BaseException as error:
        await asyncio.wait({starting})
        await worker.give_up()
        if isinstance(error, (OSError, TimeoutError, ValueError)):
            raise StartFailed(str(error) or type(error).__name__) from error
        raise
    return worker


def _environment() -> dict[str, str]:
    """All that a run finds in its environment, beside the image's PATH."""
    return {
        **bare.ONE_THREAD,
        "LANG": "C.UTF-8",
        "HOME": container.WORK,
        "TMPDIR": TEMPORARY,
        "MPLBACKEND": BACKEND,
        "MPLCONFIGDIR": f"{TEMPORARY}/.matplotlib",
        "IPYTHONDIR": f"{container.WORK}/.ipython",
        **{name: os.environ[name] for name in bare.PASSED if os.environ.get(name)},
    }
