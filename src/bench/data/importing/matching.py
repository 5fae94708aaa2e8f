"""Find the photo that a list, a mask or a drawing means by a path, a name or a stem."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from bench.data.importing.words import same
from bench.data.layout import readable
from bench.errors import UsageError


class PhotoIndex:
    """Photos by their paths below a folder, by their names and by their stems; case does not count."""

    def __init__(self, root: Path, photos: Iterable[Path]) -> None:
        self.root = root
        self._by: dict[str, list[Path]] = defaultdict(list)
        for path in photos:
            relative = PurePosixPath(readable(path, root))
            for key in {relative, relative.with_suffix(""), PurePosixPath(relative.name), PurePosixPath(relative.stem)}:
                self._by[same(str(key))].append(path)

    def find(self, named: str) -> list[Path]:
        """The photos that a path may mean: by all of it below the folder, else by fewer and fewer of its folders.

        Backslashes are those of Windows. Of several photos of one name, the one with the same folders is meant.
        """
        text = named.strip().replace("\\", "/")
        root = self.root.resolve().as_posix()
        parts = PurePosixPath(text.removeprefix(f"{root}/").removeprefix("./")).parts
        for start in range(len(parts)):
            key = same("/".join(parts[start:]))
            if found := self._by.get(key):
                exact = [path for path in found if same(readable(path, self.root)) == key]
                return exact if len(exact) == 1 else _nearest(found, parts[:-1], self.root)
        return []


def _nearest(found: Sequence[Path], folders: Sequence[str], root: Path) -> list[Path]:
    """Those photos that share most of the last folders with a path."""

    def shared(path: Path) -> int:
        own = readable(path, root).split("/")[:-1]
        pairs = zip(map(same, reversed(own)), map(same, reversed(folders)), strict=False)
        return next((number for number, (one, other) in enumerate(pairs) if one != other), min(len(own), len(folders)))

    most = max(map(shared, found))
    return [path for path in found if shared(path) == most]


def several(what: str, found: Sequence[Path]) -> UsageError:
    """The error for something that may mean more than one photo."""
    return UsageError(f"{what} may mean {found[0]} or {found[1]}; write it with its folder, or rename one of them")
