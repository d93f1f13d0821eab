"""A process's folders are its own while it lives, and go when another one starts after it."""

import subprocess
import sys
from pathlib import Path

from djsci.engines import folders

HOLDS = """
import sys
from djsci.engines import folders
print(folders.make(sys.argv[1]), flush=True)
input()
"""


def test_only_folders_of_ended_processes_are_removed(tmp_path: Path):
    mine = folders.make(str(tmp_path))
    foreign = tmp_path / "djsci-foreign"
    foreign.mkdir()
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        theirs = Path(child.stdout.readline().strip())
        assert folders.remove_abandoned(str(tmp_path)) == 0
        child.kill()
        child.wait(10)
    assert folders.remove_abandoned(str(tmp_path)) == 1
    assert (mine.exists(), foreign.exists(), theirs.exists()) == (True, True, False)
    folders.remove(mine)
    assert not mine.exists()
    assert folders.remove_abandoned(str(tmp_path)) == 0
