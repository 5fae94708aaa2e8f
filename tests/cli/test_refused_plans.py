"""What no run can honour is refused by one line that names the option and what to use instead, before it begins."""

from pathlib import Path

import pytest

from fake_data import write_category

ONE_CLASS = ("--trainer.accelerator", "cpu", "--category", "screw", "--data.image_size", "32")


@pytest.fixture
def few(tmp_path):
    """The root of a category with so many training images."""

    def write(count: int) -> Path:
        return write_category(tmp_path / f"data-{count}", train=count).parent

    return write


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("limit_predict_batches", "1", "statistics and thresholds are of all training images; leave it out"),
        ("limit_predict_batches", "0", "statistics and thresholds are of all training images; leave it out"),
        ("limit_predict_batches", "0.5", "statistics and thresholds are of all training images; leave it out"),
        ("limit_test_batches", "1", "a run tests each image once; leave it out"),
        ("overfit_batches", "1", "use --trainer.limit_train_batches"),
        ("limit_train_batches", "0", "leaves nothing to learn from; use 1, or leave it out"),
        ("limit_train_batches", "0.0", "leaves nothing to learn from; use 1, or leave it out"),
        ("limit_train_batches", "0.01", "of 1 batches is less than one; use 1 batch"),
        ("limit_val_batches", "0.01", "of 1 batches is less than one; use 1 batch"),
        ("precision", "16-true", "use 32-true, 16-mixed or bf16-mixed"),
        ("precision", "bf16-true", "use 32-true, 16-mixed or bf16-mixed"),
        ("precision", "64-true", "use 32-true, 16-mixed or bf16-mixed"),
        ("precision", "64", "use 32-true, 16-mixed or bf16-mixed"),
        ("precision", "transformer-engine", "use 32-true, 16-mixed or bf16-mixed"),
        ("precision", "16-mixed", "takes a CUDA GPU; use bf16-mixed, or 32-true"),
        ("precision", "16", "takes a CUDA GPU; use bf16-mixed, or 32-true"),
        ("strategy", "ddp_spawn", "use auto, ddp, ddp_find_unused_parameters_true or ddp_find_unused_parameters_false"),
        ("strategy", "ddp_notebook", "use auto, ddp,"),
        ("strategy", "fsdp", "use auto, ddp,"),
        ("strategy", "dpp", "use auto, ddp,"),
    ],
)
def test_a_setting_of_the_trainer_that_no_run_can_honour_is_refused(refuse, quick, option, value, words):
    line = refuse("fit", *quick, f"--trainer.{option}", value)
    assert f"--trainer.{option}" in line
    assert words in line


def test_it_is_refused_before_an_image_is_decoded(refuse, quick, own_folder):
    refuse("fit", *quick, "--trainer.limit_predict_batches", "1")
    assert not list((own_folder / "cache").rglob("*.npy"))


def test_a_sweep_refuses_it_before_anything_runs(refuse, data_root):
    grid = ("--models", "padim", "--model.weights", "none", "--categories", "screw", "--data.root", data_root)
    assert "--trainer.limit_predict_batches 1:" in refuse("sweep", *grid, "--trainer.limit_predict_batches", "1")
    assert "--trainer.strategy fsdp" in refuse("sweep", *grid, "--set", "trainer.strategy=ddp,fsdp")


@pytest.mark.parametrize(
    ("alias", "name"), [("32", "32-true"), ("bf16", "bf16-mixed"), ("16", "16-mixed"), ("null", "32-true")]
)
def test_a_precision_has_one_name(bench, quick, alias, name):
    printed = bench("fit", *quick, "--trainer.precision", alias, "--print_config").stdout
    assert f"precision: {name}\n" in printed


def test_patience_without_a_validation_loss_is_refused(refuse, quick):
    line = refuse("fit", *quick, "--patience", "2", "--trainer.limit_val_batches", "0")
    assert line == "bench: --patience watches the validation loss: leave out --trainer.limit_val_batches 0"


def test_more_processes_than_training_images_are_refused(refuse, few):
    padim = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", *ONE_CLASS)
    line = refuse("fit", *padim, "--data.root", few(3), "--trainer.devices", "4")
    assert line == "bench: 4 processes cannot share 3 training images; use fewer: --trainer.devices 3"


def test_more_processes_than_held_out_images_of_a_method_that_trains_are_refused(refuse, quick):
    line = refuse("fit", *quick, "--data.batch_size", "15", "--trainer.devices", "3", "--data.validation_share", "0.17")
    assert line == "bench: 3 processes cannot share 2 held-out images; use fewer: --trainer.devices 2"


def test_a_batch_that_processes_cannot_share_evenly_is_refused(refuse, quick):
    line = refuse("fit", *quick, "--data.batch_size", "16", "--trainer.devices", "3", "--data.validation_share", "0.5")
    assert line == "bench: --data.batch_size 16 cannot be split over 3 processes evenly"


@pytest.mark.parametrize(
    ("model", "images", "options", "words"),
    [
        (
            "padim",
            2,
            (),
            "the threshold of padim comes from images left out one by one, of 3 at least; here are 2",
        ),
        ("padim", 2, ("--data.validation_share", "0.5"), "padim learns from 2 images at least, here is 1; lower"),
        (
            "padim",
            2,
            ("--model.reduction", "pca"),
            "without a part of the images, each of 2 images at least; 1 of 2 would remain; add images",
        ),
    ],
)
def test_too_few_images_for_a_method_are_refused_in_its_own_words(refuse, few, model, images, options, words):
    backbone = ("--model.weights", "none", "--model.channels", "8")
    line = refuse("fit", "--model", model, *backbone, *ONE_CLASS, "--data.root", few(images), *options)
    assert words in line


def test_the_fewest_images_that_a_method_takes_end_in_a_threshold(bench, few):
    padim = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", *ONE_CLASS)
    outcome = bench("fit", *padim, "--data.root", few(3))
    assert (outcome.status, outcome.stderr) == (0, "")
