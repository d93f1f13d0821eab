"""What a process does for runs: it executes what it finds or what it is told, or it only sweeps."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What an executor does beside sweeping; `slots` and `queues` None: as the settings say."""

    executes: bool
    claims: bool = False  # looks for queued runs itself; else it takes those that it is told
    slots: int | None = None
    queues: tuple[str, ...] | None = None


SERVER = Role(executes=True, claims=True)
SWEEPER = Role(executes=False)
