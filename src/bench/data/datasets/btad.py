"""BTAD (Mishra et al., ISIE 2021): three products of beanTech, in folders called ok and ko."""

from collections.abc import Mapping
from pathlib import Path

from bench.data.category_folders import GOOD, category_folder
from bench.data.datamodule import DefectData
from bench.data.facts import CategoryFacts, categories_of, read_facts
from bench.data.layout import Category, Sample, check_size, readable
from bench.data.listing import find_images
from bench.errors import UsageError

DEFECTIVE = "ko"
_GOOD_FOLDER = "ok"

_LICENCE = """\
The images and masks that this export is made of are from the BeanTech Anomaly Detection dataset (BTAD), product
"{category}". Source: beanTech srl and the University of Udine.
Licence by the README of the makers' repository, https://github.com/pankajmishra000/VT-ADL: Creative Commons
Attribution-ShareAlike (CC BY-SA), https://creativecommons.org/licenses/by-sa/4.0/
Other places that pass it on name CC BY-NC-SA 4.0, which forbids commercial use: ask the makers where it matters.
Scientific work cites
  P. Mishra, R. Verk, D. Fornasier, C. Piciarelli, G. L. Foresti: "VT-ADL: A Vision Transformer Network for Image
  Anomaly Detection and Localization", IEEE/IES International Symposium on Industrial Electronics (ISIE), 2021.
Images were renamed and divided into parts anew by bench {version}; their pixels are the original ones.
"""
_NOTICE = (
    "The images are of the BTAD dataset (beanTech srl and University of Udine): name source and licence where you pass "
    "this page on, and pass it on under the same licence. The makers' repository says CC BY-SA, other places CC "
    "BY-NC-SA 4.0, which forbids commercial use; ask the makers where it matters."
)


class BTAD(DefectData):
    """One product: `train/ok`, `test/ok`, `test/ko` and `ground_truth/ko`, a mask with the name of its image."""

    @property
    def facts(self) -> CategoryFacts | None:
        """The product's name alone: no source counts its images, and nothing is known of symmetries."""
        return categories_of("btad").get(self.category_name)

    @property
    def licence(self) -> str:
        """The licence, and that sources disagree on it."""
        return _LICENCE

    @property
    def notice(self) -> str:
        """What people who show the images must know."""
        return _NOTICE

    def category_names(self) -> list[str]:
        """The folders with training images."""
        root = self.find_root()
        found = sorted(path.parents[1].name for path in root.glob(f"*/train/{_GOOD_FOLDER}"))
        if not found:
            raise UsageError(f"no product in {root}; expected 01/train/{_GOOD_FOLDER} there ({_unpack()})")
        return found

    def read(self) -> Category:
        """List the images of the product; a UsageError names what is missing."""
        root, left_out = self.find_root(), list[Path]()
        folder = category_folder(root, self.category_name, _obtainable())
        train = self._samples(folder / "train" / _GOOD_FOLDER, GOOD, left_out)
        if not train:
            raise UsageError(f"no training images in {folder / 'train' / _GOOD_FOLDER}; {_unpack()}")
        good = self._samples(folder / "test" / _GOOD_FOLDER, GOOD, left_out)
        defective = self._samples(folder / "test" / DEFECTIVE, DEFECTIVE, left_out)
        missing = [sample for sample in defective if sample.mask is None]
        if missing and len(missing) < len(defective) and self.reading.masks == "required":
            raise UsageError(
                f"no mask for {len(missing)} of {len(defective)} images in {folder / 'test' / DEFECTIVE}, such as "
                f"{missing[0].path}; unpack btad.zip again, or take them for images alone: --data.masks optional"
            )
        return Category(self.category_name, train, (*good, *defective), tuple(left_out))

    def _samples(self, folder: Path, defect_type: str, left_out: list[Path]) -> tuple[Sample, ...]:
        root = self.find_root()
        images = find_images(folder, left_out)
        masks = _masks(folder.parents[1] / "ground_truth" / DEFECTIVE) if defect_type != GOOD else {}
        twice = {path.stem: path for path in images}
        if len(twice) < len(images):
            other = next(path for path in images if twice[path.stem] != path)
            raise UsageError(f"{twice[other.stem]} and {other.name} have one name; remove one of them")
        for path in images:
            if mask := masks.get(path.stem):
                check_size(mask, path)
        return tuple(
            Sample(path, readable(path, root), defect_type, masks.get(path.stem), self.reading) for path in images
        )


def _masks(folder: Path) -> dict[str, Path]:
    """The masks by the stem of their image, whose suffix theirs need not be."""
    found: dict[str, Path] = {}
    for path in find_images(folder, []):
        if (other := found.setdefault(path.stem, path)) is not path:
            raise UsageError(f"{other} and {path.name} are masks of one image; remove one of them")
    return found


def _unpack() -> str:
    return f"unpack btad.zip, which {read_facts('btad')['page']} links to, and name BTech_Dataset_transformed"


def _obtainable() -> Mapping[str, str]:
    """How each product gets into the folder of the data."""
    return dict.fromkeys(categories_of("btad"), _unpack())
