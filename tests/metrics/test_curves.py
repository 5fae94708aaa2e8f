import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from bench.metrics.curves import Curve, precision_recall_curve, roc_curve, thin


@pytest.fixture(params=["distinct", "ties"])
def scored(request):
    rng = np.random.default_rng(3)
    labels = rng.random(300) < 0.4
    scores = rng.normal(size=300) + labels
    return (scores if request.param == "distinct" else scores.round(1)), labels


def test_the_roc_curve_is_scikit_learn_s(scored):
    scores, labels = scored
    x, y, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    curve = roc_curve(scores, labels)
    assert set(zip(*curve, strict=True)) <= set(zip(x, y, strict=True))
    assert sklearn_metrics.auc(*curve) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_the_roc_curve_has_no_point_on_a_line_between_its_neighbours():
    curve = roc_curve([4, 3, 2, 1], [True, True, False, False])
    assert list(zip(*curve, strict=True)) == [(0, 0), (0, 1), (1, 1)]


def test_the_precision_recall_curve_is_scikit_learn_s(scored):
    scores, labels = scored
    precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, scores)
    curve = precision_recall_curve(scores, labels)
    np.testing.assert_allclose(curve.x, recall[::-1])
    np.testing.assert_allclose(curve.y, precision[::-1])


@pytest.mark.parametrize("labels", [[True, True], [False, False]], ids=["no good image", "no defect"])
def test_a_roc_curve_needs_both_kinds_of_images(labels):
    assert roc_curve([1.0, 2.0], labels) is None


def test_a_precision_recall_curve_needs_defects():
    assert precision_recall_curve([1.0, 2.0], [False, False]) is None


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="finite"):
        roc_curve([1.0, float("nan")], [True, False])


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    x = np.linspace(0, 1, 1000)
    thinned = thin(Curve(x, x**2), 200)
    assert len(thinned.x) == len({*thinned.x.tolist()}) == 200
    assert (thinned.x[0], thinned.x[-1], thinned.y[-1]) == (0, 1, 1)
    assert set(zip(*thinned, strict=True)) <= set(zip(x, x**2, strict=True))


def test_a_short_curve_is_left_as_it_is():
    curve = roc_curve([3, 1, 2, 0], [True, True, False, False])
    assert thin(curve, 200) is curve
