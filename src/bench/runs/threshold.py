"""Statistics of the training images, and the operating threshold from scores of images that were not learned from."""

from math import ceil

import numpy as np

from bench.config.tracks import TRACKS
from bench.console import say
from bench.data.datamodule import DefectData
from bench.errors import RunError, counted
from bench.evaluation.evaluation import ProductThresholds
from bench.evaluation.passes import Machine, NormalScores, learn_statistics, score_images
from bench.models.base import Detector
from bench.phases import within
from bench.records.normal_scores import Obtained, quantile_of

FOLDS = 5  # number of refits that score unseen images, where a method has no held-out ones


def learn_and_choose_threshold(
    model: Detector, data: DefectData, machine: Machine, quantile: float
) -> tuple[Obtained, NormalScores] | None:
    """Learn the statistics that follow or replace training, and choose the operating threshold.

    The threshold comes from scores of normal images that the method did not learn from, which are returned; classifiers
    need none. Where the number of images was chosen and is too small for one, the model's threshold stays NaN, and
    nothing is decided.
    """
    if model.memory:
        say(model.memory)
    missing = too_few_for_threshold(model, data)
    if TRACKS[model.track].learns_from_defects or missing:
        learn(model, data, data.training_indices, machine)
        if missing:
            say(f"bench: no threshold: it {missing}; scores are ranked, and nothing is decided")
        return None
    obtained: Obtained = "held-out"
    if data.validation_indices:
        learn(model, data, data.training_indices, machine)
        found = score_images(model, data.ordered_train_loader(data.validation_indices), machine)
    elif leaves_one_out(model):
        obtained = "left-out"
        learn(model, data, data.training_indices, machine)
        found = score_images(model, data.ordered_train_loader(data.training_indices), machine, left_out=True)
    else:
        obtained = "out-of-fold"
        found = score_out_of_fold(model, data, machine)
        learn(model, data, data.training_indices, machine)
    if not np.isfinite(found.score).all():
        raise RunError("the score of a normal image is no finite number, so there is no threshold")
    model.threshold.fill_(quantile_of(found.score, quantile))
    return obtained, found


def product_thresholds(
    data: DefectData, found: NormalScores | None, quantile: float
) -> dict[str, ProductThresholds] | None:
    """The thresholds of each product from its own normal images; None for a run of one product.

    A product of which no image was scored has none.
    """
    if data.products is None:
        return None
    if found is None:
        return dict.fromkeys(data.products, ProductThresholds(None, None))
    owners = np.array([data.category.train[index].product for index in found.indices.tolist()], dtype=object)
    thresholds = {}
    for name in data.products:
        own = found.only(owners == name)
        of_images = quantile_of(own.score, quantile) if len(own.score) else None
        thresholds[name] = ProductThresholds(of_images, own.segmentation_threshold)
    return thresholds


def leaves_one_out(model: Detector) -> bool:
    """Whether training images can be scored as if each had been left out.

    With tiles only where each has statistics of its own: elsewhere an image's other tiles, often much alike, remain.
    """
    return model.supports_leave_one_out and (model.spec.tiles is None or model.models_each_tile)


def too_few_for_threshold(model: Detector, data: DefectData) -> str:
    """Why a detector has too few normal images that it did not learn from for a threshold; '' where it has enough."""
    images, fewest = len(data.training_indices), model.fewest_images
    if TRACKS[model.track].learns_from_defects or data.validation_indices:
        return ""
    if leaves_one_out(model):
        needed = f"comes from images left out one by one, of {fewest + 1} at least"
        return "" if images > fewest else f"{needed}; here {'is 1' if images == 1 else f'are {images}'}"
    left = images - ceil(images / min(FOLDS, images)) if images > 1 else 0
    needed = f"comes from refits without a part of the images, each of {counted(fewest, 'image')} at least"
    return "" if left >= fewest else f"{needed}; {left} of {images} would remain"


def learn(model: Detector, data: DefectData, indices: list[int], machine: Machine) -> None:
    """Learn the statistics of these training images, and of no others; then those of held-out ones, if any are."""
    passes = [each for each in model.passes() if each.epoch is None and not each.held_out]
    count = len(data.learned_indices(indices))
    learn_statistics(model, passes, lambda: data.learning_loader(indices), count, machine)
    if last := [each for each in model.passes() if each.held_out]:
        others = data.validation_indices
        count = len(data.learned_indices(others))
        learn_statistics(model, last, lambda: data.learning_loader(others), count, machine)


def score_out_of_fold(model: Detector, data: DefectData, machine: Machine) -> NormalScores:
    """Scores of all training images, each from statistics of the images of the other folds."""
    order = np.random.default_rng(data.seed).permutation(data.training_indices)
    found = []
    parts = np.array_split(order, min(FOLDS, len(order)))
    for number, part in enumerate(parts, 1):
        left_out = sorted(part.tolist())
        with within(f"threshold, refit {number} of {len(parts)}"):
            learn(model, data, sorted(set(data.training_indices) - set(left_out)), machine)
            found.append(score_images(model, data.ordered_train_loader(left_out), machine))
    return NormalScores(*(np.concatenate(column) for column in zip(*found, strict=True)))
