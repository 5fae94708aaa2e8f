"""MVTec AD 2 (Heckler-Kram et al., 2025): eight objects of up to five megapixels under changing light.

Masks of `test_public` are published; those of `test_private` and `test_private_mixed` are not: `bench submit` writes
what MVTec's server evaluates.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from bench.data.category_folders import GOOD, category_folder
from bench.data.datamodule import DefectData
from bench.data.datasets.mvtec_ad_2_facts import PRIVATE_IMAGES
from bench.data.layout import Category, Sample, check_masks, masked_samples, readable
from bench.data.listing import find_images
from bench.errors import UsageError

_BAD = "bad"
_PUBLIC = "test_public"
_LICENCE = """\
The images and masks that this export is made of are from MVTec AD 2, object "{category}".
Copyright 2025 MVTec Software GmbH.
Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0),
https://creativecommons.org/licenses/by-nc-sa/4.0/
Scientific work cites
  Lars Heckler-Kram, Jan-Hendrik Neudeck, Ulla Scheler, Rebecca Koenig, Carsten Steger: "The MVTec AD 2 Dataset:
  Advanced Scenarios for Unsupervised Anomaly Detection", arXiv:2503.21622, 2025.
Images were renamed and divided into parts anew by bench {version}; their pixels are the original ones.
"""
_NOTICE = (
    "The images are MVTec AD 2's (MVTec Software GmbH, CC BY-NC-SA 4.0): do not publish this page or its pictures "
    "without naming source and licence, under another licence, or for commercial purposes."
)


class MVTecAD2(DefectData):
    """One object of MVTec AD 2: learned from `train`, thresholds from `validation`, tested on `test_public`."""

    obtainable: ClassVar = dict.fromkeys(PRIVATE_IMAGES, "unpack the archive of MVTec AD 2 there")

    @property
    def licence(self) -> str | None:
        """MVTec's licence; None for a category that is not its own."""
        return _LICENCE if self.category_name in PRIVATE_IMAGES else None

    @property
    def notice(self) -> str:
        """What MVTec requires of people who show its images."""
        return _NOTICE if self.category_name in PRIVATE_IMAGES else super().notice

    def read(self) -> Category:
        """Read the public images; no method learns from those of `validation`, which set its thresholds."""
        root, name = self.find_root(), self.category_name
        folder = category_folder(root, name, self.obtainable)
        left_out: list[Path] = []
        train, validation, good = (
            [Sample(path, readable(path, root), GOOD, reading=self.reading) for path in find_images(each, left_out)]
            for each in (folder / "train" / GOOD, folder / "validation" / GOOD, folder / _PUBLIC / GOOD)
        )
        for images, where in ((train, "train"), (validation, "validation")):
            if not images:
                raise UsageError(f"no images in {folder / where / GOOD}; unpack the archive of MVTec AD 2 again")
        test = (*good, *self._bad(folder, root, left_out))
        category = Category(
            name,
            (*train, *validation),
            test,
            tuple(left_out),
            apart=() if name in PRIVATE_IMAGES else (f"'{name}' is no object of MVTec AD 2",),
            held_out={sample.relative: number for number, sample in enumerate(validation)},
        )
        check_masks(category, folder / _PUBLIC / "ground_truth", self.reading)
        return category

    def _bad(self, folder: Path, root: Path, left_out: list[Path]) -> Iterator[Sample]:
        images = find_images(folder / _PUBLIC / _BAD, left_out)
        return masked_samples(images, _BAD, folder / _PUBLIC / "ground_truth" / _BAD, root, self.reading)
