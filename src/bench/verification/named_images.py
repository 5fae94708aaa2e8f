"""Which test image a file or a line of a table belongs to, by its path."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from bench.data.layout import Sample
from bench.errors import UsageError, counted

_LEVELS = 4  # CATEGORY/test/TYPE/NAME: a path of this form names its category
Parts = tuple[str, ...]


class Matches(NamedTuple):
    """The place of a named thing by the index of its test image; the names of things of other categories."""

    places: dict[int, int]
    of_others: list[str]


class _Paths:
    """The test images of a category by their paths: in full, and without the folders above, as far as these tell."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        paths = [PurePosixPath(sample.relative) for sample in samples]
        stems = Counter(path.with_suffix("") for path in paths)
        self.whole: dict[Parts, int] = {path.parts: index for index, path in enumerate(paths)}
        for index, path in enumerate(paths):
            if stems[path.with_suffix("")] == 1:
                self.whole[path.with_suffix("").parts] = index
        self.shorter: dict[Parts, int] = {}
        for cut in range(1, min(len(path.parts) for path in paths)):
            tails = {form[cut:]: index for form, index in self.whole.items()}
            if len(tails) == len(self.whole):  # else it does not tell which image is meant
                self.shorter |= tails
        self._lengths = {len(form) for form in self.whole}
        self.category = paths[0].parts[0] if len(paths[0].parts) == _LEVELS else None

    def find(self, path: PurePosixPath) -> int | None:
        """The index of the image of a path: one that ends with an image's whole path, or is the end of one."""
        parts = tuple(part for part in path.parts if part not in ("/", "."))
        for length in self._lengths:
            if (index := self.whole.get(parts[-length:])) is not None:
                return index
        return self.shorter.get(parts)

    def is_of_another(self, path: PurePosixPath) -> bool:
        """Whether a path names another category of the same dataset: it ends with OTHER/test/TYPE/NAME."""
        parts = path.parts[-_LEVELS:]
        return self.category is not None and len(parts) == _LEVELS and parts[1] == "test" and parts[0] != self.category


def match(names: Sequence[str], samples: Sequence[Sample], *, what: str, where: str) -> Matches:
    """The place in `names`, paths with or without a suffix, of each test image's own.

    A name ends with the image's path below the data root, or is that path without its first folders. A UsageError
    where a name belongs to no test image, where two belong to one, and where an image has none; `what` they are and
    `where` they stand is said then.
    """
    paths, found = _Paths(samples), dict[int, int]()
    others: list[str] = []
    strangers: list[str] = []
    for place, name in enumerate(names):
        path = PurePosixPath(name)
        index = paths.find(path)
        if index is None:
            (others if paths.is_of_another(path) else strangers).append(name)
        elif (former := found.setdefault(index, place)) != place:
            raise UsageError(
                f"{names[former]} and {name} in {where} are two {what}s of {samples[index].relative}; leave one of them"
            )
    if missing := [sample.relative for index, sample in enumerate(samples) if index not in found]:
        of = f"{len(missing)} of {counted(len(samples), 'test image')}"
        seen = f"; there is {strangers[0]}, for example" if strangers else ""
        raise UsageError(f"no {what} of {of} in {where}, such as {missing[0]}{seen}")
    if strangers:
        raise UsageError(
            f"{counted(len(strangers), what)} in {where} of no test image, such as {strangers[0]}; take them away"
        )
    return Matches(found, others)


def without_suffix(path: str, known: Iterable[str]) -> str:
    """A path without its suffix, if that is a known one."""
    pure = PurePosixPath(path)
    return str(pure.with_suffix("")) if pure.suffix.lower() in set(known) else path


def ordered(matches: Mapping[int, int]) -> list[int]:
    """The places in the order of the test images."""
    return [matches[index] for index in range(len(matches))]
