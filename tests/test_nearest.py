"""Which name is offered for an unknown word: one that is near, and none where none is."""

import pytest

from bench.errors import nearest

NAMES = (
    "--data", "--category", "--config", "--runs", "--force", "--resume", "--group", "--wandb", "--wandb_images",
    "--seed", "--protocol", "--threshold_quantile", "--patience", "--epochs", "--gpus", "--json", "--help",
    "--data.root", "--data.image_size", "--data.batch_size", "--data.aspect", "--data.bits",
    "--data.random_pose", "--data.num_workers", "--model.latent_dim", "--model.clamp", "--model.reduction",
    "--model.projection", "--model.nu", "--model.beta", "--trainer.max_epochs", "--trainer.min_epochs",
    "--trainer.precision", "image_size", "batch_size", "latent_dim", "clamp", "reduction", "projection",
    "random_pose", "aspect", "bits", "num_workers", "max_epochs", "min_epochs", "precision",
)  # fmt: skip

# A word, and the name that is offered for it; None where any name would be a wrong one.
OFFERED = {
    "--sede": "--seed",
    "--seeds": "--seed",
    "--jsno": "--json",
    "--hlep": "--help",
    "--catgory": "--category",
    "--epoch": "--epochs",
    "--gpu": "--gpus",
    "--batchsize": "batch_size",
    "--batch-size": "batch_size",
    "--Batch_Size": "batch_size",
    "--img-size": "image_size",
    "--data-root": "--data.root",
    "--dataroot": "--data.root",
    "--latent-dims": "latent_dim",
    "--latent": "latent_dim",
    "--precison": "precision",
    "--random-seed": "--seed",
    "--num-epochs": "--epochs",
    "--quantile": "--threshold_quantile",
    "--wandb-mode": "--wandb",
    "--trainr.max_epochs": "--trainer.max_epochs",
    "--data.imagesize": "--data.image_size",
    "--model.latnet_dim": "--model.latent_dim",
    "--dataset": None,
    "--output": None,
    "--resolution": None,
    "--project": None,
    "--amp": None,
    "--bs": None,
    "--class": None,
    "--size": None,
    "--momentum": None,
    "--verbose": None,
    "--fp16": None,
    "--model.lr": None,
    "--x": None,
    "--": None,
}


@pytest.mark.parametrize("word", OFFERED)
def test_the_name_that_is_near_is_offered_and_never_a_wrong_one(word):
    assert nearest(word, NAMES) == OFFERED[word]


def test_nothing_is_near_where_nothing_is_known():
    assert nearest("screw", []) is None
