"""The artifacts of a run on one's own machine: files, in the folder where they are wanted."""

from pathlib import Path

from djsci.core.artifacts import ArtifactContent


class Kept:
    """Those of one run: `left` are the files written, `lost` says why others could not be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.left: dict[str, int] = {}
        self.lost: list[str] = []

    def take(self, artifact: ArtifactContent) -> None:
        """Write one, over what was there: its name leads nowhere else."""
        place = self.folder / artifact.name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(artifact.content)
        except OSError as error:
            self.lost.append(f"{place}: {error.strerror or error}")
        else:
            self.left[str(place)] = artifact.size

    def told(self) -> list[str]:
        """Lines for people."""
        lines = [f"djsci: not kept: {line}" for line in self.lost]
        if self.left:
            files = [f"{place} ({size:,} bytes)" for place, size in self.left.items()]
            lines.append(f"djsci: left {', '.join(files)}")
        return lines
