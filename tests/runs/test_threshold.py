import json

import numpy as np
import pytest
import torch

from bench.runs.fitting import FoldFit, build_model, fold_trainer, start_machine
from bench.runs.run import prepare
from bench.runs.threshold import learn_and_choose_threshold, score_out_of_fold
from fake_data import write_category
from learning import learn
from runs.contract import read_config


def fit(bench, *arguments) -> dict:
    outcome = bench("fit", *arguments, "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_a_higher_quantile_gives_a_higher_threshold_and_other_figures_stay(quick_padim, bench):
    low, high = (fit(bench, *quick_padim, "--threshold_quantile", q) for q in ("0.1", "1.0"))
    assert low["metrics"]["threshold"] < high["metrics"]["threshold"]
    assert low["metrics"]["image_auroc"] == high["metrics"]["image_auroc"]


@pytest.mark.parametrize("preset", ["gaussian", "padim"])
def test_each_out_of_fold_score_is_that_of_a_model_that_learned_from_the_other_folds_alone(preset, data_root, tmp_path):
    """Against refits by hand, in models of their own."""
    settings = {"gaussian": (), "padim": ("--model.reduction", "pca", "--model.channels", "8")}[preset]
    words = ("--model", preset, "--model.weights", "none", *settings, "--data.validation_share", "0")
    place = ("--category", "screw", "--data.root", str(data_root), "--data.image_size", "32", "--data.crop", "null")
    config = read_config((*words, *place, "--trainer.accelerator", "cpu"))
    data, cell = prepare(config)
    machine = start_machine(fold_trainer(FoldFit(data, tmp_path, ""), cell, None))
    found = score_out_of_fold(build_model(config, data.spec).eval(), data, machine).score
    order, expected = np.random.default_rng(data.seed).permutation(data.training_indices), []
    for fold in np.array_split(order, 5):
        left_out, others = sorted(fold.tolist()), sorted(set(data.training_indices) - set(fold.tolist()))
        refit = learn(build_model(config, data.spec).eval(), images_of(data, others))
        expected += [score for image in images_of(data, left_out) for score in refit.predict(image).score.tolist()]
    assert len(found) == len(data.training_indices)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    everything = learn(build_model(config, data.spec).eval(), images_of(data, sorted(data.training_indices)))
    seen = [score for image in images_of(data, order.tolist()) for score in everything.predict(image).score.tolist()]
    assert np.median(found) > 1.05 * np.median(seen)  # a model that saw the images would find them less anomalous


def images_of(data, indices: list[int]) -> list[torch.Tensor]:
    return [batch.image.float() / 255 for batch in data.ordered_train_loader(indices)]


@pytest.mark.parametrize("method", ["knn", "spade", "padim"])
def test_a_threshold_from_left_out_scores_is_that_of_models_without_each_image(method, data_root, tmp_path):
    more = {"knn": (), "spade": ("--model.neighbours", "2"), "padim": ("--model.channels", "4")}[method]
    words = ("--model", method, "--model.weights", "none", *more, "--data.validation_share", "0", "--data.crop", "null")
    place = ("--category", "screw", "--data.root", str(data_root), "--data.image_size", "32")
    config = read_config((*words, *place, "--trainer.accelerator", "cpu"))
    data, cell = prepare(config)
    model = build_model(config, data.spec).eval()
    machine = start_machine(fold_trainer(FoldFit(data, tmp_path, ""), cell, None))
    learn_and_choose_threshold(model, data, machine, 0.5)
    left_out = np.sort([float(model.predict_leave_one_out(one)) for one in images_one_by_one(data)])
    seen = np.sort([float(model.predict(one).score) for one in images_one_by_one(data)])
    assert float(model.threshold) == pytest.approx(np.quantile(left_out, 0.5, method="higher"), rel=1e-6)
    assert float(model.threshold) > 1.02 * np.quantile(seen, 0.5, method="higher")


def images_one_by_one(data) -> list[torch.Tensor]:
    return [image for index in data.training_indices for image in images_of(data, [index])]


def test_one_image_is_none_to_take_a_threshold_from(refuse, tmp_path):
    write_category(tmp_path / "data", train=1)
    line = refuse(
        "fit",
        "--model",
        "gaussian",
        "--model.weights",
        "none",
        "--category",
        "screw",
        "--data.root",
        "data",
        "--data.validation_share",
        "0",
    )
    assert "each of 3 images at least; 0 of 1 would remain; add images" in line


def test_the_final_model_knows_all_images_whatever_the_threshold_is_taken_from(quick_padim, bench):
    record = fit(bench, *quick_padim, "--model.reduction", "pca")
    again = fit(bench, *quick_padim, "--model.reduction", "pca", "--threshold_quantile", "0.5")
    assert again["metrics"]["threshold"] < record["metrics"]["threshold"]
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
