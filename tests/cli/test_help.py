"""What a person asks first is answered at once: no help waits for torch."""

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from pkgutil import iter_modules

import pytest

import bench as package
from bench.cli import commands, data
from bench.config.presets import preset_names, read_preset

HEAVY = ("torch", "lightning", "timm", "wandb", "sklearn", "albumentations")


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["--version"],
        ["fit", "--help"],
        ["fit", "--model", "vae", "--help"],
        ["test", "--help"],
        ["predict", "--help"],
        ["report", "--help"],
        ["models"],
        ["models", "--json"],
        *([command, "--help"] for command in ("sweep", "study", "leaderboard", "compare", "serve", "data", "wandb")),
        ["export", "--help"],
        *(["data", command, "--help"] for command in ("import", "describe", "check", "download", "export", "cache")),
    ],
)
def test_no_answer_that_needs_no_model_imports_torch(command):
    code = f"import sys; from bench.cli.main import main; main({command}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stderr.split())


@pytest.mark.parametrize("command", [["--help"], ["fit", "--help"], ["data", "--help"]], ids=" ".join)
def test_help_takes_less_than_three_tenths_of_a_second(command):
    """Of a core: other tests on this machine take theirs."""
    seconds, walls = [], []
    for _ in range(5):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "bench", *command], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - start)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.3
    assert min(walls) < 0.5


def test_help_has_a_line_of_each_command_s_file(bench):
    """A command is found by its file, and what the list says of it stands in the file's first line."""
    for words, room in (((), commands), (("data",), data)):
        lines = bench(*words, "--help").stdout
        for name in (module.name for module in iter_modules(room.__path__)):
            about = Path(room.__path__[0], f"{name}.py").read_text().splitlines()[0].partition("`: ")[2]
            assert about, name
            assert "".join(f"{name}{about[:-4]}".split()) in "".join(lines.split())


def test_no_mistake_is_told_in_the_library_s_own_form(refuse):
    for words in (("report",), ("predict", "x", "--run", "y", "--device", "cuda"), ("serve", "--port", "http")):
        line = refuse(*words)
        assert "Usage" not in line
        assert line.endswith(f"; see 'bench {words[0]} --help'")


@pytest.mark.parametrize("spelling", ["--print_config", "--print-config"])
def test_underscores_and_hyphens_are_the_same_in_options(bench, spelling):
    words = ("fit", "--model", "vae", "--category", "screw", spelling, "--data.image-size", "96", "--wandb-images=off")
    assert "image_size: 96" in bench(*words, "--threshold-quantile", "0.9").stdout


def test_help_names_every_command(bench):
    outcome = bench("--help")
    assert outcome.status == 0
    for command in ("fit", "test", "predict", "report", "models", "leaderboard", "compare"):
        assert f"\n  {command} " in outcome.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "bench: no command; name one, such as 'bench fit': 'bench --help' lists them"),
        (("data",), "bench: no command of bench data; name one: import, describe, check, download, export, cache"),
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
    assert re.search(
        rf"^  --model.latent_dim {preset} +int: dimensions of the code", outcome.stdout, flags=re.MULTILINE
    )
    assert "--data.image_size 128 " in outcome.stdout
    assert "--trainer.max_epochs 100 " in outcome.stdout
    assert outcome.stdout.index("--model.") < outcome.stdout.index("--data.") < outcome.stdout.index("--seed")


@pytest.mark.parametrize("name", preset_names("model"))
def test_the_help_of_a_method_fits_a_screen_and_tells_each_of_its_settings(bench, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = bench("fit", name, "--help").stdout.splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) < 80
    for setting in read_preset("model", name).settings.get("model", {}):
        assert any(line.startswith(f"  --model.{setting} ") for line in lines), setting


def test_the_help_of_a_method_leaves_out_what_it_cannot_use(bench):
    assert "--trainer.max_epochs" not in bench("fit", "padim", "--help").stdout
    assert "--data.fold" not in bench("fit", "padim", "--help").stdout
    assert "--data.folds 5 " in bench("fit", "resnet18", "--help").stdout


def test_the_whole_help_of_a_method_has_the_trainer_s_settings_and_types(bench):
    outcome = bench("fit", "--model", "vae", "--help-all")
    assert "--trainer.gradient_clip_val" in outcome.stdout
    preset = read_preset("model", "vae").settings["model"]["latent_dim"]
    assert f"(type: int, default: {preset})" in " ".join(outcome.stdout.split())


def test_the_help_of_a_method_hides_what_is_not_the_user_s_to_set(bench):
    lines = bench("fit", "--model", "vae", "--help").stdout + bench("fit", "--model", "vae", "--help-all").stdout
    for hidden in ("--model.spec", "--data.category", "--trainer.logger", "--trainer.callbacks"):
        assert hidden not in lines


def test_models_prints_each_method_with_track_paper_and_what_it_is(bench):
    listed = {model["name"]: model for model in json.loads(bench("models", "--json").stdout)}
    assert {"vae", "padim", "autoencoder"} <= listed.keys()
    assert listed["padim"]["track"] == "one-class"
    for model in listed.values():
        assert model.keys() == {"name", "track", "paper", "about"}
        assert all(model.values())
