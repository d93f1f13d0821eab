"""Images for containers out of what is on this machine: no registry is asked."""

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from . import container, fonts

PROGRAMS = (
    *("sh", "bash", "env", "cat", "ls", "cp", "mv", "rm", "mkdir", "ln", "chmod", "echo", "printf"),
    *("sleep", "ps", "kill", "grep", "sed", "awk", "find", "xargs", "head", "tail", "sort", "wc"),
    *("cut", "tr", "tee", "date", "true", "false", "touch", "du", "df", "uname", "id", "test"),
)
ETC = ("/etc/ld.so.cache", "/etc/ssl", "/etc/ca-certificates", "/etc/fonts", "/etc/localtime")
SHARED = ("/usr/share/zoneinfo", "/usr/share/fonts", "/usr/lib/locale/C.utf8")
LINKS = ("/bin", "/sbin", "/lib", "/lib64")
LEFT_OUT = ("test", "idlelib", "ensurepip", "turtledemo", "site-packages", "dist-packages")
MOST_FILES = 400  # that one call of ldd takes
BUILDING = 3600.0  # seconds
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
PASSWD = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/workdir:/bin/sh\n"  # noqa: S105
GROUP = "root:x:0:\nnogroup:x:65534:\n"


def from_environment(settings: container.Settings, packages: Sequence[str] = ()) -> str:
    """Make the image out of this Python and its libraries, or of `packages` and what they need.

    Returns what the program says. Raises `OSError`.
    """
    program = container.find(settings)
    with tempfile.TemporaryFile() as layer:
        write_layer(layer, paths_of(packages))
        tag = settings.image if ":" in settings.image else f"{settings.image}:latest"
        is_podman = os.path.basename(program) == "podman"
        return _load([program, "load"], layer, f"localhost/{tag}" if is_podman else tag)


def from_containerfile(settings: container.Settings, path: Path) -> str:
    """Build the image as the user's Containerfile says, out of images that are here.

    Returns what the program says. Raises `OSError`.
    """
    command = build(settings, path)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603
    return _checked(done)


def build(settings: container.Settings, path: Path) -> list[str]:
    """The command line that builds; the Containerfile's folder is all that it copies from."""
    program = container.find(settings)
    never = ["--pull=never"] if os.path.basename(program) == "podman" else []
    tagged = ["--tag", settings.image, "--file", str(path), str(path.parent)]
    return [program, "build", *never, "--network", "none", *tagged]


def _checked(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode:
        raise OSError(container.last_line(done.stderr))
    return container.last_line(done.stdout)


def paths_of(packages: Sequence[str] = ()) -> list[Path]:
    """What a Python needs: its program, standard library and packages; shared libraries; a shell.

    Raises `LookupError` for a package that is not installed.
    """
    own = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}  # not the environment's
    places = {sysconfig.get_path(name, vars=own) for name in ("stdlib", "platstdlib")}
    found = [Path(sys.executable), *map(Path, sorted(places))]
    found += [path for path in (Path(sys.prefix, "pyvenv.cfg"),) if path.exists()]
    found += _files_of(packages) if packages else [*map(Path, sorted(_package_folders()))]
    found += [path for name in PROGRAMS if (path := Path("/usr/bin", name)).exists()]
    listed = fonts.offered()
    found += [
        path
        for name in (*ETC, *SHARED, *([listed] if listed else []))
        if (path := Path(name)).exists()
    ]
    return found


def _package_folders() -> set[str]:
    return {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}


def _files_of(packages: Iterable[str]) -> list[Path]:
    """The files of installed distributions and of all that they require."""
    found: list[Path] = []
    seen: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in {re.sub(r"[-_.]+", "-", asked).lower() for asked in packages}:
                raise LookupError(f"The package {name!r} is not installed here.") from None
            continue  # of another system or Python, or an extra's
        found += [Path(str(file.locate())) for file in distribution.files or ()]
        for needed in distribution.requires or ():
            if "extra ==" not in needed:
                waiting.append(re.split(r"[^\w.-]", needed, maxsplit=1)[0])
    return found


