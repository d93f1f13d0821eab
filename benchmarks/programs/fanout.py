"""A bare WebSocket fan-out for uvicorn: the same events in frames, and nothing else.

It asks the environment for EVENTS, RATE a second and SIZE events a frame. The events begin READY
seconds after the first socket has come; those that come later get what is said from then on.
"""

import asyncio
import json
import os
import time
from typing import Any

EVENTS, RATE = int(os.environ["EVENTS"]), float(os.environ["RATE"])
SIZE, READY = int(os.environ["SIZE"]), float(os.environ["READY"])
LUMP = 5  # events that are said at once, as the run says them
viewers: set[Any] = set()
tasks: set[asyncio.Task[None]] = set()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    if not viewers:
        task = asyncio.create_task(tell())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    viewers.add(send)
    await send({"type": "websocket.send", "text": '{"type": "hello"}'})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    viewers.discard(send)


async def tell() -> None:
    await asyncio.sleep(READY)
    begun = time.monotonic()
    for first in range(0, EVENTS, SIZE):
        events = [event(number) for number in range(first, min(first + SIZE, EVENTS))]
        frame = {"type": "events", "first": first, "last": first + len(events) - 1}
        text = json.dumps({**frame, "events": events})
        for send in tuple(viewers):
            await send({"type": "websocket.send", "text": text})
        if (first + SIZE) % LUMP == 0:
            await asyncio.sleep(max(0, begun + first / RATE - time.monotonic()))


def event(number: int) -> dict[str, Any]:
    message = f"{number} of what somebody reads"
    said = {"type": "log", "level": "info", "message": message, "fields": {"number": number}}
    return {"seq": number, "t": time.time(), **said}
