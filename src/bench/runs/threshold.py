"""Statistics of the training images, and the operating threshold from scores of images that were not learned from."""

import numpy as np
from numpy.typing import NDArray

from bench.console import say
from bench.data.datamodule import DefectData
from bench.evaluation.passes import Machine, learn_statistics, score_images
from bench.models.base import Detector

FOLDS = 5  # number of refits that score unseen images, where a method has no held-out ones


def learn_and_choose_threshold(model: Detector, data: DefectData, machine: Machine, quantile: float) -> None:
    """Learn the statistics that follow or replace training, and choose the operating threshold.

    The threshold comes from normal images that the method did not learn from; classifiers need none.
    """
    if model.memory:
        say(model.memory)
    if model.track == "supervised":
        learn(model, data, data.training_indices, machine)
        return
    if data.validation_indices:
        learn(model, data, data.training_indices, machine)
        scores = score_images(model, data.ordered_train_loader(data.validation_indices), machine)
    elif model.supports_leave_one_out:
        learn(model, data, data.training_indices, machine)
        scores = score_images(model, data.ordered_train_loader(data.training_indices), machine, left_out=True)
    else:
        scores = score_out_of_fold(model, data, machine)
        learn(model, data, data.training_indices, machine)
    # The lowest observed score with enough normal images at or below it; never a value between two scores.
    model.threshold.fill_(float(np.quantile(scores, quantile, method="higher")))


def learn(model: Detector, data: DefectData, indices: list[int], machine: Machine) -> None:
    """Learn the statistics of these training images, and of no others."""
    passes = [each for each in model.passes() if each.epoch is None]
    learn_statistics(model, passes, lambda: data.ordered_train_loader(indices), len(indices), machine)


def score_out_of_fold(model: Detector, data: DefectData, machine: Machine) -> NDArray[np.float64]:
    """Scores of all training images, each from statistics of the images of the other folds."""
    order = np.random.default_rng(data.seed).permutation(data.training_indices)
    scores = []
    for fold in np.array_split(order, min(FOLDS, len(order))):
        left_out = sorted(fold.tolist())
        learn(model, data, sorted(set(data.training_indices) - set(left_out)), machine)
        scores.append(score_images(model, data.ordered_train_loader(left_out), machine))
    return np.concatenate(scores)
