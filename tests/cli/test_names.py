"""A name that does not exist is refused in one line that offers the nearest one that does."""

import pytest

CELL = ("--category", "screw")


@pytest.mark.parametrize(
    ("command", "typed", "nearest"),
    [
        (("fitt",), "fitt", "'fit'"),
        (("fit", "--model", "vaee", *CELL), "vaee", "'vae'"),
        (("fit", "--model", "vaee", "--help"), "vaee", "'vae'"),
        (("fit", "--model", "vae", "--data", "mvtecad", *CELL), "mvtecad", "'mvtec_ad'"),
        (("fit", "--modle", "vae", *CELL), "--modle", "'--model'"),
        (("fit", "--model", "vae", *CELL, "--sede", "1"), "--sede", "'--seed'"),
        (("fit", "--model", "vae", *CELL, "--model.latent_dmi", "8"), "--model.latent_dmi", "'--model.latent_dim'"),
        (("fit", "--model", "vae", *CELL, "--data.imagesize=32"), "--data.imagesize", "'--data.image_size'"),
        (("fit", "--model", "vae", *CELL, "--trainer.max_epoch", "1"), "--trainer.max_epoch", "'--trainer.max_epochs'"),
        (("fit", "--model", "vae", *CELL, "--trainr.max_epochs", "1"), "--trainr.max_epochs", "'--trainer.max_epochs'"),
        (("test", "--runs", "runs"), "--runs", "'--run'"),
        (("models", "--jsn"), "--jsn", "'--json'"),
        (("leaderboard", "--uot", "tables"), "--uot", "'--out'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(refuse, command, typed, nearest):
    line = refuse(*command)
    assert f"'{typed}'" in line
    assert f"did you mean {nearest}?" in line


@pytest.mark.parametrize(
    ("options", "typed", "nearest"),
    [
        (("--category", "scrw"), "scrw", "'screw'"),
        (("--category", "botle"), "botle", "'bottle'"),
        (("--model.backbone", "resnet81"), "resnet81", "'resnet18'"),
        (("--model.weights", "tv_in1"), "tv_in1", "'tv_in1k'"),
        (("--model.levels", "[layer1, layr2]"), "layr2", "'layer2'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_name_that_the_data_or_the_backbone_lack_is_refused_with_the_nearest_one(
    refuse, quick_padim, options, typed, nearest
):
    line = refuse("fit", *quick_padim, *options)
    assert f"'{typed}'" in line
    assert f"did you mean {nearest}?" in line


def test_a_level_that_the_backbone_lacks_is_refused_with_those_it_has(refuse, quick_padim):
    line = refuse("fit", *quick_padim, "--model.levels", "[1, 9]")
    assert "no level 9" in line
    assert "0 to 4" in line
    assert "layer1" in line


def test_a_made_up_category_is_refused_with_the_nearest_one(refuse):
    line = refuse("fit", "--model", "vae", "--data", "synthetic", "--category", "carpt")
    assert "'carpt'" in line
    assert "did you mean 'carpet'?" in line


def test_a_model_file_that_does_not_exist_is_named(refuse):
    assert "no model file mine.yaml" in refuse("fit", "--model", "mine.yaml", *CELL)


@pytest.mark.parametrize("name", ["../screw", "screw/", ".", "..", "screw/train"])
def test_a_category_is_a_folder_of_the_data_root_and_no_path(refuse, quick, name):
    assert f"unknown category '{name}'" in refuse("fit", *quick, "--category", name)
