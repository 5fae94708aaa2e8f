"""MVTec LOCO AD (Bergmann et al., IJCV 2022): logical and structural anomalies, each defect with a mask of its own."""

from collections.abc import Mapping
from pathlib import Path

from bench.data.category_folders import GOOD, category_folder
from bench.data.datamodule import DefectData
from bench.data.facts import CategoryFacts, categories_of, read_facts
from bench.data.layout import VALIDATION, Category, Sample, check_size, readable
from bench.data.listing import find_images, type_folders
from bench.data.saturation import CONFIG, read_saturations
from bench.errors import UsageError, counted

KINDS = ("logical_anomalies", "structural_anomalies")

_LICENCE = """\
The images and masks that this export is made of are from MVTec LOCO AD, category "{category}".
Copyright 2022 MVTec Software GmbH.
Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0),
https://creativecommons.org/licenses/by-nc-sa/4.0/
Scientific work cites
  Paul Bergmann, Kilian Batzner, Michael Fauser, David Sattlegger, Carsten Steger: "Beyond Dents and Scratches: Logical
  Constraints in Unsupervised Anomaly Detection and Localization", International Journal of Computer Vision, 2022.
Images were renamed and divided into parts anew by bench {version}; their pixels are the original ones. The masks of an
image were joined to one.
"""
_NOTICE = (
    "The images are MVTec LOCO AD's (MVTec Software GmbH, CC BY-NC-SA 4.0): do not publish this page or its pictures "
    "without naming source and licence, under another licence, or for commercial purposes."
)


class MVTecLOCO(DefectData):
    """One category: `train/good` and `validation/good`, the test by kind, masks in `ground_truth/KIND/STEM/*.png`.

    The images of `validation/good` are held out: thresholds and loss curves are theirs, and no method learns from them.
    """

    @property
    def facts(self) -> CategoryFacts | None:
        """The category's name alone: no source that was read counts its images, and nothing is known of symmetries."""
        return categories_of("mvtec_loco").get(self.category_name)

    @property
    def licence(self) -> str:
        """MVTec's licence."""
        return _LICENCE

    @property
    def notice(self) -> str:
        """What MVTec requires of people who show its images."""
        return _NOTICE

    def read(self) -> Category:
        """List the images and the masks of each; a UsageError names what is missing."""
        root, left_out = self.find_root(), list[Path]()
        folder = category_folder(root, self.category_name, _obtainable())
        saturation = read_saturations(folder / CONFIG)
        train, validation = (self._good(folder / split / GOOD, left_out) for split in ("train", VALIDATION))
        test: list[Sample] = []
        for kind in type_folders(folder / "test", left_out):
            if kind.name not in (GOOD, *KINDS):
                known = ", ".join((GOOD, *KINDS))
                raise UsageError(f"{kind} is no kind of test images of MVTec LOCO AD ({known}); move it elsewhere")
            test += self._good(kind, left_out) if kind.name == GOOD else self._defective(kind, left_out)
        self._check_masks(folder, test)
        images = counted(len(validation), "image")
        return Category(
            self.category_name,
            (*train, *validation),
            tuple(test),
            tuple(left_out),
            notes=(f"{images} of {self.category_name}/{VALIDATION} for the threshold; no method learns from them",),
            held_out={sample.relative: number for number, sample in enumerate(validation)},
            saturation=saturation,
        )

    def _good(self, folder: Path, left_out: list[Path]) -> list[Sample]:
        root = self.find_root()
        found = [
            Sample(path, readable(path, root), GOOD, reading=self.reading) for path in find_images(folder, left_out)
        ]
        if not found and folder.parent.name != "test":
            raise UsageError(f"no images in {folder}; {_unpack(self.category_name)}")
        return found

    def _defective(self, folder: Path, left_out: list[Path]) -> list[Sample]:
        root, truth = self.find_root(), folder.parents[1] / "ground_truth" / folder.name
        reading = self.reading._replace(any_value=True)
        found = []
        for path in find_images(folder, left_out):
            masks = sorted(find_images(truth / path.stem, left_out)) if (truth / path.stem).is_dir() else []
            for mask in masks:
                check_size(mask, path)
            first, more = (masks[0], tuple(masks[1:])) if masks else (None, ())
            found.append(Sample(path, readable(path, root), folder.name, first, reading, more_masks=more))
        return found

    def _check_masks(self, folder: Path, test: list[Sample]) -> None:
        missing = [sample for sample in test if sample.is_defect and sample.mask is None]
        if missing and self.reading.masks == "required" and any(sample.mask for sample in test):
            path = missing[0].path
            there = folder / "ground_truth" / path.parent.name / path.stem
            raise UsageError(
                f"no mask for {len(missing)} of {sum(s.is_defect for s in test)} defect images in {folder}, such as "
                f"{path}; expected {there}/000.png; or take them for images alone: --data.masks optional"
            )


def _obtainable() -> Mapping[str, str]:
    """How each category gets into the folder of the data."""
    return {name: _unpack(name) for name in categories_of("mvtec_loco")}


def _unpack(name: str) -> str:
    facts = read_facts("mvtec_loco")
    return f"unpack {name} of {facts['archive']['file']} ({facts['page']}) there"
