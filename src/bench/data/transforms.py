"""Augmentation that keeps a normal image normal; the only file that knows albumentations."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.facts import Symmetry, mvtec_categories

# Without this albumentations asks the network for a newer release at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

_UNKNOWN = Symmetry(
    aligned_to_hflip=False,
    hflip_symmetric=False,
    must_not_rotate=True,
    rotation_symmetric_any=False,
    rotation_symmetric_90=False,
    rotation_symmetric_180=False,
)


class Augmentation:
    """Random changes that the category's symmetries allow; the same draw for the same seed, epoch and image."""

    def __init__(self, category: str, seed: int) -> None:
        import albumentations as A

        facts = mvtec_categories().get(category)
        symmetry = facts.symmetry if facts else _UNKNOWN
        steps: list[Any] = []
        if symmetry.hflip_symmetric:
            steps.append(A.HorizontalFlip(p=0.5))
        if symmetry.rotation_symmetric_90:
            steps.append(A.RandomRotate90(p=1.0))
        elif symmetry.rotation_symmetric_180:
            steps.append(A.Compose([A.HorizontalFlip(p=1.0), A.VerticalFlip(p=1.0)], p=0.5))
        angle = 180.0 if symmetry.rotation_symmetric_any else 0.0 if symmetry.must_not_rotate else 5.0
        steps.append(
            A.Affine(
                rotate=(-angle, angle),
                translate_percent=(-0.03, 0.03),
                border_mode=4,  # cv2.BORDER_REFLECT_101: no black corners, which would look like defects
                p=1.0,
            )
        )
        steps.append(A.RandomBrightnessContrast(brightness_limit=0.05, contrast_limit=0.05, p=1.0))
        self.seed = seed
        self.transform = A.Compose(steps)

    def __call__(self, image: NDArray[np.uint8], epoch: int, index: int) -> NDArray[np.uint8]:
        """Change one (H, W, C) image; the draw depends on neither worker nor rank."""
        draw = np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)
        self.transform.set_random_seed(int(draw[0]))
        changed: NDArray[np.uint8] = self.transform(image=image)["image"]
        return changed.reshape(image.shape)
