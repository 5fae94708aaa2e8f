"""A setting that a method cannot use makes no other method of it: it is refused, or left to methods that can."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from bench.config.cell import Cell
from bench.config.settings import resolve
from fake_records import make_record, write_record

OF_TRAINING = [
    ("trainer.max_epochs", "2"),
    ("trainer.min_epochs", "1"),
    ("trainer.max_steps", "3"),
    ("trainer.min_steps", "1"),
    ("trainer.limit_train_batches", "0.5"),
    ("trainer.limit_val_batches", "2"),
    ("trainer.check_val_every_n_epoch", "2"),
    ("trainer.accumulate_grad_batches", "2"),
    ("trainer.gradient_clip_val", "1.0"),
    ("trainer.gradient_clip_algorithm", "value"),
    ("patience", "3"),
    ("data.augmentation", "turned"),
    ("data.samples_per_epoch", "100"),
    ("data.texture_patch", "64"),
]
OF_LABELS = [
    ("data.fold", "all"),
    ("data.folds", "3"),
    ("data.per_class", "20"),
    ("data.sampling", "balanced"),
    ("data.minority_augmentation", "symmetries"),
]
DECIDE_NOTHING = [
    *("data.root", "data.cache", "data.num_workers", "trainer.accelerator", "trainer.strategy", "trainer.devices"),
    *("trainer.num_nodes", "trainer.benchmark", "trainer.profiler", "trainer.detect_anomaly"),
]


@pytest.fixture
def dry(bench):
    """Model, variant and all settings of the cells of a plan."""

    def run(*arguments: object) -> list[tuple[str, str]]:
        outcome = bench("sweep", *arguments, "--dry-run", "--json")
        assert outcome.status == 0, outcome.stderr
        return [(cell["model"], cell["variant"]) for cell in json.loads(outcome.stdout)]

    return run


@pytest.fixture
def place(data_root: Path) -> tuple[str, ...]:
    return ("--categories", "screw", "--data.root", str(data_root), "--data.image_size", "32")


def _fingerprint(model: str, **layers: object) -> str:
    config = resolve(model=model, data=None, category="screw", files=[layers], options={})
    return Cell(config, "content", {"source": "none"}).fingerprint


@pytest.mark.parametrize(("key", "value"), OF_TRAINING)
def test_a_method_that_does_not_train_is_given_no_settings_of_training(refuse, quick_padim, key, value):
    line = refuse("fit", *quick_padim, f"--{key}", value)
    assert line == f"bench: padim does not train: leave out --{key}"


@pytest.mark.parametrize(("key", "value"), OF_LABELS)
def test_a_method_of_one_class_is_given_no_settings_of_labelled_images(refuse, quick, key, value):
    assert refuse("fit", *quick, f"--{key}", value) == f"bench: autoencoder_l2 learns from one class: leave out --{key}"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [("threshold_quantile", "0.9", "decides without a threshold"), ("protocol", "full", "scores no pixels")],
)
def test_a_classifier_is_given_no_settings_of_detection(refuse, data_root, key, value, reason):
    line = refuse("fit", "--model", "classifier", "--category", "screw", "--data.root", data_root, f"--{key}", value)
    assert line == f"bench: classifier {reason}: leave out --{key}"


def test_a_typed_default_is_no_mistake(bench, quick_padim):
    options = ("--patience", "null", "--data.augmentation", "none", "--trainer.max_epochs", "null")
    assert bench("fit", *quick_padim, *options, "--print_config").status == 0


@pytest.mark.parametrize(("key", "value"), OF_TRAINING)
def test_in_a_file_it_counts_with_its_default(key, value):
    section, _, name = key.rpartition(".")
    layer = {section: {name: yaml.safe_load(value)}} if section else {name: yaml.safe_load(value)}
    assert _fingerprint("padim", **layer) == _fingerprint("padim")
    assert _fingerprint("vae", **layer) != _fingerprint("vae")


def test_in_a_preset_of_ones_own_it_counts_with_its_default(bench, tmp_path):
    Path("mine.yaml").write_text("class_path: bench.models.padim.PaDiM\ntrainer: {max_epochs: 9}\n")
    printed = yaml.safe_load(bench("fit", "--model", "./mine.yaml", "--category", "screw", "--print_config").stdout)
    assert printed["trainer"]["max_epochs"] is None


def test_a_sweep_leaves_it_to_the_methods_that_can_use_it(dry, place):
    cells = dry(
        *("--models", "padim,vae", "--model.weights", "none", "--data.samples_per_epoch", "50"),
        *("--set", "trainer.max_epochs=1,2", *place),
    )
    assert cells == [("padim", ""), ("vae", "max_epochs=1"), ("vae", "max_epochs=2")]


def test_a_sweep_of_both_tracks_gives_folds_to_classifiers_alone(dry, place):
    cells = dry("--models", "padim,classifier", "--model.weights", "none", "--set", "data.fold=0,1", *place)
    assert cells == [("padim", ""), ("classifier", "fold=0"), ("classifier", "fold=1")]


def test_a_sweep_file_leaves_it_to_the_methods_that_can_use_it(dry, place):
    Path("own.yaml").write_text(
        "models: [padim, vae]\nsettings: {trainer: {max_epochs: 5}, model: {weights: none}}\n"
        "variants:\n  few epochs: {trainer: {max_epochs: 1}}\n  as it is: {}\n"
        "  few, large: {trainer: {max_epochs: 1}, data: {image_size: 48}}\n"
    )
    small = ("--categories", "screw", *place[2:4])
    assert dry("own.yaml", *small) == [
        ("padim", "as it is"), ("padim", "few, large"),
        ("vae", "few epochs"), ("vae", "as it is"), ("vae", "few, large"),
    ]  # fmt: skip


@pytest.mark.parametrize("option", [("--trainer.max_epochs", "2"), ("--set", "trainer.max_epochs=2,3")])
def test_what_no_method_of_a_sweep_can_use_is_refused(refuse, place, option):
    line = refuse("sweep", "--models", "padim,knn", "--model.weights", "none", *option, *place)
    assert line == "bench: padim does not train: leave out --trainer.max_epochs"


@pytest.mark.parametrize("where", ["settings: ", "variants: {a: {}, b: {data: {image_size: 48}}, c: "])
def test_what_a_sweep_file_says_and_no_method_can_use_is_refused(refuse, place, where):
    Path("own.yaml").write_text(
        f"models: [padim]\n{where}{{trainer: {{max_epochs: 2}}}}{'}' if 'a:' in where else ''}\n"
    )
    line = refuse("sweep", "own.yaml", "--model.weights", "none", *place)
    assert line == "bench: padim does not train: leave out trainer.max_epochs"


@pytest.mark.parametrize("key", DECIDE_NOTHING)
def test_what_decides_no_figure_makes_no_other_row(bench, own_folder, key):
    section, _, name = key.partition(".")
    for seed, override in enumerate(({}, {key: "another"})):
        record = make_record(seed=seed, overrides=override)
        for dotted, value in override.items():
            record.config[section][name] = value
            assert dotted == key
        write_record(own_folder / "runs", record)
    outcome = bench("leaderboard", "runs")
    assert outcome.status == 0, outcome.stderr
    rows = list(csv.DictReader(Path("leaderboards/mvtec_ad-one-class.csv").read_text().splitlines()))
    assert {(row["variant"], row["seeds"]) for row in rows if row["category"] == "screw"} == {("", "0 1")}
