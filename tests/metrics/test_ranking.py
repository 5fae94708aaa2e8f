import numpy as np
import pytest
from sklearn import metrics as sklearn

from bench.metrics.aupro import aupro
from bench.metrics.ranking import auroc, average_precision, f1_max, operating_point, rank

SCORES = {
    "untied far outside [0, 1]": lambda rng, size, shift: -1e3 + 40 * (rng.standard_normal(size) + shift),
    "tied far outside [0, 1]": lambda rng, size, shift: np.round(30 + 3 * (rng.standard_normal(size) + shift)),
    "untied within [0, 1]": lambda rng, size, shift: rng.beta(2 + shift, 3, size),
    "tied within [0, 1]": lambda rng, size, shift: np.round(rng.beta(2 + shift, 3, size), 1),
    "no better than chance": lambda rng, size, shift: np.round(rng.standard_normal(size), 2),
}


@pytest.fixture(params=SCORES)
def kind(request):
    return request.param


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def scores(request, kind):
    """Unsorted scores of 1,500 normal and 300 anomalous pixels."""
    rng = np.random.default_rng(7)
    return tuple(SCORES[kind](rng, size, shift).astype(request.param) for size, shift in ((1500, 0), (300, 1)))


def joined(normal, anomalous):
    """Labels and scores as scikit-learn wants them."""
    return np.repeat([0, 1], [normal.size, anomalous.size]), np.concatenate([normal, anomalous])


def test_auroc_is_that_of_scikit_learn(scores):
    expected = sklearn.roc_auc_score(*joined(*scores))
    normal, anomalous = scores
    assert auroc(rank(anomalous, normal)) == pytest.approx(expected, abs=1e-9)


def test_average_precision_is_that_of_scikit_learn(scores):
    expected = sklearn.average_precision_score(*joined(*scores))
    normal, anomalous = scores
    assert average_precision(rank(anomalous, normal)) == pytest.approx(expected, abs=1e-9)


def test_f1_max_is_the_largest_on_scikit_learns_curve(scores):
    precision, recall, _ = sklearn.precision_recall_curve(*joined(*scores))
    expected = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    normal, anomalous = scores
    assert f1_max(rank(anomalous, normal)).value == pytest.approx(expected, abs=1e-9)


def test_flagging_scores_above_the_threshold_of_f1_max_reaches_its_value(scores):
    labels, values = joined(*scores)
    normal, anomalous = scores
    best = f1_max(rank(anomalous, normal))
    assert sklearn.f1_score(labels, values > np.float64(best.threshold)) == pytest.approx(best.value, abs=1e-9)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_is_the_area_under_the_full_curve(scores, limit, full_curve_aupro):
    normal, anomalous = scores
    anomalous.sort()
    region = np.random.default_rng(3).integers(0, 9, anomalous.size) ** 2
    expected = full_curve_aupro(normal, anomalous, region, limit)
    weights = 1 / np.bincount(region)[region]
    assert aupro(rank(anomalous, normal), weights, limit) == pytest.approx(expected, abs=1e-9)


def test_aupro_gives_a_small_region_the_weight_of_a_large_one():
    found, missed = [9.0], [-9.0] * 99
    ranking = rank(np.array(missed + found), np.zeros(100))
    assert aupro(ranking, np.array([1 / 99] * 99 + [1.0]), 0.3) == pytest.approx(0.5, abs=1e-12)


def test_aupro_cuts_the_line_of_tied_scores_at_the_limit():
    ranking = rank(np.full(4, 5.0), np.full(10, 5.0))
    assert aupro(ranking, np.full(4, 0.25), 0.3) == pytest.approx(0.15, abs=1e-12)


def test_scores_all_equal_rank_as_chance():
    ranking = rank(np.full(3, -2.0), np.full(9, -2.0))
    assert (auroc(ranking), average_precision(ranking)) == (0.5, 0.25)


def test_one_pair_in_the_wrong_order_is_seen_among_more_than_2_to_the_24_pixels():
    normal = np.zeros(2**24 + 3, dtype=np.float32)
    normal[5] = 2
    ranking = rank(np.array([1], dtype=np.float32), normal)
    assert np.issubdtype(ranking.at_or_above.dtype, np.integer)
    assert auroc(ranking) == 1 - 1 / (2**24 + 3)


