"""Each benchmark runs at its smallest size: a change that breaks what measures the code is seen as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from fake_data import write_category

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ALONE = ("--turns", "1", "--threads", "1", "--peer-python", "none")
COMMANDS = {
    "frozen_features": ("--root", "data", "--weights", "none", "--sizes", "32", "--per-class", "3"),
    "input_pipeline": ("--epochs", "1"),
    "leaderboard": ("--records", "200", "--turns", "1"),
    "metrics": ("--images", "8", "--size", "32"),
    "onnx_resize": (),
    "padim": ("--root", "data", "--weights", "weights.safetensors", *ALONE),
    "patchcore": ("--root", "data", "--weights", "weights.safetensors", "--images", "4", "--queries", "2", *ALONE),
    "planted_shortcuts": ("5000",),
    "same_figures": ("collect", "figures.json", "trivial"),
    "sweep": ("--samples", "8", "--seeds", "1"),
}
# What needs another package, or is long at its smallest size.
BY_HAND = {"fuzz": "needs atheris", "gpu": "takes minutes on a CPU", "mutation": "takes minutes for one mutant"}


def test_each_benchmark_is_run_or_named_with_the_reason_why_not():
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {*COMMANDS, *BY_HAND}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_runs(name, own_folder):
    write_category(own_folder / "data", defects={"cut": 4, "hole": 4})
    save_file(timm.create_model("mobilenetv2_100").state_dict(), "weights.safetensors")
    command = [sys.executable, BENCHMARKS / f"{name}.py", *COMMANDS[name]]
    environment = os.environ | {"WANDB_MODE": "disabled", "BENCH_QUIET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout or Path("figures.json").exists()
