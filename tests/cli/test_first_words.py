"""What people type first: each line leads to the settings that are meant, or to one line that is right, at once."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from bench.config.settings import flatten

# What follows `bench`, and the settings that it leads to.
MEANT: dict[str, dict[str, Any]] = {
    "fit vae screw": {"model.name": "vae", "category": "screw"},
    "train vae screw": {"model.name": "vae", "category": "screw"},
    "fit --model vae screw": {"model.name": "vae", "category": "screw"},
    "fit screw vae": {"model.name": "vae", "category": "screw"},
    "fit vae --category screw": {"model.name": "vae", "category": "screw"},
    "fit --category screw vae": {"model.name": "vae", "category": "screw"},
    "fit PaDiM screw": {"model.name": "padim"},
    "fit --model PADIM --category screw": {"model.name": "padim"},
    "fit --model=padim-paper --category=screw": {"model.name": "padim_paper"},
    "fit Deep-SVDD screw": {"model.name": "deep_svdd"},
    "fit vae screw --data MVTec-AD": {"data.name": "mvtec_ad"},
    "fit vae screw --epochs 5": {"trainer.max_epochs": 5},
    "fit vae screw --epochs=5": {"trainer.max_epochs": 5},
    "fit vae screw --max-epochs 5": {"trainer.max_epochs": 5},
    "fit vae screw --trainer.max-epochs 5": {"trainer.max_epochs": 5},
    "fit vae screw --lr .01": {"model.learning_rate": 0.01},
    "fit cutpaste screw --lr .01": {"model.learning_rate": 0.01},
    "fit fastflow screw --lr 1e-4": {"model.learning_rate": 1e-4},
    "fit deep_svdd screw --lr .01": {"model.learning_rate": 0.01},
    "fit f_anogan screw --lr .01": {"model.learning_rate": 0.01},
    "fit resnet18 screw --lr .01": {"model.learning_rate": 0.01},
    "fit reslt screw --lr .01 --fold 0": {"model.learning_rate": 0.01, "data.fold": 0},
    "fit vae screw --learning-rate .01": {"model.learning_rate": 0.01},
    "fit vae screw --batch-size 8": {"data.batch_size": 8},
    "fit vae screw --batch_size 8": {"data.batch_size": 8},
    "fit vae screw --image-size 64": {"data.image_size": 64},
    "fit padim screw --image_size 128 --crop null": {"data.image_size": 128, "data.crop": None},
    "fit vae screw --device cpu": {"trainer.accelerator": "cpu"},
    "fit vae screw --device cuda": {"trainer.accelerator": "gpu", "trainer.devices": 1},
    "fit vae screw --device cuda:1": {"trainer.accelerator": "gpu", "trainer.devices": [1]},
    "fit vae screw --gpus 2": {"trainer.accelerator": "gpu", "trainer.devices": "2"},
    "fit vae screw --gpus 0": {"trainer.accelerator": "cpu", "trainer.devices": 1},
    "fit resnet18 screw --optimizer sgd": {"model.optimizer": "sgd"},
    "fit vae screw --workers 4": {"data.num_workers": 4},
    "fit vae screw --latent-dim 32": {"model.latent_dim": 32},
    "fit vae screw --root here": {"data.root": "here"},
    "fit vae screw --precision bf16-mixed": {"trainer.precision": "bf16-mixed"},
    "fit vae screw --threshold-quantile .9 --seed 3": {"threshold_quantile": 0.9, "seed": 3},
    "fit padim screw --weights none --backbone resnet50": {"model.weights": "none", "model.backbone": "resnet50"},
    "fit vae screw --epochs 5 --trainer.max_epochs 6": {"trainer.max_epochs": 6},
}

# What follows `bench`, and the one line that answers. `full` is a folder with a file, `here` holds the category screw,
# `unmasked` holds it without one of its masks.
MISTAKES = {
    "": "no command; name one, such as 'bench fit': 'bench --help' lists them",
    "fitt": "unknown command 'fitt'; did you mean 'fit'?",
    "trian": "unknown command 'trian'; did you mean 'train'?",
    "modles": "unknown command 'modles'; did you mean 'models'?",
    "help fitt": "unknown command 'fitt'; did you mean 'fit'?",
    "fit screw": "screw is a category; name a method before it: bench fit padim screw",
    "fit zzzzzz screw": "unknown model 'zzzzzz'; 'bench models' lists them",
    "fit": "no model; name one: --model NAME ('bench models' lists them)",
    "fit vae": "no category; name one: --category screw",
    "fit vaee screw": "unknown model 'vaee'; did you mean 'vae'?",
    "fit paddim screw": "unknown model 'paddim'; did you mean 'padim'?",
    "fit padim_mobilenet screw": "unknown model 'padim_mobilenet'; did you mean 'padim_mobilenetv2'?",
    "fit PatchCor screw": "unknown model 'PatchCor'; did you mean 'patchcore'?",
    "fit ./mine.yaml screw": "no model file mine.yaml",
    "fit vae screw --data mvtec": "unknown dataset 'mvtec'; did you mean 'mvtec_ad'?",
    "fit vae screw": "no data folder; name the one that holds the categories with --data.root or BENCH_DATA, "
    "or try --data synthetic",
    "fit vae screw --data.root nowhere": "no data folder at nowhere; name the folder that holds the categories: "
    "--data.root or BENCH_DATA",
    "fit vae scrw --root here": "unknown category 'scrw'; did you mean 'screw'?",
    "fit vae bottle --root here": "no category folder here/bottle; unpack bottle.tar.xz of MVTec AD there, "
    "or set --data.root",
    "fit vae carpt --data synthetic": "unknown synthetic category 'carpt'; did you mean 'carpet'?",
    "fit vae momo --data elpv": "unknown kind of solar cell 'momo'; did you mean 'mono'?",
    "data describe scrw --data.root here": "unknown category 'scrw'; did you mean 'screw'?",
    "data describe screw --category carpet --root here": "unknown option '--root'",
    "data describe screw --category carpet --data.root here": "'screw' and --category carpet name two categories; "
    "leave out one",
    "fit vae screw --root unmasked": "no mask for 1 of 8 defect images in unmasked/screw, such as",
    "data export --format coco --category screw --data.root unmasked": "no mask for 1 of 8 defect images",
    "fit vae screw --root here --runs full/file": "cannot write to full/file (Not a directory); name another folder: "
    "--runs FOLDER",
    "fit padim screw --root here --weights my.pth": "no weights file my.pth; give --model.weights an existing "
    ".safetensors or .pth file, a tag, or 'none'",
    "fit mobilenet_v2 screw --root here --fold 0 --weights folded.safetensors": "folded.safetensors has its BatchNorm "
    "folded into the convolutions",
    "fit padim screw --lr .1": "padim does not train: leave out --lr",
    "fit padim screw --epochs 5": "padim does not train: leave out --epochs",
    "fit knn screw --optimizer sgd": "knn does not train: leave out --optimizer",
    "fit vae screw --optimizer sgd": "vae has no setting 'optimizer': leave out --optimizer",
    "fit vae screw --weights none": "vae has no setting 'weights': leave out --weights",
    "fit vae screw --model.weights none": "vae has no setting 'weights': leave out --model.weights",
    "fit vae screw --seed zero": "--seed expects int, not 'zero'",
    "fit vae screw --seed -1": "--seed -1 does not lie between 0 and 4294967295",
    "fit vae screw --epochs two": "--trainer.max_epochs expects int or null, not 'two'",
    "fit vae screw --max-steps 1.5": "--trainer.max_steps expects int, not '1.5'",
    "fit vae screw --threshold_quantile 3": "--threshold_quantile 3.0 does not lie in (0, 1]",
    "fit vae screw --patience 0": "--patience 0 is not positive; null (the default) never stops early",
    "fit vae screw --protocol half": "--protocol expects model or full, not 'half'",
    "fit vae screw --image-size big": "--data.image_size expects int, not 'big'",
    "fit vae screw --image-size 8": "--data.image_size 8 does not lie between 16 and 4096",
    "fit vae screw --data.aspect stretch": "--data.aspect expects squash or pad or crop, not 'stretch'",
    "fit vae screw --batch-size 0": "--data.batch_size 0 is not positive",
    "fit vae screw --workers -1": "--data.num_workers -1 is negative; 0 loads in the training process",
    "fit resnet18 screw --fold 7": "--data.fold 7 does not lie between 0 and 4 (--data.folds 5), nor is it all",
    "fit resnet18 screw --fold x": "--data.fold expects int or all or null, not 'x'",
    "fit resnet18 screw --optimizer sgdd": "--model.optimizer expects adam or adamw or sgd, not 'sgdd'; did you mean "
    "'sgd'?",
    "fit vae screw --lr fast": "--model.learning_rate expects float, not 'fast'",
    "fit vae screw --lr -1": "--model.learning_rate should be greater than or equal to 0, not '-1'",
    "fit vae screw --latent-dim 0": "--model.latent_dim should be greater than or equal to 1, not '0'",
    "fit padim screw --resume_ x": "unknown option '--resume_'; did you mean '--resume'?",
    "sweep --models padim,vae --categories screw --epochs two": "--trainer.max_epochs expects int or null, not 'two'",
    "sweep --models vae --categories screw --set lr=.1,fast": "--model.learning_rate expects float, not 'fast'",
    "fit vae screw --batchsize 8": "unknown option '--batchsize'; did you mean '--data.batch_size'?",
    "fit vae screw --epoch 8": "unknown option '--epoch'; did you mean '--trainer.max_epochs'?",
    "fit vae screw --num-epochs 8": "unknown option '--num-epochs'; did you mean '--trainer.max_epochs'?",
    "fit vae screw --model.lr 8": "unknown option '--model.lr'; did you mean '--model.learning_rate'?",
    "fit vae screw --img-size 64": "unknown option '--img-size'; did you mean '--data.image_size'?",
    "fit vae screw --catgory x": "unknown option '--catgory'; did you mean '--category'?",
    "fit vae screw --frobnicate": "unknown option '--frobnicate'; 'bench fit --model vae --help' lists them",
    "fit vae screw --momentum .9": "vae has no setting 'momentum': leave out --momentum",
    "fit vae screw --dampening .9": "unknown option '--dampening'; 'bench fit --model vae --help' lists them",
    "fit vae screw --lr": "--lr expects a value",
    "fit vae screw --epochs --lr 1": "--epochs expects a value",
    "fit vae screw carpet": "'carpet' belongs to no option; see 'bench fit --help'",
    "fit vae screw --resume runs/vae/x": "nothing to resume in runs/vae/x: no config.yaml",
    "fit vae screw --config my.yaml": "no file my.yaml",
    "test": "no run; name its folder: --run runs/MODEL/CATEGORY/FINGERPRINT",
    "test --run runs/vae": "no record at runs/vae",
    "test --runs runs/vae": "unknown option '--runs'; did you mean '--run'?",
    "report runs/vae": "no record at runs/vae",
    "compare runs/a runs/b": "no record at runs/a",
    "predict full --run runs/vae": "no record at runs/vae",
    "predict full --run runs/vae --out full": "full is there already; name another folder with --out, or remove it",
    "leaderboard nowhere": "no folder of records nowhere",
    "serve nowhere": "no folder of records nowhere",
    "sweep --models vaee --categories screw": "unknown model 'vaee'; did you mean 'vae'?",
    "sweep ablation": "no sweep file ablation; there are: attempts, attempts_lite0, attempts_mobilenetv2, "
    "long_tail_lite0, long_tail_mobilenetv2, padim_ablation, shots",
    "sweep --models vae --categories scrw --root here": "unknown category 'scrw'; did you mean 'screw'?",
    "sweep --models padim,knn --categories screw --lr .1": "padim does not train: leave out --lr",
    "sweep --models vae --categories screw --set epoch=1,2": "unknown option '--epoch'; did you mean "
    "'--trainer.max_epochs'?",
    "sweep --models vae --categories screw --launcher slrum": "unknown launcher 'slrum'; did you mean 'slurm'?",
    "sweep --models vae --categories screw --launcher slurm --workers 4": "slurm has no setting 'workers': leave out "
    "--workers",
    "study ablation": "no sweep file ablation; there are: attempts, attempts_lite0, attempts_mobilenetv2, "
    "long_tail_lite0, long_tail_mobilenetv2, padim_ablation, shots",
    "data describe --category scrw --data.root here": "unknown category 'scrw'; did you mean 'screw'?",
    "data export --format coco --category screw --data.root nowhere": "no data folder at nowhere; name the folder that "
    "holds the categories: --data.root or BENCH_DATA",
    "data export --format coco --category screw --data.root here --out full": "full holds something that is no export "
    "of bench; name another folder: --out FOLDER",
    "data chek": "unknown command of bench data 'chek'; did you mean 'check'?",
}

# Runs each line of standard input, and tells its status, what it printed, and whether torch was imported by then.
RUN_ALL = """
import contextlib, io, json, shlex, sys
from bench.cli.main import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(shlex.split(line))
    print(json.dumps([status, out.getvalue(), err.getvalue(), "torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def answers(data_root, tmp_path_factory) -> Mapping[str, list[Any]]:
    """What a single process answers to all mistakes, one after the other."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("mine")
    (folder / "here").symlink_to(data_root)
    shutil.copytree(data_root, folder / "unmasked")
    next((folder / "unmasked/screw/ground_truth/blob").iterdir()).unlink()
    statistics = {"bn.running_mean": np.zeros(3, np.float32), "bn.running_var": np.ones(3, np.float32)}
    save_file(statistics, folder / "folded.safetensors")
    typed = "".join(f"{words}\n" for words in MISTAKES)
    command = [sys.executable, "-c", RUN_ALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BENCH_DATA", raising=False)
        done = subprocess.run(command, input=typed, cwd=folder, capture_output=True, text=True, check=True)
    assert [
        path.name for path in folder.iterdir() if path.name not in ("full", "here", "unmasked", "folded.safetensors")
    ] == []
    return dict(zip(MISTAKES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line_that_is_right_and_needs_no_torch(answers, words):
    status, stdout, stderr, with_torch = answers[words]
    assert stdout == ""
    assert stderr.startswith(f"bench: {MISTAKES[words]}"), stderr
    assert stderr.count("\n") == 1
    assert status == 2
    assert not with_torch


@pytest.mark.parametrize(
    "words", [words for words in MISTAKES if words.startswith("fit") and " expects " in MISTAKES[words]]
)
def test_the_parser_of_all_settings_says_the_same_of_a_value(bench, words):
    """The check before torch and the one after it have the same words: `--print_config` asks the second alone."""
    outcome = bench(*shlex.split(words), "--print_config")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(f"bench: {MISTAKES[words]}")


@pytest.mark.parametrize("words", MEANT)
def test_what_is_meant_is_read_alike_before_the_classes_are_imported(words):
    """A type that stands in a class's file is the type that the class has."""
    from bench.cli.commands.fit import read_words
    from bench.cli.commands.fit import run as fit
    from bench.config.settings import read_typed, resolve

    known = fit.read(shlex.split(words)[1:])
    files, layers, options = read_words(known)
    settings = flatten(resolve(model=known.model, data=known.data, category=known.category, files=files,
                               options=options).settings)  # fmt: skip
    typed = read_typed(layers.model, layers.data, options)
    assert typed == {name: settings[name] for name in typed}
    assert set(options) - set(typed) <= {"trainer.devices", "trainer.precision"}


@pytest.mark.parametrize("words", MEANT)
def test_what_is_meant_is_used_is_meant_is_used_as_if_it_were_typed_in_full(bench, words):
    outcome = bench(*shlex.split(words), "--print_config")
    assert (outcome.status, outcome.stderr) == (0, "")
    settings = flatten(yaml.safe_load(outcome.stdout))
    assert {name: settings[name] for name in MEANT[words]} == MEANT[words]


def test_a_sweep_takes_the_same_words(bench, data_root):
    options = (
        "--models padim,vae --categories screw --weights none --epochs 3 --set lr=.1,.2 --workers 0 --dry-run --json"
    )
    outcome = bench("sweep", *options.split(), "--root", data_root)
    assert outcome.status == 0, outcome.stderr
    cells = [(cell["model"], cell["variant"]) for cell in json.loads(outcome.stdout)]
    assert cells == [("padim", ""), ("vae", "learning_rate=.1"), ("vae", "learning_rate=.2")]


def test_a_test_takes_them_as_well(bench, finished):
    outcome = bench("test", "--run", finished, "--device", "cpu", "--json")
    assert outcome.status == 0, outcome.stderr


@pytest.mark.parametrize(("words", "same"), [("help", "--help"), ("help fit", "fit --help"), ("list", "models")])
def test_other_words_for_commands(bench, words, same):
    assert bench(*words.split()).stdout == bench(*same.split()).stdout != ""


@pytest.mark.parametrize("words", ["describe screw", "describe --category screw"])
def test_a_category_is_described_under_either_spelling_and_that_is_said_first(bench, data_root, monkeypatch, words):
    monkeypatch.delenv("BENCH_QUIET")
    outcome = bench("data", *words.split(), "--data.root", data_root)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr.splitlines()[0] == "bench: describing screw (mvtec_ad)"


def test_a_sweep_says_what_it_plans_before_it_is_planned_and_quiet_is_an_option(bench, data_root, monkeypatch):
    monkeypatch.delenv("BENCH_QUIET")
    sweep = ("sweep", "--models", "vae,padim", "--categories", "screw", "--weights", "none", "--dry-run")
    said = bench(*sweep, "--data.root", data_root).stderr
    assert said.splitlines()[0] == "bench: planning: 2 methods on screw, their images are read"
    assert bench(*sweep, "--data.root", data_root, "--quiet").stderr == ""
    assert "BENCH_QUIET" not in os.environ
    for command in ("fit", "sweep", "predict"):
        assert "--quiet" in bench(command, "--help").stdout
