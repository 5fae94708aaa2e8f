"""Random changes that keep normal images normal and defects of their type; only this file imports albumentations."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.facts import NO_SYMMETRY, CategoryFacts, Symmetry

# Without this albumentations asks the network for a newer release at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Policy = Literal["none", "symmetries", "translation_and_colour", "rotation_and_crop", "mild", "strong", "turned"]
Image = NDArray[np.uint8]

_REFLECT = 4  # cv2.BORDER_REFLECT_101: no black corners, which would look like defects
_REPLICATE = 1  # cv2.BORDER_REPLICATE: the background continues
_POSE = 20112785  # Rd-MVTec is one dataset, whatever the seed of a run


class Augmentation:
    """A policy's random changes of images of `size` pixels, then the centre crop or a random patch.

    The same draw gives the same image. `facts` name the changes that the category tolerates; without them few are made.

    `symmetries` makes changes that keep the category's normal images normal. `translation_and_colour` is CutPaste's
    (its paper does not state the range: 5 % here). `rotation_and_crop` is that of the VAE in PaDiM's paper (rotation
    within 2 degrees, crop up to 5 of 292 pixels off). `mild` and `strong` suit images with defects as well, and keep
    each defect's type: turns and flips that the category allows (5 and 15 degrees unless any angle is allowed), nothing
    lost beyond the border, 5 and 20 % of brightness and contrast, never another hue; `strong` also changes the
    perspective. `turned` is `strong` with any angle if the category may be turned at all: for objects that lie any way
    round, such as screws.
    """

    def __init__(
        self,
        policy: Policy,
        facts: CategoryFacts | None,
        seed: int,
        *,
        size: int,
        channels: int = 3,
        crop: int | None = None,
        patch: int | None = None,
    ) -> None:
        import albumentations as A

        steps: dict[Policy, list[Any]] = {
            "none": [],
            "symmetries": _symmetric(facts.symmetry if facts else NO_SYMMETRY, 0 if patch else round(0.03 * size)),
            "translation_and_colour": [_moved(0, round(0.05 * size)), _recoloured(0.1, channels)],
            "rotation_and_crop": [_moved(2, round(5 / 292 * size))],
            "mild": _class_preserving(facts, angle=5, light=0.05),
            "strong": _class_preserving(facts, angle=15, light=0.2, tilt=0.05),
            "turned": _class_preserving(facts, angle=180, light=0.2, tilt=0.05),
        }
        crops = [A.CenterCrop(crop, crop)] if crop else []
        if patch:
            crops.append(A.RandomCrop(patch, patch))
        self.seed = seed
        self.transform = A.Compose([*steps[policy], *crops])

    def __call__(self, image: Image, draw: Sequence[int]) -> Image:
        """Change one (H, W, C) image; `draw` is its seed, so that neither worker nor rank matters."""
        self.transform.set_random_seed(_seed(self.seed, *draw))
        changed: Image = self.transform(image=image)["image"]
        return changed if changed.ndim == image.ndim else changed[:, :, None]


class RandomPose:
    """PaDiM's Rd-MVTec (section IV.A): each image rotated within 10 degrees and cropped at random, once and for all.

    `numbers` are those of the images in their own category, by which their poses are drawn, where a split has several.
    """

    def __init__(self, split: Literal["train", "test"], crop: int, numbers: Sequence[int] | None = None) -> None:
        import albumentations as A

        self.numbers = numbers
        self.split = ("train", "test").index(split)
        self.transform = A.Compose([A.Rotate((-10, 10), border_mode=_REFLECT, p=1.0), A.RandomCrop(crop, crop)])

    def __call__(self, image: Image, index: int, mask: NDArray[Any] | None = None) -> tuple[Image, Any]:
        """The image (H, W, C) in its pose, and its mask (H, W) in the same."""
        number = index if self.numbers is None else self.numbers[index]
        self.transform.set_random_seed(_seed(_POSE, self.split, number))
        truth = np.zeros(image.shape[:2], np.uint8) if mask is None else mask.astype(np.uint8)
        posed = self.transform(image=image, mask=truth)
        changed: Image = posed["image"]
        return changed.reshape(*posed["mask"].shape, image.shape[2]), posed["mask"].astype(bool)


def _symmetric(symmetry: Symmetry, pixels: int) -> list[Any]:
    return [*_flipped(symmetry), _moved(_angle(symmetry, 5), pixels), _recoloured(0.05, 1)]


def _class_preserving(facts: CategoryFacts | None, *, angle: float, light: float, tilt: float = 0.0) -> list[Any]:
    import albumentations as A

    symmetry = facts.symmetry if facts else NO_SYMMETRY
    # A mirrored border would show parts of an object a second time.
    border = _REFLECT if facts and facts.group == "texture" else _REPLICATE
    steps = _flipped(symmetry)
    if angle := _angle(symmetry, angle):
        # Aligned objects lie in the middle, their corners hold background. In other images a turn pushes corners out,
        # and defects with them (leather's `symmetries`: a tenth of those 8 of 256 pixels wide), unless the whole image
        # is kept.
        turn = A.Rotate if facts and facts.aligned else A.SafeRotate
        steps.append(turn((-angle, angle), border_mode=border, p=1.0))
    if tilt:
        # Perspective turns an image a little as well: in 95 % of draws by at most .6 degrees at .02, 1.7 at .05.
        scale = 0.4 * tilt if symmetry.must_not_rotate else tilt
        steps.append(A.Perspective((0, scale), fit_output=True, border_mode=border, p=1.0))
    around = (1 - light, 1 + light)
    return [*steps, A.ColorJitter(brightness=around, contrast=around, saturation=(1, 1), hue=(0, 0), p=1.0)]


def _angle(symmetry: Symmetry, otherwise: float) -> float:
    return 180.0 if symmetry.rotation_symmetric_any else 0.0 if symmetry.must_not_rotate else otherwise


def _flipped(symmetry: Symmetry) -> list[Any]:
    import albumentations as A

    steps: list[Any] = []
    if symmetry.hflip_symmetric:
        steps.append(A.HorizontalFlip(p=0.5))
    if symmetry.rotation_symmetric_90:
        steps.append(A.RandomRotate90(p=1.0))
    elif symmetry.rotation_symmetric_180:
        steps.append(A.Compose([A.HorizontalFlip(p=1.0), A.VerticalFlip(p=1.0)], p=0.5))
    return steps


def _moved(angle: float, pixels: int) -> Any:
    import albumentations as A

    # In pixels: of a share, albumentations cuts off the fraction of a pixel, and a shift of 0 is drawn twice as often.
    # With patches, `pixels` is 0: they are drawn from anywhere, and a shift would only reflect the border inwards.
    return A.Affine(rotate=(-angle, angle), translate_px=(-pixels, pixels), border_mode=_REFLECT, p=1.0)


def _recoloured(limit: float, channels: int) -> Any:
    import albumentations as A

    if channels == 1:
        return A.RandomBrightnessContrast(brightness_limit=limit, contrast_limit=limit, p=1.0)
    around = (1 - limit, 1 + limit)
    return A.ColorJitter(brightness=around, contrast=around, saturation=around, hue=(-limit, limit), p=1.0)


def _seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
