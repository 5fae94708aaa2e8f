"""Find photos below a folder, with everything beside them, and read their labels from the names of folders."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.category_folders import GOOD
from bench.data.images import SUFFIXES
from bench.data.importing.words import Words, is_numbered, label_of, same
from bench.data.layout import readable
from bench.data.listing import is_systems
from bench.errors import UsageError, counted

_MASK_FOLDERS = frozenset({"mask", "masks", "ground_truth", "groundtruth", "gt", "annotations", "labelme", "coco"})
_MASK = "_mask"  # `001_mask.png` beside `001.jpg` is its mask
_TRAIN, _TEST = "train", frozenset({"test", "val", "valid", "validation"})
_NAMED = 3  # names in a message


@dataclass
class Tree:
    """What lies below a folder: photos, masks and drawings (`masks`, JSON), lists at its top, files of other kinds."""

    root: Path
    photos: list[Path] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    drawings: list[Path] = field(default_factory=list)  # JSON files
    lists: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)

    def name(self, path: Path) -> str:
        """The path below the folder, as text."""
        return readable(path, self.root)


@dataclass(frozen=True)
class Photo:
    """A photo; `name` is its path below the imported folder as text, `label` is `good` or the type of its defect."""

    path: Path
    name: str
    label: str

    @property
    def is_good(self) -> bool:
        """Whether it shows no defect."""
        return self.label == GOOD


def find_tree(root: Path, masks: Path | None = None) -> Tree:
    """All files below `root`; those in a folder for masks, and in `masks` if it lies there, are no photos."""
    if not root.is_dir():
        what = f"{root} is a file, not a folder of photos; unpack it, or name a folder" if root.exists() else ""
        raise UsageError(what or f"no folder {root}; name the one that holds the photos")
    tree = Tree(root)
    _look(tree, root, masks.resolve() if masks else None, {root.resolve()}, in_masks=False)
    tree.photos.sort(key=tree.name)
    if not tree.photos:
        such = f", but {counted(len(tree.left_out), 'other file')} such as {tree.left_out[0]}" if tree.left_out else ""
        raise UsageError(f"no photos in {root}{such}; those that are read: {', '.join(sorted(SUFFIXES))}")
    return tree


def _look(tree: Tree, folder: Path, masks: Path | None, seen: set[Path], *, in_masks: bool) -> None:
    """Sort the files of one folder, then of those below it; a link that leads in a circle is followed once."""
    entries = [path for path in sorted(folder.iterdir()) if not is_systems(path.name)]
    stems = {same(path.stem) for path in entries if path.suffix.lower() in SUFFIXES}
    for path in entries:
        suffix = path.suffix.lower()
        if path.is_dir():
            if (resolved := path.resolve()) not in seen:
                seen.add(resolved)
                below = in_masks or same(path.name) in _MASK_FOLDERS or resolved == masks
                _look(tree, path, masks, seen, in_masks=below)
        elif suffix in SUFFIXES:
            is_mask = same(path.stem).endswith(_MASK) and same(path.stem).removesuffix(_MASK) in stems
            (tree.masks if in_masks or is_mask else tree.photos).append(path)
        elif suffix == ".json":
            tree.drawings.append(path)
        elif suffix == ".csv" and folder == tree.root:
            tree.lists.append(path)
        else:
            tree.left_out.append(path)


def label_by_folders(tree: Tree, words: Words) -> tuple[list[Photo], list[str]]:
    """The photos with the labels that their folders say, and remarks; a UsageError where these say nothing clear."""
    words.require_used(part for path in tree.photos for part in path.relative_to(tree.root).parts[:-1])
    told = {path: label_in_folders(tree, path, words) for path in tree.photos}
    if not any(told.values()):
        return _all_of_one(tree, words)
    if unclear := [path for path, label in told.items() if label is None]:
        raise _unclear(tree, unclear)
    photos = [Photo(path, tree.name(path), label) for path, label in told.items() if label is not None]
    return photos, list(_replaced_split(tree, words))


def label_in_folders(tree: Tree, path: Path, words: Words) -> str | None:
    """The label that the folders above a photo say, from the outermost on; None where none of their names is known."""
    parts = list(path.relative_to(tree.root).parts[:-1])
    known = [(index, words.meaning(part)) for index, part in enumerate(parts) if words.meaning(part)]
    if not known:
        return _type_in_test(tree, parts, words)
    if len({meaning for _, meaning in known}) > 1:
        good, bad = (next(parts[index] for index, each in known if each == kind) for kind in ("good", "bad"))
        raise UsageError(f"{path} lies in a folder '{good}' and in a folder '{bad}'; move it out of one of them")
    first = known[0][0]
    below = next((part for part in parts[first + 1 :] if not is_numbered(part) and not words.meaning(part)), None)
    return label_of(words, parts[first], below)


def _type_in_test(tree: Tree, parts: Sequence[str], words: Words) -> str | None:
    """In the layout of MVTec AD, with `train/good`, each other folder of `test` is a type of defects."""
    return parts[1] if len(parts) > 1 and same(parts[0]) in _TEST and _is_divided(tree, words) else None


def _is_divided(tree: Tree, words: Words) -> bool:
    """Whether there is a folder `train` with a folder of good photos in it."""
    folder = tree.root / _TRAIN
    return folder.is_dir() and any(words.meaning(each.name) == "good" for each in folder.iterdir())


def _replaced_split(tree: Tree, words: Words) -> Iterator[str]:
    if _is_divided(tree, words):
        yield f"{tree.root} is divided into train and test already; the photos are pooled and divided anew"


def _all_of_one(tree: Tree, words: Words) -> tuple[list[Photo], list[str]]:
    """All photos where no folder has a known name: good ones, unless folders of other names may mean something."""
    unknown = [path for path in tree.photos if not all(map(is_numbered, path.relative_to(tree.root).parts[:-1]))]
    if unknown:
        raise _unclear(tree, unknown)
    if words.meaning(tree.root.resolve().name) == "bad":
        raise UsageError(
            f"{tree.root} is called a folder of bad photos and holds no good ones; name the folder above both"
        )
    photos = [Photo(path, tree.name(path), GOOD) for path in tree.photos]
    return photos, [f"no folder and no list says otherwise: {counted(len(photos), 'photo')} taken for good"]


def _unclear(tree: Tree, photos: Sequence[Path]) -> UsageError:
    """What to do with photos whose folders say neither good nor bad."""
    tops = [path.relative_to(tree.root).parts[0] for path in photos if path.parent != tree.root]
    names = list(dict.fromkeys(_deepest(tree, path) for path in photos if path.parent != tree.root))
    if not tops:
        return UsageError(
            f"{counted(len(photos), 'photo')} in {tree.root} itself, such as {photos[0].name}, beside folders that say "
            "which are good; move them into one of these"
        )
    quoted = " and ".join(f"'{name}'" for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    said = f"the name {quoted} of a folder" if len(names) == 1 else f"the names {quoted}{more} of folders"
    return UsageError(
        f"{said} in {tree.root} {'does' if len(names) == 1 else 'do'} not say which photos are good; say it, such as "
        f"--bad {shlex.quote(','.join(names))}, or --good, or give a list of path and label: --labels FILE.csv"
    )


def _deepest(tree: Tree, path: Path) -> str:
    """The innermost folder above a photo that is no date, whose name would say what the photo shows."""
    named = [part for part in path.relative_to(tree.root).parts[:-1] if not is_numbered(part)]
    return named[-1] if named else path.relative_to(tree.root).parts[0]
