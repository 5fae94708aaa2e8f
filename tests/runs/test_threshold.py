import json

import numpy as np
import pytest


def fit(bench, *arguments) -> dict:
    outcome = bench("fit", *arguments, "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_a_higher_quantile_gives_a_higher_threshold_and_other_figures_stay(quick_padim, bench):
    low, high = (fit(bench, *quick_padim, "--threshold_quantile", q) for q in ("0.1", "1.0"))
    assert low["metrics"]["threshold"] < high["metrics"]["threshold"]
    assert low["metrics"]["image_auroc"] == high["metrics"]["image_auroc"]


def test_with_pca_the_threshold_comes_from_five_refits_and_the_final_model_knows_all_images(quick_padim, bench):
    record = fit(bench, *quick_padim, "--model.reduction", "pca")
    assert np.isfinite(record["metrics"]["threshold"])
    again = fit(bench, *quick_padim, "--model.reduction", "pca", "--threshold_quantile", "0.5")
    assert again["metrics"]["image_auroc"] == record["metrics"]["image_auroc"]


def test_a_method_that_trains_needs_held_out_images(quick, refuse):
    assert "--data.validation_share above 0" in refuse("fit", *quick, "--data.validation_share", "0")


def test_patience_is_refused_where_nothing_is_trained(quick_padim, refuse):
    assert "--patience" in refuse("fit", *quick_padim, "--patience", "2")


@pytest.mark.parametrize("protocol", ["model", "full"])
def test_the_record_says_at_which_resolution_pixels_were_scored(protocol, quick_padim, bench):
    record = fit(bench, *quick_padim, "--protocol", protocol)
    assert record["config"]["protocol"] == protocol
    assert 0 <= record["metrics"]["aupro_0.30"] <= 1
