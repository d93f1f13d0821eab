"""A slow one, to cancel: it cleans up when it is interrupted."""

import time


def djsci_handler(request, steps: int = 120, pause: float = 0.5):
    walked = 0
    try:
        for walked in range(1, steps + 1):
            print(f"step {walked:>3} of {steps}  {'·' * (walked % 20)}🚶", flush=True)
            time.sleep(pause)
    finally:
        print(f"sat down after {walked} steps", flush=True)
    return {"steps": walked}
