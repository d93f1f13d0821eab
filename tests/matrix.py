"""`make matrix`: the tests on every Python and Django that executes here; why not where not.

Standard library only: it runs before anything is installed.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
DJANGOS = {"5.2": ">=5.2.14,<5.3", "6": ">=6,<7"}
NEEDS = {"6": (3, 12)}  # the oldest Python of a Django
PROBE = "import sys, venv, ensurepip, sqlite3; print('.'.join(map(str, sys.version_info[:2])))"


def main() -> int:
    """Run each pair; 1 when one of those that could run has failed."""
    results: list[tuple[str, str]] = []
    for version in PYTHONS:
        python, reason = find(version)
        for django, wanted in DJANGOS.items():
            pair = f"Python {version}, Django {django}"
            if python is None:
                results.append((pair, f"not run: {reason}"))
            elif tuple(map(int, version.split("."))) < NEEDS.get(django, (0,)):
                results.append((pair, "not run: this Django needs a newer Python"))
            else:
                results.append((pair, run(python, version, django, wanted)))
            print(f"--- {results[-1][0]}: {results[-1][1]}", flush=True)
    print("\n".join(f"{pair}: {said}" for pair, said in results))
    passed = [said for _, said in results if said.startswith("passed")]
    return 0 if passed and not [said for _, said in results if said.startswith("FAILED")] else 1


def find(version: str) -> tuple[str | None, str]:
    """A Python of this version that truly executes: a name on the path may be an empty shim."""
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    reason = f"there is no python{version}"
    for candidate in (f"python{version}", *map(str, installed)):
        try:
            done = subprocess.run([candidate, "-c", PROBE], capture_output=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            if not isinstance(error, FileNotFoundError):
                reason = f"{candidate}: {error}"
            continue
        if done.returncode == 0 and done.stdout.decode().strip() == version:
            return candidate, ""
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        reason = f"{candidate} does not execute: {said[0] if said else done.returncode}"
    return None, reason


def run(python: str, version: str, django: str, wanted: str) -> str:
    """Make the environment when it is missing, run the tests in it; what came of it."""
    folder = Path(".matrix") / f"python{version}-django{django}"
    inside = str(folder / "bin" / "python")
    pip = [inside, "-m", "pip", "install", "-qq"]
    steps = [
        [python, "-m", "venv", str(folder)],
        [*pip, "--upgrade", "pip>=25.1"],
        [*pip, "--editable", ".[standalone]", "--group", "dev", f"django{wanted}"],
    ]
    for step in steps:
        if subprocess.run(step, cwd=ROOT, timeout=1800).returncode:
            return f"FAILED to install ({' '.join(step[1:4])} …)"
    tests = [inside, "-m", "pytest", "tests", "--ignore=tests/e2e"]
    done = subprocess.run(tests, cwd=ROOT, timeout=3600)
    return "passed" if done.returncode == 0 else f"FAILED (pytest ended with {done.returncode})"


if __name__ == "__main__":
    sys.exit(main())
