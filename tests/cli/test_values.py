"""A value of the wrong kind, or none at all, is refused before anything is computed."""

import re
from pathlib import Path

import pytest
import yaml


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--model.latent_dim", "abc"),
        ("--model.latent_dim", "1.5"),
        ("--model.grey", "maybe"),
        ("--model.residual", "l3"),
        ("--model.learning_rate", "fast"),
        ("--data.image_size", "1.5"),
        ("--data.image_size", "[32, 32]"),
        ("--data.batch_size", "many"),
        ("--trainer.max_epochs", "ten"),
        ("--seed", "zero"),
        ("--protocol", "half"),
        ("--threshold_quantile", "high"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_option_and_value(refuse, quick, option, value):
    line = refuse("fit", *quick, option, value)
    assert option in line
    assert value in line


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--data.image_size", "8"),
        ("--data.crop", "64"),
        ("--data.validation_share", "1.0"),
        ("--data.validation_share", "0.01"),
        ("--data.batch_size", "0"),
        ("--seed", "-1"),
        ("--threshold_quantile", "1.5"),
        ("--patience", "0"),
        ("--trainer.max_epochs", "-5"),
        ("--trainer.accelerator", "abacus"),
        ("--trainer.devices", "0"),
        ("--trainer.num_nodes", "2"),
        ("--trainer.max_epochs", "0"),
        ("--trainer.accumulate_grad_batches", "0"),
        ("--trainer.check_val_every_n_epoch", "0"),
        ("--trainer.gradient_clip_val", "-1"),
        ("--model.latent_dim", "0"),
        ("--model.sigma", "-1"),
        ("--model.sigma", "1e308"),
        ("--model.learning_rate", "-1"),
        ("--model.learning_rate", "nan"),
        ("--model.learning_rate", ".nan"),
        ("--model.learning_rate", "inf"),
        ("--model.weight_decay", "-1e-9"),
    ],
)
def test_a_value_out_of_range_is_refused(refuse, quick, option, value):
    line = refuse("fit", *quick, option, value)
    assert option.removeprefix("--trainer.") in line
    assert value in line


@pytest.mark.parametrize(
    ("model", "option", "value"),
    [
        ("vae", "noise", "0"),
        ("vae", "beta", "-1"),
        ("padim", "sigma", "-1"),
        ("fastflow", "clamp", "0"),
        ("stfpm", "momentum", "1"),
        ("reverse_distillation", "sigma", "-1"),
        ("cutpaste", "jitter", "-0.1"),
        ("deep_svdd", "width", "0"),
        ("f_anogan", "search_rate", "0"),
        ("spade", "memory_limit", "0"),
        ("resnet18", "effective_number_beta", "1.5"),
        ("weight_balancing", "balancing_rate", "-1"),
        ("reslt", "learning_rate", "-1"),
    ],
)
def test_a_number_that_a_method_cannot_use_is_refused_where_it_is_declared(refuse, data_root, model, option, value):
    line = refuse("fit", "--model", model, "--category", "screw", "--data.root", data_root, f"--model.{option}", value)
    assert re.search(rf"--model\.{option} should be (greater|less) than .*, not '{value}'", line), line


@pytest.mark.parametrize("option", ["--model", "--category", "--config", "--runs", "--seed", "--model.latent_dim"])
def test_an_option_without_its_value_is_refused(refuse, quick, option):
    line = refuse("fit", *quick, option)
    assert option in line
    assert "expect" in line


def test_a_word_that_belongs_to_no_option_is_refused(refuse):
    assert "'vae' belongs to no option" in refuse("fit", "padim", "screw", "vae")
    assert "'vae' belongs to no option" in refuse("fit", "--model", "padim", "--category", "screw", "vae")


def test_a_run_without_a_category_is_refused(refuse):
    line = refuse("fit", "--model", "vae")
    assert "no category" in line
    assert "--category" in line


def test_a_run_without_a_model_is_refused(refuse):
    line = refuse("fit", "--category", "screw")
    assert "no model" in line
    assert "bench models" in line


def test_a_broken_yaml_file_is_named_with_the_line_of_the_mistake(refuse, quick):
    Path("mine.yaml").write_text("model:\n  latent_dim: 8\n learning_rate: 1e-3\n", encoding="utf-8")
    line = refuse("fit", *quick, "--config", "mine.yaml")
    assert "mine.yaml" in line
    assert "line 3" in line


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("modle:\n  latent_dim: 8\n", "modle"),
        ("model:\n  latent_dmi: 8\n", "model.latent_dmi"),
        ("model: 5\n", "model"),
        ("model: [vae]\n", "model"),
        ("data: 5\n", "data"),
        ("trainer: 5\n", "trainer"),
        ("trainer:\n  max_epochs: ten\n", "trainer.max_epochs"),
        ("seed: one\n", "seed"),
        ("category: 5\n", "category"),
        ("category: [screw]\n", "category"),
        ("5: 6\n", "5"),
        ("- model\n", "settings.yaml"),
        ("just words\n", "settings.yaml"),
    ],
)
def test_a_settings_file_with_an_unknown_name_or_a_wrong_value_is_refused(refuse, data_root, text, word):
    Path("settings.yaml").write_text(text, encoding="utf-8")
    named = () if text.startswith("category") else ("--category", "screw")
    model = () if text.startswith("model: ") else ("--model", "autoencoder_l2")
    line = refuse("fit", *model, *named, "--data.root", data_root, "--config", "settings.yaml")
    assert word in line


def test_a_settings_file_that_does_not_exist_is_named(refuse, quick):
    assert "no file missing.yaml" in refuse("fit", *quick, "--config", "missing.yaml")


def test_an_exponent_without_a_dot_is_a_number_in_yaml(bench, quick):
    Path("mine.yaml").write_text("model:\n  learning_rate: 1e-3\n", encoding="utf-8")
    printed = yaml.safe_load(bench("fit", *quick, "--config", "mine.yaml", "--print_config").stdout)
    assert printed["model"]["learning_rate"] == 0.001


def test_the_last_settings_file_wins_and_the_command_line_over_all(bench, quick):
    Path("first.yaml").write_text("seed: 1\nmodel:\n  latent_dim: 8\n  sigma: 2.0\n", encoding="utf-8")
    Path("second.yaml").write_text("model:\n  latent_dim: 9\n", encoding="utf-8")
    files = ("--config", "first.yaml", "--config", "second.yaml")
    printed = yaml.safe_load(bench("fit", *quick, *files, "--model.sigma", "3", "--print_config").stdout)
    assert printed["seed"] == 1
    assert (printed["model"]["latent_dim"], printed["model"]["sigma"]) == (9, 3.0)
