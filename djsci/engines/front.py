"""The kernel's parent: adopts every orphan of the run and, when the kernel ends, kills them.

One file for the kernel's own Python, with nothing of djsci: it forks, the child becomes the kernel.
"""

import contextlib
import ctypes
import os
import resource
import runpy
import shutil
import signal
import sys
import time

WORK = os.getcwd()  # <the pool's folder>/<this kernel's>/work
SERVER = int(os.environ.get("JPY_PARENT_PID") or 0)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def set_process(option: int, value: int) -> None:
    """prctl(2), where there is one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def become_kernel(front: int) -> None:
    """In the child: die with the parent, lead a group of its own, run the launch file."""
    set_process(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != front:
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setpgid(0, 0)
    os.environ["JPY_PARENT_PID"] = str(front)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    launch = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
    runpy.run_path(launch, run_name="__main__")


def wait_for(kernel: int) -> int:
    """Reap whatever ends until the kernel does; its status."""
    while True:
        pid, status = os.wait()
        if pid == kernel:
            return status


def kill_orphans() -> None:
    """SIGKILL every child, until there is none: their children become ours."""
    while True:
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b") ")[2].split()[1]) == os.getpid():
                    os.kill(int(name), signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def end_all(*_: object) -> None:
    """Everything below ends; where the server is gone, so does the folder that its pool had."""
    kill_orphans()
    if os.getppid() == SERVER:  # somebody else sent the signal: other kernels use the folder
        os._exit(1)
    root = os.path.dirname(os.path.dirname(WORK))
    if os.path.basename(root).startswith("djsci-"):
        shutil.rmtree(root, ignore_errors=True)
    os._exit(1)


def end_like(status: int) -> None:
    """Exit as the kernel did."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def main() -> None:
    signal.signal(signal.SIGTERM, end_all)
    set_process(PR_SET_PDEATHSIG, signal.SIGTERM)
    if SERVER and os.getppid() != SERVER:
        os._exit(1)
    set_process(PR_SET_CHILD_SUBREAPER, 1)
    front = os.getpid()
    kernel = os.fork()
    if kernel == 0:
        become_kernel(front)
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = wait_for(kernel)
    kill_orphans()
    end_like(status)


if __name__ == "__main__":
    main()
