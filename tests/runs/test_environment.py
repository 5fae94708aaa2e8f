"""On what a run computes, and what its record says of it; other machines by substitution."""

import json

import pytest
import torch

from bench.errors import UsageError
from bench.runs.environment import (
    describe_environment,
    device_of,
    find_accelerator,
    trainer_settings,
    use_full_precision,
)
from bench.runs.plan import check_device
from bench.runs.scoring.scorer import load_run


@pytest.fixture
def mac(monkeypatch):
    """A Mac with Apple's GPU, as torch and Lightning see it."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("lightning.pytorch.accelerators.mps.MPSAccelerator.is_available", lambda *_: True)
    monkeypatch.setattr("lightning.fabric.accelerators.mps.MPSAccelerator.is_available", lambda *_: True)


@pytest.fixture
def gpus(monkeypatch):
    """A machine with four GPUs, each of which has a name of its own."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device=None: f"GPU {torch.device(device or 0).index}")


def test_auto_is_the_cpu_of_a_mac(mac):
    assert find_accelerator("auto") == "cpu"
    assert trainer_settings({"accelerator": "auto", "devices": 1}) == {"accelerator": "cpu", "devices": 1}


def test_auto_is_cuda_where_there_is_one(gpus):
    assert find_accelerator("auto") == "cuda"


def test_a_run_on_a_mac_is_on_its_cpu(mac, bench, quick):
    outcome = bench("fit", *quick, "--trainer.accelerator", "auto", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    record = json.loads(outcome.stdout)
    assert record["cost"]["device"] == "cpu"
    assert record["environment"]["gpu"] is None


def test_a_finished_run_is_loaded_onto_the_cpu_of_a_mac(mac, finished):
    assert load_run(finished).device == torch.device("cpu")


class _Single(torch.nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2, dtype=dtype))


def test_apple_s_gpu_is_refused_for_what_is_held_in_double_precision():
    with pytest.raises(UsageError, match=r"^vae holds double precision, .*; use --trainer.accelerator cpu$"):
        check_device(_Single(torch.float64), torch.device("mps"), "vae")
    check_device(_Single(torch.float32), torch.device("mps"), "vae")
    check_device(_Single(torch.float64), torch.device("cuda"), "vae")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"accelerator": "auto", "devices": 1}, "GPU 0"),
        ({"accelerator": "gpu", "devices": [2]}, "GPU 2"),
        ({"accelerator": "cuda", "devices": "3,"}, "GPU 3"),
        ({"accelerator": "auto", "devices": "auto"}, "GPU 0"),
        ({"accelerator": "cpu", "devices": 2}, None),
    ],
)
def test_a_record_names_the_gpu_that_the_run_computed_on(gpus, settings, expected):
    assert describe_environment(device_of(settings))["gpu"] == expected


def test_a_record_says_that_single_precision_was_single_precision(finished):
    assert json.loads((finished / "record.json").read_text())["environment"]["tf32"] is False


def test_a_record_tells_where_fewer_bits_were_taken():
    use_full_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert describe_environment(torch.device("cpu"))["tf32"] is True
    finally:
        use_full_precision()
    assert describe_environment(torch.device("cpu"))["tf32"] is False
