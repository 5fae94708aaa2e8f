"""The contents of an export: its images, their names and parts, and the classes of their defects."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.data.export.prompts import ANY_DEFECT
from bench.data.export.regions import Region, find_regions
from bench.data.images import read_header
from bench.data.layout import Category, Sample
from bench.errors import UsageError
from bench.version import __version__
from bench.writing import copy_file

Images = Literal["copy", "link", "reference"]


@dataclass(frozen=True)
class Picture:
    """One image of the export; `name` is its file name there, `split` its part."""

    sample: Sample
    split: str
    name: str
    width: int
    height: int

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return Path(self.name).stem

    def regions(self) -> list[Region]:
        """The connected regions of its mask; none for a good image."""
        drawn = self.sample.read_mask() if self.sample.mask else None
        return [] if drawn is None else find_regions(drawn)


@dataclass(frozen=True)
class Contents:
    """Everything that a format is written from; `prompts` maps the classes, in their order, to texts."""

    dataset: str
    category: Category
    prompts: Mapping[str, str]
    shares: Mapping[str, float]
    seed: int
    images: Images
    pictures: tuple[Picture, ...]

    def part(self, split: str) -> Iterator[Picture]:
        """The pictures of one part."""
        return (picture for picture in self.pictures if picture.split == split)

    def class_number(self, sample: Sample) -> int:
        """Index of a defect image's class in `prompts`."""
        classes = list(self.prompts)
        return classes.index(sample.defect_type if sample.defect_type in self.prompts else ANY_DEFECT)

    def image_path(self, picture: Picture) -> str:
        """The path of the image: relative to the export, or absolute if the image is only referred to."""
        if self.images == "reference":
            return str(picture.sample.path.resolve())
        return f"images/{picture.split}/{picture.name}"

    def place_images(self, folder: Path) -> None:
        """Copy or link the images into the export."""
        for picture in self.pictures if self.images != "reference" else ():
            target = folder / self.image_path(picture)
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.images == "copy":
                copy_file(picture.sample.path, target)
            else:
                target.symlink_to(picture.sample.path.resolve())

    def summary(self) -> dict[str, Any]:
        """The origin of the export, for a reader and for making it again."""
        counts = Counter((p.split, p.sample.defect_type) for p in self.pictures)
        types = self.category.defect_types
        return {
            "bench": __version__,
            "dataset": self.dataset,
            "category": self.category.name,
            "digest": self.category.digest,
            "seed": self.seed,
            "shares": dict(self.shares),
            "classes": dict(self.prompts),
            "images": self.images,
            "counts": {split: {kind: counts[split, kind] for kind in types} for split in self.shares},
            "origin": {f"{p.split}/{p.name}": p.sample.relative for p in self.pictures},
        }


def name_pictures(dealt: list[tuple[Sample, str]], category: str) -> tuple[Picture, ...]:
    """Give each image a unique name, made of its folders: `test-scratch_head-003.png`."""
    pictures = []
    taken: dict[str, Sample] = {}
    for sample, split in dealt:
        name = sample.relative.removeprefix(f"{category}/").replace("/", "-")
        other = taken.setdefault(Path(name).stem, sample)
        if other is not sample:
            raise UsageError(f"{other.relative} and {sample.relative} would share the name {name}; rename one of them")
        if not (header := read_header(sample.path)).upright:
            raise UsageError(f"{sample.path} is stored turned (EXIF orientation), its mask is not; save it upright")
        pictures.append(Picture(sample, split, name, *header.size))
    return tuple(pictures)
