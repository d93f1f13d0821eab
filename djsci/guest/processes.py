"""What the guest asks of the system: who dies with whom, who adopts orphans, who is whose child."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_DUMPABLE = 4  # PR_SET_DUMPABLE
_system = ctypes.CDLL(None) if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """Become the parent of every process below whose own parent ends."""
    if _system is not None:
        _system.prctl(_SUBREAPER, 1, 0, 0, 0)


def hide() -> None:
    """From now on nobody of our user reads or writes this process's memory and descriptors."""
    if _system is not None:
        _system.prctl(_DUMPABLE, 0, 0, 0, 0)


def die_with(parent: int) -> None:
    """End when the parent does; at once if it has already."""
    if _system is not None:
        _system.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def has_terminals() -> bool:
    """Whether a program started here may have a terminal of its own: not behind every wall."""
    try:
        ends = os.openpty()
    except OSError:
        return False
    for end in ends:
        os.close(end)
    return True


def children() -> set[int]:
    """The pids of this process's children, zombies among them."""
    found: set[int] = set()
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as file:
                found |= set(map(int, file.read().split()))
    except FileNotFoundError:  # a kernel without that list
        return _children_by_look()
    return found


def _children_by_look() -> set[int]:
    found, mine = set(), os.getpid()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            if int(file.read().rpartition(b") ")[2].split()[1]) == mine:
                found.add(int(name))
    return found


def kill_children(*, but: set[int], seconds: float = 1.0) -> bool:
    """SIGKILL and reap every child not in `but`, until none is left; False after `seconds`.

    The children of who dies become ours, so the next look finds them.
    """
    end = time.monotonic() + seconds
    while True:
        left = children() - but
        for pid in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        if not left:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.0005)


def stay_in_front() -> None:
    """Fork; go on in the child. The parent waits for its end, kills what it left, ends like it."""
    adopt_orphans()
    front = os.getpid()
    child = os.fork()
    if child == 0:
        die_with(front)
        return
    os.closerange(0, 1024)
    while (ended := os.wait())[0] != child:
        pass
    kill_children(but=set(), seconds=5.0)
    end_like(ended[1])


def end_like(status: int) -> None:
    """End this process as the one whose wait status this is: by its code or by its signal."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
