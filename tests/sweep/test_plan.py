"""What a sweep file or command line stands for, and the mistakes in it that are told before anything runs."""

import json
import shlex

import pytest

from bench.cli.commands.fit import read_words
from bench.cli.commands.fit import run as fit_command
from bench.config.fit_command import fit_arguments
from bench.config.settings import resolve
from bench.sweep.plan import plan, read_sets, read_sweep


@pytest.fixture
def dry(bench):
    """The cells of a plan, as JSON."""

    def run(*arguments: object) -> list[dict]:
        outcome = bench("sweep", *arguments, "--dry-run", "--json")
        assert outcome.status == 0, outcome.stderr
        return json.loads(outcome.stdout)

    return run


def test_a_grid_is_every_model_with_every_value_on_every_category_with_every_seed(dry, data_root):
    cells = dry(
        *("--models", "padim,vae", "--categories", "all", "--seeds", "0,1,2", "--set", "data.image_size=32,48"),
        *("--data.root", data_root),
    )
    assert [(cell["model"], cell["variant"], cell["category"], cell["seed"]) for cell in cells] == [
        (model, f"image_size={size}", "screw", seed)
        for model in ("padim", "vae")
        for size in (32, 48)
        for seed in range(3)
    ]
    assert len({cell["folder"] for cell in cells}) == 12


def test_all_categories_of_the_made_up_data_are_theirs():
    cells = plan(read_sweep(None, {"models": ["vae"], "categories": ["all"]}), {}, "synthetic")
    assert [cell.config.category for cell in cells] == ["screw", "carpet"]


def test_a_cell_that_stands_there_twice_runs_once(dry, data_root):
    place = ("--data.root", data_root, "--data.image_size", "32", "--categories", "screw,screw")
    assert len(dry("--models", "vae,vae", "--seeds", "0,0", "--set", "model.beta=1,1.0", *place)) == 1


def test_a_setting_that_only_some_models_have_is_theirs(dry, data_root):
    place = ("--data.root", data_root, "--data.image_size", "32", "--categories", "screw")
    cells = dry("--models", "padim,vae", "--model.weights", "none", "--set", "model.latent_dim=2,4", *place)
    assert [(cell["model"], cell["variant"]) for cell in cells] == [
        ("padim", ""), ("vae", "latent_dim=2"), ("vae", "latent_dim=4"),
    ]  # fmt: skip


def test_what_is_typed_replaces_what_the_file_says(dry, data_root, tmp_path):
    (tmp_path / "own.yaml").write_text("models: [vae]\ncategories: [screw]\nseeds: [0, 1]\n")
    (tmp_path / "small.yaml").write_text("data: {image_size: 32}\n")
    place = ("--data.root", data_root, "--config", "small.yaml")
    assert [cell["seed"] for cell in dry("own.yaml", *place, "--seeds", "5")] == [5]
    assert [cell["model"] for cell in dry(*place, "--models", "autoencoder", "own.yaml")] == ["autoencoder"] * 2


def test_commas_in_brackets_belong_to_a_value():
    assert read_sets(["model.levels=[1],[1,2]", "data.crop=null"]) == {
        "model.levels": ["[1]", "[1,2]"],
        "data.crop": ["null"],
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model.latent_dim": "3", "seed": "4", "trainer.precision": "bf16-mixed", "data.crop": "null"},
        {"trainer.limit_train_batches": "0.5", "patience": "3", "data.root": "/a folder/with 'words'"},
    ],
)
def test_the_fit_command_of_a_cell_resolves_to_its_settings(options):
    config = resolve(
        model="vae", data="synthetic", category="screw", files=[{"data": {"batch_size": 8}}], options=options
    )
    words = shlex.split(shlex.join(fit_arguments(config)))
    known = fit_command.read(words[1:])
    _, _, options = read_words(known)
    again = resolve(model=known.model, data=known.data, category=known.category, files=[], options=options)
    assert again == config


def test_a_list_in_a_fit_command_is_read_back():
    config = resolve(
        model="padim",
        data=None,
        category="screw",
        files=[],
        options={"model.levels": "[1, 2]", "model.channels": "null"},
    )
    known = fit_command.read(fit_arguments(config)[1:])
    _, _, options = read_words(known)
    again = resolve(model=known.model, data=None, category="screw", files=[], options=options)
    assert again == config


GRID = ("--models", "vae", "--categories", "screw", "--data", "synthetic")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--models", "vaee", "--categories", "screw"), "unknown model 'vaee'; did you mean 'vae'?"),
        (("--categories", "screw"), "no models; name a sweep file, or some: --models"),
        (("--models", "vae"), "no categories"),
        ((*GRID, "--set", "data.imgae_size=1,2"), "did you mean '--data.image_size'?"),
        ((*GRID, "--set", "data.image_size"), "--set expects NAME=VALUE"),
        ((*GRID, "--set", "data.image_size=32,large"), "--data.image_size expects int, not 'large'"),
        ((*GRID, "--set", "seed=1,2"), "--seeds"),
        ((*GRID, "--set", "data.crop=null", "--set", "data.crop=16"), "stands there twice"),
        ((*GRID, "--set", "data.crop=null,16", "--data.crop", "16"), "leave one out"),
        ((*GRID, "--seeds", "0,1", "--seed", "2"), "--seed:"),
        ((*GRID, "--seeds", "0,one"), "--seeds expects numbers"),
        ((*GRID, "--retry", "-1"), "--retry expects a number"),
        ((*GRID, "--rerun", "finished"), "--rerun"),
        ((*GRID, "--launcher", "slrum"), "unknown launcher 'slrum'; did you mean 'slurm'?"),
        ((*GRID, "--launcher.wrokers", "2"), "did you mean 'workers'?"),
        ((*GRID, "--launcher.workers", "many"), "--launcher.workers"),
        ((*GRID, "--launcher.lease", "0"), "--launcher.lease"),
        ((*GRID, "--launcher.threads", "0"), "expects 'auto' or greater than 0, not '0'"),
        ((*GRID, "--modles", "vae"), "did you mean '--models'?"),
        ((*GRID, "--data", "mvtec_ad", "--data.root", "/nowhere"), "no data folder at /nowhere"),
        (("nothing.yaml",), "no sweep file nothing.yaml"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(refuse, arguments, words):
    assert words in refuse("sweep", *arguments)


def test_two_modules_of_one_name_are_refused(refuse, tmp_path, data_root, monkeypatch):
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text("from bench.models.padim import PaDiM as Mine\n")
        (tmp_path / name / f"{name}.yaml").write_text("class_path: mine.Mine\n")
    line = refuse("sweep", "--models", "a/a.yaml,b/b.yaml", "--categories", "screw", "--data.root", data_root)
    assert "both hold a module 'mine'" in line


def test_a_seed_alone_is_the_one_seed(dry, data_root):
    assert [
        cell["seed"] for cell in dry(*GRID, "--seed", "3", "--data.root", data_root, "--data.image_size", "32")
    ] == [3]
