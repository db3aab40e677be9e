"""Images named one by one, and folders of them, as one source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nextpatch.data.error import DataError
from nextpatch.data.sources.folder import FolderSource
from nextpatch.data.storage.near import read_near


class ListedSource:
    """The files named, in the order in which they are, and of each folder named all images below it; no labels."""

    def __init__(self, names: Sequence[str]) -> None:
        self._files: list[Path] = []
        self.classes: tuple[str, ...] = ()
        for name in names:
            path = Path(name)
            if path.is_dir():
                folder = FolderSource(path)
                self._files += folder.files()
            elif path.exists():
                self._files.append(path)
            else:
                raise DataError(f"{name} does not exist; give image files or folders of them")
        if not self._files:
            raise DataError("no images given; name files or folders of them")
        self.name = names[0] if len(names) == 1 else f"{len(names)} files and folders"

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> bytes:
        """The file's bytes; OSError when it has gone."""
        return read_near(self._files[index])

    def key(self, index: int) -> str:
        """The file's path."""
        return str(self._files[index])

    def label(self, index: int) -> int | None:
        """None, whatever the index."""
        return None

    def files(self) -> list[Path]:
        """The local files that the samples lie in."""
        return self._files