def test_rankings_among_parts_of_the_normal_scores_add_up_to_that_among_all(scores):
    normal, anomalous = scores
    parts = rank(anomalous, normal[:200].copy()) + rank(anomalous, normal[200:].copy())
    whole = rank(anomalous, normal)
    assert parts.normals == whole.normals
    np.testing.assert_array_equal(parts.above, whole.above)
    np.testing.assert_array_equal(parts.at_or_above, whole.at_or_above)


def test_rankings_of_different_anomalous_scores_cannot_be_added():
    with pytest.raises(ValueError, match="same anomalous scores"):
        rank(np.array([1.0]), np.zeros(2)) + rank(np.array([2.0]), np.zeros(2))


def test_chosen_anomalous_scores_keep_their_places(scores):
    normal, anomalous = scores
    anomalous.sort()
    chosen = np.arange(anomalous.size) % 3 == 0
    part, expected = rank(anomalous, normal)[chosen], rank(anomalous[chosen], normal)
    assert (auroc(part), average_precision(part)) == (auroc(expected), average_precision(expected))


def test_ranking_sorts_the_normal_scores_in_place_and_leaves_the_anomalous_ones():
    normal, anomalous = np.array([3.0, 1.0, 2.0]), np.array([5.0, 4.0])
    rank(anomalous, normal)
    assert normal.tolist() == [1.0, 2.0, 3.0]
    assert anomalous.tolist() == [5.0, 4.0]


@pytest.mark.parametrize(("normals", "anomalies"), [(0, 3), (3, 0), (0, 0)])
def test_ranking_figures_are_nan_when_one_side_is_missing(normals, anomalies):
    ranking = rank(np.ones(anomalies), np.ones(normals))
    figures = [auroc(ranking), average_precision(ranking), *f1_max(ranking), aupro(ranking, np.ones(anomalies), 0.3)]
    assert np.isnan(figures).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["normal", "anomalous"])
@pytest.mark.parametrize("function", [rank, lambda anomalous, normal: operating_point(normal, anomalous, 0.0)])
def test_a_score_that_is_not_finite_is_refused(bad, side, function):
    scores = {"normal": np.arange(5.0), "anomalous": np.arange(5.0)}
    scores[side][2] = bad
    with pytest.raises(ValueError, match="finite"):
        function(scores["anomalous"], scores["normal"])


def test_a_threshold_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        operating_point(np.zeros(2), np.ones(2), float("nan"))


def test_the_operating_point_is_that_of_scikit_learn(scores):
    labels, values = joined(*scores)
    threshold = float(np.quantile(values, 0.7))
    decided = values > threshold
    expected = (
        sklearn.accuracy_score(labels, decided),
        sklearn.balanced_accuracy_score(labels, decided),
        sklearn.precision_score(labels, decided),
        sklearn.recall_score(labels, decided),
    )
    assert operating_point(*scores, threshold) == pytest.approx(expected, abs=1e-9)


def test_a_score_equal_to_the_threshold_is_normal():
    point = operating_point(np.array([1.0]), np.array([1.0]), 1.0)
    assert (point.accuracy, point.recall) == (0.5, 0.0)


def test_the_threshold_is_not_rounded_to_the_type_of_the_scores():
    just_above = np.array([0.1], dtype=np.float32)  # 0.10000000149
    assert operating_point(np.zeros(1, dtype=np.float32), just_above, 0.1).recall == 1


def test_precision_is_nan_where_nothing_is_called_anomalous():
    point = operating_point(np.zeros(3), np.ones(1), 2.0)
    assert np.isnan(point.precision)
    assert (point.accuracy, point.balanced_accuracy, point.recall) == (0.75, 0.5, 0.0)


def test_without_anomalous_scores_accuracy_is_defined_and_recall_is_not():
    point = operating_point(np.array([0.0, 0.0, 0.0, 3.0]), np.empty(0), 2.0)
    assert (point.accuracy, point.precision) == (0.75, 0.0)
    assert np.isnan([point.balanced_accuracy, point.recall]).all()
