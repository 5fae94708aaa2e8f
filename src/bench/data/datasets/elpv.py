"""ELPV (Buerhop-Lutz, Deitsch, Maier et al., 2018): solar cells by electroluminescence, of two kinds, without masks."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data.category_folders import GOOD
from bench.data.datamodule import DefectData
from bench.data.datasets.elpv_facts import KINDS, PUBLISHED, TRAIN, check_kind
from bench.data.facts import CategoryFacts, Symmetry
from bench.data.layout import Category, Sample, readable
from bench.errors import UsageError, counted

LABELS = "labels.csv"
DEFECTIVE = "defective"

# Cells fill their images: a rotated one would show its border. Upside down or mirrored, a normal cell stays normal.
_SYMMETRY = Symmetry(
    aligned_to_hflip=False,
    hflip_symmetric=True,
    must_not_rotate=True,
    rotation_symmetric_any=False,
    rotation_symmetric_90=False,
    rotation_symmetric_180=True,
)
_LICENCE = """\
The images that this export is made of are from the ELPV dataset, kind "{category}".
Copyright 2018 FAU Erlangen-Nuernberg and Bavarian Center for Applied Energy Research (ZAE Bayern).
Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0),
https://creativecommons.org/licenses/by-nc-sa/4.0/
Scientific work cites
  C. Buerhop-Lutz, S. Deitsch, A. Maier et al.: "A Benchmark for Visual Identification of Defective Solar Cells in
  Electroluminescence Imagery", European PV Solar Energy Conference and Exhibition (EU PVSEC), 2018.
Images were renamed and divided into parts anew by bench {version}; their pixels are the original ones.
"""
_NOTICE = (
    "The images are of the ELPV dataset (FAU Erlangen-Nuernberg and ZAE Bayern, CC BY-NC-SA 4.0): do not publish this "
    "page or its pictures without naming source and licence, under another licence, or for commercial purposes."
)


class _Cell(NamedTuple):
    """A line of labels.csv."""

    path: str
    probability: float  # that it is defective: 0, 1/3, 2/3 or 1
    kind: str


class Elpv(DefectData):
    """Cells of one kind: those of probability 0 are good, those of probability 1 are defects, others are left out.

    The seed draws 200 good cells for training, but at most two thirds of all good cells.
    """

    @property
    def facts(self) -> CategoryFacts:
        """The facts, the same for both kinds."""
        return CategoryFacts(self.category_name, "object", aligned=True, symmetry=_SYMMETRY)

    @property
    def licence(self) -> str:
        """The licence of the dataset's makers."""
        return _LICENCE

    @property
    def notice(self) -> str:
        """What the licence requires of people who show the images."""
        return _NOTICE

    @property
    def official(self) -> bool:
        """Whether all published cells are present."""
        return not self.differences

    def category_names(self) -> list[str]:
        """The kinds that have functional cells."""
        cells = list(_cells(self.find_root()))
        return [kind for kind in KINDS if any(cell.kind == kind and cell.probability == 0 for cell in cells)]

    def read(self) -> Category:
        """Read the cells that labels.csv lists, and split them by the seed."""
        root, kind = self.find_root(), self.category_name
        check_kind(kind)
        cells = list(_cells(root))
        own = [cell for cell in cells if cell.kind == kind]
        good, defective = (
            [self._sample(root, cell, name) for cell in own if cell.probability == value]
            for value, name in ((0.0, GOOD), (1.0, DEFECTIVE))
        )
        if not good:
            raise UsageError(f"no functional cells of {kind} in {root / LABELS}; methods learn from them")
        drawn = np.random.default_rng(self.seed).permutation(len(good))[: min(TRAIN, -(-2 * len(good) // 3))]
        learned = set(drawn.tolist())
        train = tuple(sample for index, sample in enumerate(good) if index in learned)
        test = (*(sample for index, sample in enumerate(good) if index not in learned), *defective)
        unsure = len(own) - len(good) - len(defective)
        return Category(
            kind,
            train,
            test,
            apart=(f"{len(cells)} cells, not {PUBLISHED}",) if len(cells) != PUBLISHED else (),
            notes=(f"{counted(unsure, 'cell')} of {kind} left out: neither surely functional nor surely defective",)
            if unsure
            else (),
            dealt=True,
        )

    def _sample(self, root: Path, cell: _Cell, defect_type: str) -> Sample:
        path = root / cell.path
        if not path.is_file():
            raise UsageError(f"no image {path}, which {LABELS} names; unpack the dataset again")
        return Sample(path, readable(path, root), defect_type, reading=self.reading)


def _cells(root: Path) -> Iterator[_Cell]:
    file = root / LABELS
    if not file.is_file():
        raise UsageError(f"no {file}; name the folder that holds {LABELS} and images: --data.root or BENCH_DATA")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no text in UTF-8; get the file again") from None
    found: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            path, probability, kind = line.split()
            cell = _Cell(path, float(probability), kind)
        except ValueError:
            raise UsageError(
                f"{file}, line {number}: not a path, a probability and a kind; get the file again"
            ) from None
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise UsageError(f"{file}, line {number}: {path} does not lie below {root}; get the file again")
        if path in found:  # it could be learned from and tested on
            raise UsageError(f"{file}, line {number}: {path} stands there twice; remove one of the lines")
        found.add(path)
        yield cell
