"""The folder layout of MVTec AD: which images a category holds, and whether they are the published ones."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.data.digests import file_sha256
from bench.data.facts import mvtec_categories
from bench.data.images import image_channels, image_size, is_upright
from bench.errors import UsageError, unknown

GOOD = "good"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Sample:
    """One image of a category; `relative` is its path below the data root, `mask` is None for good images."""

    path: Path
    relative: str
    defect_type: str
    mask: Path | None = None

    @property
    def is_defect(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect_type != GOOD


@dataclass(frozen=True)
class Category:
    """All images of one category, in the order of their names."""

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @cached_property
    def defect_types(self) -> tuple[str, ...]:
        """`good` first, then the defect types by name."""
        return (GOOD, *sorted({s.defect_type for s in (*self.train, *self.test)} - {GOOD}))

    def part(self, train: tuple[Sample, ...], test: tuple[Sample, ...]) -> "Category":
        """Some of the images, split otherwise; hashes and classes stay those of the whole."""
        part = Category(self.name, train, test)
        part.__dict__.update(defect_types=self.defect_types, hashes=self.hashes, channels=self.channels)
        return part

    @cached_property
    def hashes(self) -> dict[Path, str]:
        """SHA-256 of every file's bytes, masks included."""
        paths = [p for s in (*self.train, *self.test) for p in (s.path, s.mask) if p is not None]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return dict(zip(paths, pool.map(file_sha256, paths), strict=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the relative paths and contents of all files: what the figures of a run depend on."""
        lines = []
        for sample in (*self.train, *self.test):
            mask = self.hashes[sample.mask] if sample.mask else "-"
            # As earlier releases wrote it, but for files that they read without turning them.
            turned = "" if is_upright(sample.path) else " turned"
            lines.append(f"{sample.relative} {self.hashes[sample.path]} {mask}{turned}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @cached_property
    def channels(self) -> int:
        """1 where every image is grey, else 3."""
        return max(image_channels(s.path) for s in (*self.train, *self.test))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of images: `train/good`, `test/good` and each `test/<defect type>`."""
        by_type = Counter(s.defect_type for s in self.test)
        return {"train/good": len(self.train)} | {f"test/{t}": by_type[t] for t in self.defect_types}

    @cached_property
    def differences(self) -> tuple[str, ...]:
        """How these data differ from MVTec's own (category, counts, image size); empty when they do not."""
        facts = mvtec_categories().get(self.name)
        if facts is None:
            return (f"'{self.name}' is no category of MVTec AD",)
        published = {"train/good": facts.train_good, "test/good": facts.test_good}
        published |= {f"test/{name}": count for name, count in facts.defect_types.items()}
        found = []
        for split in sorted(published.keys() | self.counts.keys()):
            if published.get(split, 0) != self.counts.get(split, 0):
                found.append(f"{split}: {self.counts.get(split, 0)} images, not {published.get(split, 0)}")
        sizes = {image_size(s.path) for s in (*self.train, *self.test)}
        if sizes != {(facts.side, facts.side)}:
            width, height = min(sizes)
            several = " and other sizes" if len(sizes) > 1 else ""
            found.append(f"images of {width} x {height}{several}, not {facts.side} x {facts.side}")
        return tuple(found)


def named_root(typed: str | None) -> Path:
    """The folder that holds the categories: what was typed, else BENCH_DATA; a UsageError where none is named."""
    named = typed or os.environ.get("BENCH_DATA")
    if not named:
        raise UsageError(
            "no data folder; name the one that holds the categories with --data.root or BENCH_DATA, "
            "or try --data synthetic"
        )
    return Path(named).expanduser()


def read_category(root: Path, name: str) -> Category:
    """List the images of `root/name`; a UsageError names what is missing and what to do."""
    if not root.is_dir():
        raise UsageError(
            f"no data folder at {root}; name the folder that holds the categories: --data.root or BENCH_DATA"
        )
    folder = root / name
    present = {p.name for p in root.iterdir() if p.is_dir()}
    if name not in present:  # a path such as `../screw` may well be a folder, and is no category
        if name in mvtec_categories():
            raise UsageError(f"no category folder {folder}; unpack {name}.tar.xz of MVTec AD there, or set --data.root")
        raise unknown("category", name, present | mvtec_categories().keys())
    train = tuple(Sample(p, _relative(p, root), GOOD) for p in _images(folder / "train" / GOOD))
    if not train:
        raise UsageError(
            f"no training images in {folder / 'train' / GOOD}; methods learn from defect-free images there"
        )
    test = tuple(_test_samples(folder, root))
    if not test:
        raise UsageError(f"no test images in {folder / 'test'}; expected test/good/*.png and test/<defect type>/*.png")
    _check_both_kinds(test, folder)
    return Category(name, train, test)


def _test_samples(folder: Path, root: Path) -> Iterator[Sample]:
    types = sorted(p for p in (folder / "test").glob("*") if p.is_dir())
    for type_folder in types:
        for path in _images(type_folder):
            if type_folder.name == GOOD:
                yield Sample(path, _relative(path, root), GOOD)
                continue
            mask = folder / "ground_truth" / type_folder.name / f"{path.stem}_mask.png"
            if not mask.is_file():
                raise UsageError(f"no mask for the defect image {path}; expected {mask}")
            if image_size(mask) != image_size(path):
                sizes = " and ".join("{} x {}".format(*image_size(p)) for p in (mask, path))
                raise UsageError(f"mask {mask} and its image differ in size: {sizes}; give the mask its image's size")
            yield Sample(path, _relative(path, root), type_folder.name, mask)


def _check_both_kinds(test: Sequence[Sample], folder: Path) -> None:
    if not any(s.is_defect for s in test):
        raise UsageError(
            f"no defect images in {folder / 'test'}; a test needs test/<defect type>/*.png beside test/good"
        )
    if all(s.is_defect for s in test):
        raise UsageError(f"no good images in {folder / 'test' / GOOD}; a test needs defect-free images as well")


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
