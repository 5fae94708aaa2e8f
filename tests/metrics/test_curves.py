"""Curves have the areas that the metrics have, and thinning moves them by less than can be seen."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve as peer_precision_recall
from sklearn.metrics import roc_curve as peer_roc

from bench.metrics.curves import overlap_curve, precision_recall_curve, thin
from bench.metrics.pixel import PixelMetrics
from bench.metrics.ranking import aupro, auroc, average_precision, rank


def draw(seed: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Anomalous and normal scores."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(1, 1, 70), rng.normal(0, 1, 130)
    return tuple(np.round(each, 1) for each in scores) if ties else scores


def area(curve: np.ndarray) -> float:
    return float(np.trapezoid(curve[:, 1], curve[:, 0]))


@pytest.mark.parametrize("ties", [False, True])
def test_the_roc_curve_is_scikit_learn_s_and_has_the_area_of_the_metric(ties):
    anomalous, normal = draw(0, ties=ties)
    ranking = rank(anomalous.copy(), normal.copy())
    curve = overlap_curve(ranking)
    labels = np.repeat([1, 0], [anomalous.size, normal.size])
    fpr, tpr, _ = peer_roc(labels, np.concatenate([anomalous, normal]), drop_intermediate=False)
    corners = {(round(x, 9), round(y, 9)) for x, y in curve.tolist()}
    assert {(0.0, 0.0), (1.0, 1.0)} <= corners
    found = np.concatenate(([True], np.diff(tpr) > 0))  # corners where an anomalous score is passed
    assert {(round(x, 9), round(y, 9)) for x, y in zip(fpr[found], tpr[found], strict=True)} <= corners
    assert area(curve) == pytest.approx(auroc(ranking), abs=1e-12)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("ties", [False, True])
def test_the_pro_curve_up_to_a_limit_has_the_area_of_the_metric(limit, ties):
    anomalous, normal = draw(1, ties=ties)
    ranking = rank(anomalous, normal)
    weights = 1 / np.random.default_rng(2).integers(1, 9, anomalous.size)
    curve = overlap_curve(ranking, weights, limit)
    assert curve[-1, 0] == pytest.approx(limit)
    assert area(curve) / limit == pytest.approx(aupro(ranking, weights, limit), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_steps_of_precision_are_scikit_learn_s_and_sum_to_average_precision(ties):
    anomalous, normal = draw(3, ties=ties)
    ranking = rank(anomalous.copy(), normal.copy())
    curve = precision_recall_curve(ranking)
    labels = np.repeat([1, 0], [anomalous.size, normal.size])
    precision, recall, _ = peer_precision_recall(labels, np.concatenate([anomalous, normal]))
    peer = {(round(r, 9), round(p, 9)) for r, p in zip(recall, precision, strict=True)}
    assert {(round(r, 9), round(p, 9)) for r, p in curve[1::2].tolist()} <= peer
    assert area(curve) == pytest.approx(average_precision(ranking), abs=1e-12)


def test_without_one_of_both_kinds_there_is_no_curve():
    ranking = rank(np.array([1.0]), np.array([]))
    assert overlap_curve(ranking).shape == precision_recall_curve(ranking).shape == (0, 2)


def test_thinning_leaves_few_points_none_of_them_new_and_none_that_was_dropped_far_away():
    x = np.linspace(0, 1, 200_000)
    points = np.stack([x, np.sqrt(x)], axis=1)
    thinned = thin(points)
    assert len(thinned) < 12_000
    assert set(map(tuple, thinned.tolist())) <= set(map(tuple, points.tolist()))
    assert np.abs(np.interp(x, thinned[:, 0], thinned[:, 1]) - points[:, 1]).max() < 1 / 2000
    assert np.array_equal(thinned[[0, -1]], points[[0, -1]])


def test_the_curve_of_pixels_has_the_aupro_of_the_pixels():
    import torch

    rng = np.random.default_rng(4)
    masks = torch.from_numpy(rng.random((3, 20, 20)) > 0.9)
    masks[0] = False
    metrics = PixelMetrics()
    metrics.update(torch.from_numpy(rng.normal(size=(3, 20, 20))) + masks, masks, torch.tensor([0, 1, 2]))
    found = metrics.compute().overall["aupro_0.30"]
    assert area(metrics.overlap(0.3)) / 0.3 == pytest.approx(found, abs=1e-12)
