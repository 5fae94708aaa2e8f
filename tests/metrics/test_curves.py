"""Curves have the areas that the metrics have, and thinning moves them by less than can be seen."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from bench.metrics.aupro import aupro
from bench.metrics.curves import overlap_curve, precision_recall_curve, thin
from bench.metrics.pixel import PixelMetrics
from bench.metrics.ranking import rank


@pytest.fixture(params=["distinct", "ties"])
def scored(request):
    rng = np.random.default_rng(3)
    labels = rng.random(300) < 0.4
    scores = rng.normal(size=300) + labels
    return (scores if request.param == "distinct" else scores.round(1)), labels


@pytest.fixture
def ranking(scored):
    scores, labels = scored
    return rank(scores[labels], scores[~labels])


def test_the_corners_of_the_roc_curve_are_scikit_learn_s(scored, ranking):
    scores, labels = scored
    x, y, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    found = overlap_curve(ranking)
    assert {tuple(point) for point in found.round(12).tolist()} <= {
        tuple(point) for point in np.stack([x, y], axis=1).round(12).tolist()
    }
    area = np.trapezoid(found[:, 1], found[:, 0])
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_the_area_below_the_pro_curve_up_to_its_limit_is_aupro(ranking):
    weights = np.linspace(1, 2, ranking.anomalous.size)
    curve = overlap_curve(ranking, weights, limit=0.3)
    assert curve[-1, 0] == pytest.approx(0.3)
    area = np.trapezoid(curve[:, 1], curve[:, 0]) / 0.3
    assert area == pytest.approx(aupro(ranking, weights, 0.3), abs=1e-12)


def test_the_area_below_the_precision_recall_curve_is_average_precision(scored, ranking):
    scores, labels = scored
    curve = precision_recall_curve(ranking)
    area = np.trapezoid(curve[:, 1], curve[:, 0])
    assert area == pytest.approx(sklearn_metrics.average_precision_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("curve", [overlap_curve, precision_recall_curve])
def test_without_normal_or_without_anomalous_scores_there_is_no_curve(curve):
    none, some = np.empty(0), np.array([1.0, 2.0])
    assert curve(rank(none, some.copy())).shape == curve(rank(some, none.copy())).shape == (0, 2)


def test_a_curve_is_thinned_to_two_points_of_each_cell_and_keeps_its_ends():
    x = np.linspace(0, 1, 10_000)
    points = np.stack([x, x**2], axis=1)
    thinned = thin(points, cells=100)
    assert 100 <= len(thinned) <= 402
    assert thinned[0].tolist() == [0, 0]
    assert thinned[-1].tolist() == [1, 1]
    assert {tuple(point) for point in thinned} <= {tuple(point) for point in points}


def test_what_thinning_drops_is_less_than_a_cell_away():
    x = np.linspace(0, 1, 200_000)
    thinned = thin(np.stack([x, np.sqrt(x)], axis=1))
    assert len(thinned) < 12_000
    assert np.abs(np.interp(x, thinned[:, 0], thinned[:, 1]) - np.sqrt(x)).max() < 1 / 2000


def test_the_steps_of_precision_are_scikit_learn_s(scored, ranking):
    scores, labels = scored
    precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, scores)
    peer = set(map(tuple, np.stack([recall, precision], axis=1).round(9).tolist()))
    assert set(map(tuple, precision_recall_curve(ranking)[1::2].round(9).tolist())) <= peer


def test_the_curve_of_pixels_has_the_aupro_of_the_pixels():
    rng = np.random.default_rng(4)
    masks = torch.from_numpy(rng.random((3, 20, 20)) > 0.9)
    masks[0] = False
    metrics = PixelMetrics()
    metrics.update(torch.from_numpy(rng.normal(size=(3, 20, 20))) + masks, masks, torch.tensor([0, 1, 2]))
    curve = metrics.overlap(0.3)
    area = np.trapezoid(curve[:, 1], curve[:, 0]) / 0.3
    assert area == pytest.approx(metrics.compute().overall["aupro_0.30"], abs=1e-12)
