"""VisA (Zou et al., ECCV 2022): twelve objects, split by a CSV file, with masks of any nonzero value."""

import csv
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from bench.config.plain_names import check_name
from bench.data.category_folders import GOOD
from bench.data.datamodule import DefectData
from bench.data.facts import CategoryFacts, categories_of, read_facts
from bench.data.layout import Category, Reading, Sample, check_size, readable
from bench.errors import UsageError, unknown

SPLIT = "split_csv/1cls.csv"  # the official one-class split
DEFECTIVE = "anomaly"
_COLUMNS = ["object", "split", "label", "image", "mask"]
_LABELS = {"normal": GOOD, "anomaly": DEFECTIVE}
_AGAIN = "unpack VisA.tar again"

_LICENCE = """\
The images and masks that this export is made of are from the Visual Anomaly (VisA) dataset, object "{category}".
Copyright Amazon.com, Inc. or its affiliates.
Licence by the README and the NOTICE of the makers' repository, https://github.com/amazon-science/spot-diff:
Creative Commons Attribution 4.0 International (CC BY 4.0), https://creativecommons.org/licenses/by/4.0/
Other places that pass it on name CC BY-NC-SA 4.0, which forbids commercial use: ask the makers where it matters.
Scientific work cites
  Yang Zou, Jongheon Jeong, Latha Pemula, Dongqing Zhang, Onkar Dabeer: "SPot-the-Difference Self-Supervised
  Pre-training for Anomaly Detection and Segmentation", arXiv 2207.14315, 2022.
Images were renamed and divided into parts anew by bench {version}; their pixels are the original ones.
"""
_NOTICE = (
    "The images are of the VisA dataset (Amazon.com, Inc.): name source and licence where you pass this page on. The "
    "makers' repository says CC BY 4.0, other places CC BY-NC-SA 4.0, which forbids commercial use; ask the makers "
    "where it matters."
)


class _Row(NamedTuple):
    """A line of the split, and its number in the file."""

    number: int
    category: str
    split: str
    defect_type: str
    image: str
    mask: str


class VisA(DefectData):
    """One object in the official one-class split of `split_csv/1cls.csv`: learn from its normal training images."""

    @property
    def facts(self) -> CategoryFacts | None:
        """The published counts; nothing is known of symmetries. None for an object that is not VisA's."""
        return categories_of("visa").get(self.category_name)

    @property
    def licence(self) -> str:
        """The licence, and that sources disagree on it."""
        return _LICENCE

    @property
    def notice(self) -> str:
        """What people who show the images must know."""
        return _NOTICE

    @property
    def official(self) -> bool:
        """Whether the images of each kind are as many as were published."""
        return self.facts is not None and not self.differences

    def category_names(self) -> list[str]:
        """The objects that the split lists."""
        return sorted({row.category for row in self._rows})

    def read(self) -> Category:
        """List the images of the object as the split deals them; a UsageError names the line that is wrong."""
        root, name = self.find_root(), self.category_name
        own = [row for row in self._rows if row.category == name]
        if not own:
            raise unknown("object of VisA", name, {row.category for row in self._rows})
        train, test = (
            tuple(self._sample(root, row) for row in own if row.split == split) for split in ("train", "test")
        )
        if not train:
            raise UsageError(f"no training images of {name} in {root / SPLIT}; {_AGAIN}")
        missing = [sample for sample in test if sample.is_defect and sample.mask is None]
        if missing and self.reading.masks == "required" and any(sample.mask for sample in test):
            raise UsageError(
                f"{root / SPLIT}: no mask for {len(missing)} anomalies of {name}, such as {missing[0].path}; {_AGAIN}, "
                "or take them for images alone: --data.masks optional"
            )
        train, test = (tuple(sorted(samples, key=lambda each: each.relative)) for samples in (train, test))
        foreign = () if self.facts else (f"'{name}' is no object of VisA",)
        return Category(name, train, test, apart=foreign)

    @cached_property
    def _rows(self) -> tuple[_Row, ...]:
        return tuple(_read_split(self.find_root()))

    def _sample(self, root: Path, row: _Row) -> Sample:
        where = f"which {SPLIT} names in line {row.number}"
        path, mask = root / row.image, root / row.mask if row.mask else None
        if not path.is_file():
            raise UsageError(f"no image {path}, {where}; {_AGAIN}")
        if mask is not None and not mask.is_file():
            if self.reading.masks == "required":
                raise UsageError(f"no mask {mask}, {where}; {_AGAIN}, or go without it: --data.masks optional")
            mask = None
        if mask is not None:
            check_size(mask, path)
        reading: Reading = self.reading._replace(any_value=True)
        return Sample(path, readable(path, root), row.defect_type, mask, reading)


def _read_split(root: Path) -> Iterator[_Row]:
    file = root / SPLIT
    seen: dict[str, int] = {}
    if not file.is_file():
        page = read_facts("visa")["page"]
        raise UsageError(
            f"no {file}; name the folder that VisA.tar unpacks to, --data.root or BENCH_DATA (the archive: {page})"
        )
    try:
        with file.open(newline="", encoding="utf-8") as text:
            lines = list(csv.reader(text, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} is no CSV file in UTF-8 ({error}); {_AGAIN}") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    if not lines or lines[0] != _COLUMNS:
        raise UsageError(f"{file}, line 1: not the columns {','.join(_COLUMNS)}; {_AGAIN}")
    for number, words in enumerate(lines[1:], 2):
        if not words:
            continue
        row = _row(file, number, words)
        for path in filter(None, (row.image, row.mask)):
            if Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
                raise UsageError(f"{file}, line {number}: {path} does not lie below {root}; {_AGAIN}")
        if row.image in seen:  # it could be learned from and tested on
            raise UsageError(f"{file}, line {number}: {row.image} stands in line {seen[row.image]} as well; {_AGAIN}")
        seen[row.image] = number
        yield row


def _row(file: Path, number: int, words: list[str]) -> _Row:
    if len(words) != len(_COLUMNS) or not words[0] or not words[3]:
        raise UsageError(f"{file}, line {number}: not an object, a split, a label, an image and a mask; {_AGAIN}")
    category, split, label, image, mask = words
    check_name("object", category)  # it becomes the name of a folder
    if split not in ("train", "test") or label not in _LABELS:
        raise UsageError(
            f"{file}, line {number}: the split is train or test and the label normal or anomaly, not '{split}' and "
            f"'{label}'; {_AGAIN}"
        )
    if label == "anomaly" and split == "train":
        raise UsageError(
            f"{file}, line {number}: an anomaly among the training images; the one-class split is 1cls.csv, {_AGAIN}"
        )
    if label == "normal" and mask:
        raise UsageError(f"{file}, line {number}: a normal image with a mask; {_AGAIN}")
    return _Row(number, category, split, _LABELS[label], image, mask)
