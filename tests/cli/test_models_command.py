"""`bench models`: a line a method, all presets with `--all`."""

import json
from pathlib import Path

import pytest

from bench.cli.methods import fit_seconds
from bench.config.presets import preset_names, read_preset


def test_methods_are_a_line_each_of_80_columns(bench):
    lines = bench("models").stdout.splitlines()
    assert len(lines) < 48, "a screen"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "line",
    [
        "padim PaDiM 2021 good statistics 8 s ImageNet",
        "vae VAE 2014 good gradient 1 min -",
        "cutpaste CutPaste 2021 good both 3 min -",
        "knn DeepFeatures 2020 good statistics 8 s ImageNet",
        "reslt ResLT 2022 defects gradient - ImageNet",
    ],
)
def test_a_line_says_from_what_a_method_learns_and_what_it_needs(bench, line):
    assert line.split() in [each.split() for each in bench("models").stdout.splitlines()]


def test_each_method_is_there_once_and_each_preset_belongs_to_one(bench):
    names = [line.split()[0] for line in bench("models").stdout.splitlines()[1:-2]]
    assert len(set(names)) == len(names)
    for preset in preset_names("model"):
        assert preset in names or any(preset.startswith(f"{name}_") for name in names), preset


def test_all_lists_every_preset(bench):
    shown = bench("models", "--all").stdout
    for model in json.loads(bench("models", "--json").stdout):
        assert model["name"] in shown
        assert model["track"] in shown


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        ("# Time: fit 159 s, test 1 s (screw), on two cores of an AMD EPYC.", 159),
        ("# Time: fit 157 s (bottle) and 177 s (screw), test 1 s, on two\n#   cores of an AMD EPYC.", 177),
        ("# Time: 2 minutes (5 folds), on two cores.", 120),
        ("# Time: fit about 180 s of two threads of an AMD EPYC.", 180),
        ("# Time: fit 14 s (bottle), one thread of a busy AMD EPYC.", None),
        ("# Differs: 128 pixels, so that a run takes minutes on two cores.", None),
        ("# Expected: image AUROC .891, fit 9 s on a GPU.\n# Command: bench fit on two cores", None),
        ("", None),
    ],
)
def test_a_time_is_what_the_head_of_the_file_says_of_two_cores(tmp_path, head, seconds):
    Path("mine.yaml").write_text(f"{head}\nclass_path: mine.Mine\n# Time: fit 3 s on two cores\n")
    assert fit_seconds(read_preset("model", "./mine.yaml")) == seconds
