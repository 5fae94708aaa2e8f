"""What a person asks first is answered at once: no help waits for torch."""

import json
import subprocess
import sys
import time

import pytest

import bench as package
from bench.config.presets import read_preset

HEAVY = ("torch", "lightning", "timm", "wandb", "sklearn", "albumentations")


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["--version"],
        ["fit", "--help"],
        ["test", "--help"],
        ["predict", "--help"],
        ["report", "--help"],
        ["models"],
        ["models", "--json"],
    ],
)
def test_no_answer_that_needs_no_model_imports_torch(command):
    code = f"import sys; from bench.cli.main import main; main({command}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stderr.split())


def test_help_takes_less_than_half_a_second():
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bench", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_help_names_every_command(bench):
    outcome = bench("--help")
    assert outcome.status == 0
    for command in ("fit", "test", "predict", "report", "models", "leaderboard", "compare"):
        assert f"\n  {command} " in outcome.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "bench: no command; name one, such as 'bench fit': 'bench --help' lists them"),
        (("data",), "bench: no command of bench data; name one: describe, check, download, export, cache"),
        (("fit", "--model", "va\0e"), "bench: 'va\\x00e' holds a NUL character; leave it out"),
    ],
)
def test_a_command_line_that_names_no_command_says_so(bench, words, line):
    outcome = bench(*words)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (2, "", line + "\n")


def test_the_version_is_the_package_s(bench):
    assert bench("--version").stdout == f"bench {package.__version__}\n"


def test_the_help_of_a_method_lists_its_settings_with_types_and_the_preset_s_defaults(bench):
    outcome = bench("fit", "--model", "vae", "--help")
    assert outcome.status == 0
    preset = read_preset("model", "vae").settings["model"]["latent_dim"]
    assert "--model.latent_dim LATENT_DIM" in outcome.stdout
    assert f"(type: int, default: {preset})" in " ".join(outcome.stdout.split())
    assert "--data.image_size" in outcome.stdout
    assert "--trainer.max_epochs" in outcome.stdout


def test_the_help_of_a_method_hides_what_is_not_the_user_s_to_set(bench):
    lines = bench("fit", "--model", "vae", "--help").stdout
    for hidden in ("--model.spec", "--data.category", "--trainer.logger", "--trainer.callbacks"):
        assert hidden not in lines


def test_models_prints_each_method_with_track_paper_and_what_it_is(bench):
    listed = {model["name"]: model for model in json.loads(bench("models", "--json").stdout)}
    assert {"vae", "padim", "autoencoder"} <= listed.keys()
    assert listed["padim"]["track"] == "one-class"
    for model in listed.values():
        assert model.keys() == {"name", "track", "paper", "about"}
        assert all(model.values())
