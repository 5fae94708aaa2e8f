"""The images of a category, and how they are read from folders in the layout of MVTec AD, which many datasets share."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.category_folders import GOOD, category_folder
from bench.data.digests import file_sha256
from bench.data.facts import CategoryFacts
from bench.data.images import BITS, GREY_IN_COLOUR, Header, read_header, read_image
from bench.data.listing import find_images, find_masks, type_folders
from bench.data.masks import read_mask, read_region
from bench.data.saturation import NO_SATURATION, Defect, Saturations, read_defect
from bench.errors import UsageError
from bench.phases import phase
from bench.processes import available_cores

Masks = Literal["required", "optional"]


class Reading(NamedTuple):
    """How files become pixels, where there is a choice."""

    bits: int = BITS  # used by grey images with more than 8
    masks: Masks = "required"  # required: each defect image has one, or none has; optional: some may lack theirs
    mask_threshold: int | None = None  # the least grey value of a defect, in masks with shades
    any_value: bool = False  # every value of a mask but 0 is a defect, by the word of the dataset's makers


PLAIN = Reading()
NONE_KNOWN: Mapping[str, str] = {}
VALIDATION = "validation"  # the folder beside `train` of a dataset that names the images of its thresholds


@dataclass(frozen=True)
class Sample:
    """One image of a category; `relative` is its path below the data root, as valid Unicode.

    `mask` is None for good images, and for defect images without one. Its pixels count within the `region` alone.
    `more_masks` are those of further defects of the same image.
    """

    path: Path
    relative: str
    defect_type: str
    mask: Path | None = None
    reading: Reading = PLAIN
    region: Path | None = None  # the mask of the pixels that count; None: all of them
    more_masks: tuple[Path, ...] = ()
    product: str = ""  # what it shows, where one model is for several products

    @property
    def masks(self) -> tuple[Path, ...]:
        """All masks of the image, one for each of its defects where the dataset tells them apart."""
        return () if self.mask is None else (self.mask, *self.more_masks)

    @property
    def is_defect(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect_type != GOOD

    def read_image(self) -> Image.Image:
        """The image, upright, in 8-bit grey or colour."""
        return read_image(self.path, self.reading.bits)

    def read_region(self) -> NDArray[np.bool_] | None:
        """The pixels (height, width) that count; None: all of them."""
        return None if self.region is None else read_region(self.region, self.reading.mask_threshold)

    def read_mask(self) -> NDArray[np.bool_] | None:
        """The mask (height, width), of several masks all their pixels: empty for a good image, None without one."""
        if self.mask is not None:
            marked: NDArray[np.bool_] = np.logical_or.reduce([self._read_mask(path) for path in self.masks])
            return marked
        if self.is_defect:
            return None
        width, height = read_header(self.path).size
        return np.zeros((height, width), np.bool_)

    def read_defects(self, saturations: Saturations) -> list[Defect]:
        """Each defect of the image by itself, with how much of it must be found; empty without masks."""
        return [read_defect(path, saturations) for path in self.masks]

    def mask_key(self, hashes: Mapping[Path, str]) -> str:
        """The contents of the masks, by the `hashes` of files; `-` without one."""
        return "+".join(hashes[path] for path in self.masks) or "-"

    def _read_mask(self, path: Path) -> NDArray[np.bool_]:
        return read_mask(path, self.reading.mask_threshold, any_value=self.reading.any_value)


@dataclass(frozen=True)
class Category:
    """All images of one category, in the order of their names, and what is known of it.

    `apart` lists differences from the published images that the images do not show themselves; `notes` are lines to
    print. `held_out` names, by `relative`, the images of `train` that no method learns from, where that was decided
    before the run, and the group of each: images of one group show the same part. With `dealt`, the seed divides
    `train` and `test`, and the digest is of all images, whatever the division. `saturation` says how much of a defect
    must be found, by the value of its mask; where it is empty, there is no sPRO.
    """

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    left_out: tuple[Path, ...] = field(default=(), compare=False)  # files beside the images that are none
    facts: CategoryFacts | None = field(default=None, compare=False)
    apart: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    dealt: bool = field(default=False, compare=False)
    held_out: Mapping[str, int] = field(default_factory=dict, hash=False)
    saturation: Saturations = field(default_factory=lambda: NO_SATURATION, hash=False)

    @cached_property
    def defect_types(self) -> tuple[str, ...]:
        """`good` first, then the defect types by name."""
        return (GOOD, *sorted({s.defect_type for s in (*self.train, *self.test)} - {GOOD}))

    @property
    def without_masks(self) -> int:
        """The number of defect images without a mask."""
        return sum(s.is_defect and s.mask is None for s in self.test)

    @property
    def has_masks(self) -> bool:
        """Whether pixels can be scored: some defect image has a mask."""
        return any(s.mask is not None for s in self.test)

    def part(self, train: tuple[Sample, ...], test: tuple[Sample, ...]) -> "Category":
        """A category of some of the images, in another split; it keeps the hashes and classes of the full one."""
        part = Category(self.name, train, test, facts=self.facts, held_out=self.held_out, saturation=self.saturation)
        part.__dict__.update(
            defect_types=self.defect_types, hashes=self.hashes, headers=self.headers, channels=self.channels
        )
        return part

    @cached_property
    def hashes(self) -> dict[Path, str]:
        """SHA-256 of every file's bytes, masks and regions included."""
        named = [p for s in (*self.train, *self.test) for p in (s.path, *s.masks, s.region) if p is not None]
        paths = list(dict.fromkeys(named))
        found = {}
        with phase("reading files", len(paths), "files") as counted, ThreadPoolExecutor(available_cores()) as pool:
            for path, digest in zip(paths, pool.map(file_sha256, paths), strict=True):
                found[path] = digest
                counted.advance()
        return found

    @cached_property
    def headers(self) -> dict[Path, Header]:
        """The header of every image file; a UsageError names the first file that is no image."""
        return {s.path: read_header(s.path) for s in (*self.train, *self.test)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the relative paths and contents of all files, on which the metrics of a run depend."""
        lines = []
        samples = (*self.train, *self.test)
        for sample in sorted(samples, key=lambda each: each.relative) if self.dealt else samples:
            mask = sample.mask_key(self.hashes)
            # As in earlier releases, except for files that those read without turning them.
            turned = "" if self.headers[sample.path].upright else " turned"
            region = f" within {self.hashes[sample.region]}" if sample.region else ""
            group = self.held_out.get(sample.relative)
            role = "" if group is None else f" held out, part {group}"
            lines.append(f"{sample.relative} {self.hashes[sample.path]} {mask}{turned}{region}{role}\n")
        for value, (threshold, relative) in sorted(self.saturation.items()):
            lines.append(f"defects of {value} are saturated by {threshold!r}{' of them' if relative else ''}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @cached_property
    def channels(self) -> int:
        """1 where every image is grey, else 3."""
        return max(header.channels for header in self.headers.values())

    @cached_property
    def conversions(self) -> dict[str, int]:
        """How reading changes pixels, in words, each with the number of images concerned."""
        found = [header.conversion for header in self.headers.values() if header.conversion]
        if self.channels > 1:
            found += [GREY_IN_COLOUR for header in self.headers.values() if header.channels == 1]
        return dict(sorted(Counter(found).items()))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of images: `train/good`, `validation/good` if there is one, `test/good`, each `test/<defect type>`."""
        by_type = Counter(s.defect_type for s in self.test)
        validation = sum(f"/{VALIDATION}/{GOOD}/" in s.relative for s in self.train)
        learned = {"train/good": len(self.train) - validation}
        named = {f"{VALIDATION}/{GOOD}": validation} if validation else {}
        return learned | named | {f"test/{t}": by_type[t] for t in self.defect_types}

    @cached_property
    def differences(self) -> tuple[str, ...]:
        """Differences from the published data: `apart`, counts, image size; only `apart` if nothing was published."""
        published = self.facts.published if self.facts else None
        if published is None:
            return self.apart
        found = [*self.apart]
        for split in sorted(published.counts.keys() | self.counts.keys()):
            if published.counts.get(split, 0) != self.counts.get(split, 0):
                found.append(f"{split}: {self.counts.get(split, 0)} images, not {published.counts.get(split, 0)}")
        side = published.side
        if side is not None and (sizes := {header.size for header in self.headers.values()}) != {(side, side)}:
            width, height = min(sizes)
            several = " and other sizes" if len(sizes) > 1 else ""
            found.append(f"images of {width} x {height}{several}, not {side} x {side}")
        return tuple(found)


def read_category(
    root: Path, name: str, reading: Reading = PLAIN, *, obtainable: Mapping[str, str] = NONE_KNOWN
) -> Category:
    """List the images of `root/name`; a UsageError names what is missing and what to do."""
    folder = category_folder(root, name, obtainable)
    left_out: list[Path] = []
    good = next((p for p in type_folders(folder / "train", left_out) if p.name == GOOD), None)
    images = find_images(good, left_out) if good else []
    train = tuple(Sample(p, readable(p, root), GOOD, reading=reading) for p in images)
    if not train:
        raise UsageError(
            f"no training images in {folder / 'train' / GOOD}; methods learn from defect-free images there"
        )
    for other in (p for p in type_folders(folder / "train", []) if p != good):
        left_out += find_images(other, left_out)
    types = type_folders(folder / "test", left_out)
    test = tuple(sample for each in types for sample in _test_samples(each, root, left_out, reading))
    category = Category(name, train, test, tuple(left_out))
    check_masks(category, folder / "ground_truth", reading)
    return category


def readable(path: Path, root: Path) -> str:
    """The path of a file below a folder, as text: bytes of a name that are no UTF-8 are written as `\\xfc`."""
    relative = path.relative_to(root).as_posix()
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _test_samples(folder: Path, root: Path, left_out: list[Path], reading: Reading) -> Iterator[Sample]:
    images = find_images(folder, left_out)
    if folder.name == GOOD:
        yield from (Sample(path, readable(path, root), GOOD, reading=reading) for path in images)
    else:
        masks = folder.parents[1] / "ground_truth" / folder.name
        yield from masked_samples(images, folder.name, masks, root, reading)


def masked_samples(
    images: Iterable[Path], defect_type: str, folder: Path, root: Path, reading: Reading
) -> Iterator[Sample]:
    """The defect images of one type, with those of the masks in `folder` that are called `STEM_mask`."""
    masks = find_masks(folder)
    by_stem: dict[str, Path] = {}
    for path in images:
        if (other := by_stem.setdefault(path.stem, path)) is not path and path.stem in masks:
            raise UsageError(f"{other} and {path.name} would share the mask {masks[path.stem]}; rename one of them")
        mask = masks.get(path.stem)
        if mask is not None:
            check_size(mask, path)
        yield Sample(path, readable(path, root), defect_type, mask, reading)


def check_size(mask: Path, image: Path) -> None:
    """Refuse a mask of another size than its image."""
    if (sizes := read_header(mask).size) != (own := read_header(image).size):
        words = " and ".join("{} x {}".format(*size) for size in (sizes, own))
        raise UsageError(f"mask {mask} and its image differ in size: {words}; give the mask its image's size")


def check_masks(category: Category, masks: Path, reading: Reading) -> None:
    """Require a mask for all defect images or for none; for some only with `masks: optional`.

    `masks` is the folder that holds a folder of masks for each defect type.
    """
    missing = [s for s in category.test if s.is_defect and s.mask is None]
    if missing and category.has_masks and reading.masks == "required":
        count, path = sum(s.is_defect for s in category.test), missing[0].path
        raise UsageError(
            f"no mask for {len(missing)} of {count} defect images in {masks.parent}, such as {path}; expected "
            f"{masks / missing[0].defect_type / f'{path.stem}_mask.png'}; or take them for images alone: "
            "--data.masks optional"
        )


def categories_below(root: Path) -> list[str]:
    """Names of the folders with training images; a UsageError if there is none."""
    found = sorted(path.parents[1].name for path in root.glob("*/train/good"))
    if not found:
        raise UsageError(f"no category in {root}; expected CATEGORY/train/good there")
    return found
