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


def check_tiles(
    tile: int | None,
    overlap: int,
    output: int,
    fold: int | Literal["all"] | None,
    *,
    random_pose: bool,
) -> None:
    """Check that tiles cut the model's input of `output` pixels, and that nothing else cuts or moves it."""
    if tile is None:
        if overlap:
            raise UsageError(f"--data.tile_overlap {overlap} is shared by tiles: set --data.tile to their side")
        return
    if not 16 <= tile < output:
        raise UsageError(
            f"--data.tile {tile} does not lie between 16 and {output - 1}: tiles are smaller than the image, "
            "whose side is --data.image_size (or --data.crop)"
        )
    if not 0 <= overlap <= tile // 2:
        raise UsageError(f"--data.tile_overlap {overlap} does not lie between 0 and {tile // 2}, half of --data.tile")
    if fold is not None:
        raise UsageError("--data.tile cuts labelled defects out of their images; leave it out")
    if random_pose:
        raise UsageError("--data.random_pose true moves images under their --data.tile; leave one of them out")


def check_reading(bits: int, mask_threshold: int | None) -> None:
    """Check that files can hold these values."""
    if not 9 <= bits <= 16:
        raise UsageError(f"--data.bits {bits} does not lie between 9 and 16, what grey images with more than 8 use")
    if mask_threshold is not None and not 1 <= mask_threshold <= 255:
        raise UsageError(f"--data.mask_threshold {mask_threshold} does not lie between 1 and 255")


def check_training_images(
    shots: int | None, contamination: float, fold: int | Literal["all"] | None, held_out: str | None
) -> None:
    """Check the number of training images, the share of defective ones among them, and which are held out."""
    if shots is not None and shots < 1:
        raise UsageError(f"--data.shots {shots} is not positive; null takes all training images")
    if not 0 <= contamination < 1:
        raise UsageError(f"--data.contamination {contamination:g} does not lie in [0, 1)")
    if fold is not None and shots is not None:
        raise UsageError("--data.shots counts good images; of labelled classes set --data.per_class")
    if fold is not None and contamination:
        raise UsageError("--data.contamination is for methods that learn from good images: leave out --data.fold")
    if fold is not None and held_out is not None:
        raise UsageError("--data.held_out is for methods that learn from good images: leave out --data.fold")
    if held_out is not None and contamination:
        raise UsageError(
            "--data.contamination leaves open which images are defective, those of --data.held_out too: leave one of "
            "them out"
        )


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
