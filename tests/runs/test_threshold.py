import json

import numpy as np
import pytest
import torch

from bench.fitting import Part, build_model, part_trainer, start_machine
from bench.run import prepare
from bench.training import score_out_of_fold
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
    machine = start_machine(part_trainer(Part(data, tmp_path, ""), cell, None, progress=False), progress=False)
    found = score_out_of_fold(build_model(config, data.spec).eval(), data, machine)
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
