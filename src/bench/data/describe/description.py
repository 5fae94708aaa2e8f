"""The description of a category: statistics of its classes, defects and images."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantiles:
    """Minimum, median and maximum of some numbers."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Defects:
    """The masks of one class. A region is 8-connected; `area_share` is the marked part of an image's pixels."""

    area_share: Quantiles
    regions: int
    regions_per_image: Quantiles
    region_pixels: Quantiles


@dataclass(frozen=True)
class DefectClass:
    """The images of one class, which may be `good`; `sizes` are width x height in pixels.

    `defects` is None for `good` and for a class without masks.
    """

    name: str
    train: int
    test: int
    sizes: Mapping[str, int]
    modes: Mapping[str, int]
    defects: Defects | None

    @property
    def images(self) -> int:
        """The number of images in both splits."""
        return self.train + self.test


@dataclass(frozen=True)
class Imbalance:
    """The number of images of the commonest class per image of the rarest."""

    ratio: float
    commonest: str
    rarest: str


@dataclass(frozen=True)
class Pair:
    """Two images that show the same photograph; `across_splits` where one is trained on and the other tested."""

    first: str
    second: str
    correlation: float
    across_splits: bool


@dataclass(frozen=True)
class NearDuplicates:
    """The number of all near-duplicate pairs, and the most similar pairs by name."""

    count: int
    across_splits: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class ImageFacts:
    """One image; `path` is relative to the data root.

    `area_share` is the marked share of its pixels, None without a mask. `brightness` is its mean grey value, 0 to 255;
    `contrast` the standard deviation of its grey values; `border` the mean of the outermost twentieth on every side;
    `bytes` the size of its file.
    """

    path: str
    defect_type: str
    size: str
    mode: str
    brightness: float
    contrast: float
    border: float
    bytes: int
    area_share: float | None
    regions: int | None


@dataclass(frozen=True)
class Giveaway:
    """How well one plain number of the test images tells defective ones from good ones.

    `auroc` is in the better direction; `is_higher`: larger numbers are the defective images'. `distance_auroc` is the
    one of the distance from the training images' mean. `p_value` is corrected for the number of looks. `is_named`:
    whether it is a giveaway by the rule of `giveaways.py`.
    """

    name: str
    auroc: float
    is_higher: bool
    distance_auroc: float | None
    p_value: float
    is_named: bool


@dataclass(frozen=True)
class Description:
    """All statistics of one category; `differences` lists how the images differ from the published ones.

    `brightness_auroc`: image AUROC of the test images' brightness as a score; None without good or defective ones.
    `giveaways`: what plain numbers tell of the test images; empty without good or defective ones.
    """

    category: str
    dataset: str
    is_synthetic: bool
    differences: tuple[str, ...]
    train: int
    test: int
    masks: int
    classes: tuple[DefectClass, ...]
    imbalance: Imbalance | None
    imbalance_of_defects: Imbalance | None
    near_duplicates: NearDuplicates
    brightness_auroc: float | None
    giveaways: tuple[Giveaway, ...]
    images: tuple[ImageFacts, ...]
