"""Checks of the data's settings: a UsageError for values that are impossible or contradict each other."""

from typing import Literal

from bench.errors import UsageError


def check_geometry(image_size: int, crop: int | None, texture_patch: int | None, protocol: str, aspect: str) -> None:
    """Check that the sizes in pixels fit each other."""
    if not 16 <= image_size <= 4096:
        raise UsageError(f"--data.image_size {image_size} does not lie between 16 and 4096")
    if crop is not None and not 16 <= crop <= image_size:
        raise UsageError(f"--data.crop {crop} does not lie between 16 and --data.image_size {image_size}")
    if texture_patch is not None and texture_patch < 16:
        raise UsageError(f"--data.texture_patch {texture_patch} is less than 16; null takes whole images")
    if protocol == "full" and crop is not None:
        raise UsageError("--protocol full scores every pixel of the masks; it needs --data.crop null")
    if protocol == "full" and aspect == "crop":
        raise UsageError("--protocol full scores every pixel of the masks; it needs --data.aspect squash or pad")
    if aspect == "pad" and crop is not None:
        raise UsageError("--data.aspect pad keeps all of an image, --data.crop does not; set --data.crop null")


def check_reading(bits: int, mask_threshold: int | None) -> None:
    """Check that files can hold these values."""
    if not 9 <= bits <= 16:
        raise UsageError(f"--data.bits {bits} does not lie between 9 and 16, what grey images with more than 8 use")
    if mask_threshold is not None and not 1 <= mask_threshold <= 255:
        raise UsageError(f"--data.mask_threshold {mask_threshold} does not lie between 1 and 255")


def check_draws(
    validation_share: float, batch_size: int, samples_per_epoch: int | None, num_workers: int | Literal["auto"]
) -> None:
    """Check shares and numbers of images, and the number of loader processes."""
    if not 0 <= validation_share < 1:
        raise UsageError(f"--data.validation_share {validation_share} does not lie in [0, 1)")
    if batch_size < 1:
        raise UsageError(f"--data.batch_size {batch_size} is not positive")
    if samples_per_epoch is not None and samples_per_epoch < 1:
        raise UsageError(f"--data.samples_per_epoch {samples_per_epoch} is not positive; null takes each image once")
    if num_workers != "auto" and num_workers < 0:
        raise UsageError(f"--data.num_workers {num_workers} is negative; 0 loads in the training process")


def check_fold(fold: int | Literal["all"] | None, folds: int, per_class: int | None, *, random_pose: bool) -> None:
    """Check that the fold exists, and that no setting belongs to the other track."""
    if fold is None:
        if per_class is not None:
            raise UsageError("--data.per_class counts images of labelled classes: set --data.fold to a fold or to all")
        return
    if isinstance(fold, int) and not 0 <= fold < folds:
        raise UsageError(
            f"--data.fold {fold} does not lie between 0 and {folds - 1} (--data.folds {folds}), nor is it all"
        )
    if per_class is not None and per_class < 2:
        raise UsageError(f"--data.per_class {per_class} leaves nothing to learn from or to test; 2 is the least")
    if random_pose:
        raise UsageError("images in random poses are for methods that learn from good ones: leave out --data.fold")
