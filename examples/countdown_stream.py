"""A generator streams: each item reaches the reader as it is made, the result is their list."""

import time


def djsci_handler(request, start: int = 5, pause: float = 0.4):
    if not 1 <= start <= 100:
        raise ValueError("start counts down from 1 to 100")
    for second in range(start, 0, -1):
        print(f"T minus {second}")
        yield {"second": second}
        time.sleep(pause)
    print("lift-off")
    yield {"second": 0, "message": "lift-off"}