def write_layer(file: IO[bytes], paths: Sequence[Path]) -> None:
    """A root file system of `paths`, all root's and readable, with the links above them."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        layer = _Layer(archive)
        for name in LINKS:
            layer.add(Path(name), is_alone=True)
        for path in paths:
            layer.add(path)
        for library in sorted(_libraries(layer.binaries)):
            layer.add(Path(library))
        for name, text in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
            layer.write(name, text.encode())
        layer.make("tmp", mode=0o1777)  # runc gives a folder in memory the rights of what it covers


class _Layer:
    """Adds each path once, with every folder and link on the way to it."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self.archive = archive
        self.binaries: list[str] = []
        self.library = os.path.realpath(sysconfig.get_path("stdlib"))
        self._there: set[str] = set()

    def add(self, path: Path, *, is_alone: bool = False) -> None:
        """`path` with what is below it, and what it links to. `is_alone`: not what is below."""
        real = self._walk(Path(os.path.abspath(path)))
        if real is None or is_alone:
            return
        if real.is_dir():
            for folder, folders, files in os.walk(real):
                if folder == self.library:
                    folders[:] = [name for name in folders if name not in LEFT_OUT]
                self._put(Path(folder))
                for entry in (*files, *folders):
                    self._take(Path(folder, entry))

    def _take(self, path: Path) -> None:
        """What lies in a folder that is there."""
        if path.is_symlink():
            self.add(path)
        elif path.is_file() and path.suffix != ".a":
            self._put(path)

    def _walk(self, path: Path) -> Path | None:
        """Add what is on the way; where it leads. None where that is nowhere."""
        done = Path("/")
        parts = list(path.parts[1:])
        for _ in range(400):
            if not parts:
                return done
            step = done / parts.pop(0)
            if step.is_symlink():
                self._put(step)
                target = Path(os.readlink(step))
                whole = Path(os.path.normpath(step.parent / target))
                done, parts = Path("/"), [*whole.parts[1:], *parts]
            elif step.is_dir() or step.is_file():
                self._put(step)
                done = step
            else:
                return None
        return None

    def _put(self, path: Path) -> None:
        name = str(path).lstrip("/")
        if name in self._there:
            return
        self._there.add(name)
        try:
            info = self.archive.gettarinfo(path, name)
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.type = tarfile.REGTYPE if info.islnk() else info.type
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            if not info.isreg():
                self.archive.addfile(info)
                return
            info.size = path.stat().st_size
            with path.open("rb") as file:
                self.archive.addfile(info, file)
        except PermissionError:
            return
        if info.mode == 0o755 or ".so" in path.name:
            self.binaries.append(str(path))

    def write(self, name: str, data: bytes) -> None:
        self.archive.addfile(_entry(name, len(data)), io.BytesIO(data))

    def make(self, name: str, *, mode: int) -> None:
        if name not in self._there:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, mode
            self.archive.addfile(info)


def _libraries(binaries: Sequence[str]) -> set[str]:
    """The shared libraries that programs and libraries need, as the machine's loader says."""
    found: set[str] = set()
    for at in range(0, len(binaries), MOST_FILES):
        asked = ["ldd", *binaries[at : at + MOST_FILES]]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=BUILDING, check=False)  # noqa: S603
        found |= set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said.stdout, re.MULTILINE))
    return found


def _load(command: Sequence[str], layer: IO[bytes], tag: str) -> str:
    """Hand the layer over as an image's archive, on the program's stdin. What the program says."""
    layer.seek(0)
    digest = hashlib.file_digest(layer, "sha256").hexdigest()  # type: ignore[arg-type]
    config = json.dumps(configuration(digest)).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}.tar"]}]
    listed = json.dumps(manifest).encode()
    size = layer.seek(0, os.SEEK_END)
    layer.seek(0)
    members = [
        (f"{digest}.tar", size, layer),
        (name, len(config), io.BytesIO(config)),
        ("manifest.json", len(listed), io.BytesIO(listed)),
    ]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT
        ) as loading,
    ):
        with (
            contextlib.suppress(BrokenPipeError),
            tarfile.open(fileobj=loading.stdin, mode="w|") as archive,
        ):
            for member, length, content in members:
                archive.addfile(_entry(member, length), content)
        loading.communicate(timeout=BUILDING)
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    if loading.returncode:
        raise OSError(container.last_line(text))
    return container.last_line(text)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def configuration(digest: str) -> dict[str, Any]:
    """An image of one layer: what podman, docker and nerdctl load."""
    path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin:/usr/bin:/bin"))
    listed = fonts.offered()
    offered = [f"{fonts.VARIABLE}={listed}"] if listed else []
    return {
        "architecture": MACHINES[platform.machine()],
        "os": "linux",
        "config": {"Env": [f"PATH={path}", *offered]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
