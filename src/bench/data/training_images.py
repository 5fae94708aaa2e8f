"""Training images of a question of their own: only a few of them, or some of them defective."""

from dataclasses import dataclass

import numpy as np

from bench.data.layout import Category, Sample
from bench.errors import UsageError, counted


@dataclass(frozen=True)
class ChosenImages:
    """A category whose training images were chosen; both fields are None where nothing was asked for.

    Args:
        category: the category with these training images, and without those of its test that moved to them.
        shots: the training images, where `data.shots` limits their number.
        contamination: the defective ones among them.
    """

    category: Category
    shots: tuple[Sample, ...] | None = None
    contamination: tuple[Sample, ...] | None = None


def choose_training_images(category: Category, shots: int | None, contamination: float, seed: int) -> ChosenImages:
    """Keep `shots` of the training images, and replace the share `contamination` of those by defective ones.

    The seed orders the good images and the defective ones. The first of an order are taken, so that of one seed a
    larger number holds all images of a smaller one. A defective image that is learned from is no test image: a method
    would be tested on what it has seen (IM-IAD's setting without overlap). Its mask is not used.
    """
    if shots is None and not contamination:
        return ChosenImages(category)
    if contamination and category.held_out:
        raise UsageError(
            "--data.contamination leaves open which images are defective, and those that set the threshold of "
            f"{category.name} are known to be good: leave it out"
        )
    kept = _first(category, shots, seed)
    if not contamination:
        chosen = {sample.relative for sample in kept} | category.held_out.keys()
        train = tuple(sample for sample in category.train if sample.relative in chosen)
        return ChosenImages(category.part(train, category.test), kept)
    replaced, moved = _defects(category, kept, contamination, seed)
    dirty = list(kept)
    for place, sample in zip(replaced, moved, strict=True):
        dirty[place] = sample
    gone = set(moved)
    part = category.part(tuple(dirty), tuple(sample for sample in category.test if sample not in gone))
    return ChosenImages(part, None if shots is None else tuple(dirty), tuple(sorted(moved, key=_name)))


def _learned_from(category: Category) -> tuple[Sample, ...]:
    """The training images that are not held out: these are what is counted and drawn."""
    return tuple(sample for sample in category.train if sample.relative not in category.held_out)


def _first(category: Category, shots: int | None, seed: int) -> tuple[Sample, ...]:
    """The images of these shots, in the order of the category."""
    images = _learned_from(category)
    count = len(images)
    if shots is None:
        return images
    if shots > count:
        raise UsageError(
            f"--data.shots {shots}: {category.name} has {counted(count, 'training image')}; null takes all"
        )
    order = np.random.default_rng(seed).permutation(count)
    return tuple(images[index] for index in sorted(order[:shots].tolist()))


def _defects(
    category: Category, kept: tuple[Sample, ...], contamination: float, seed: int
) -> tuple[list[int], list[Sample]]:
    """The places of the training images that give way, and the defective images that take them."""
    defects = [sample for sample in category.test if sample.is_defect]
    count = round(contamination * len(kept))
    if count == 0 or count == len(kept):
        none = "no defective one" if count == 0 else "no good one"
        raise UsageError(
            f"--data.contamination {contamination:g} of {counted(len(kept), 'training image')} is {none}; "
            f"one is a share of {1 / len(kept):.3g}"
        )
    if count >= len(defects):
        least = (len(defects) - 1) / len(kept)
        raise UsageError(
            f"--data.contamination {contamination:g} of {counted(len(kept), 'training image')} takes "
            f"{counted(count, 'defective image')} from the test, and one must remain there; {category.name} has "
            f"{len(defects)}: {max(least, 0):.3g} is the largest share"
        )
    # Streams of their own: the same seed orders the good images for `shots`.
    places = np.random.default_rng([seed, 1]).permutation(len(kept))[:count]
    drawn = np.random.default_rng([seed, 2]).permutation(len(defects))[:count]
    return places.tolist(), [defects[index] for index in drawn.tolist()]


def _name(sample: Sample) -> str:
    return sample.relative
