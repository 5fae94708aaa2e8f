"""Which GPUs a launcher gives to its workers."""

from types import SimpleNamespace

import pytest

from bench.config.settings import resolve
from bench.errors import UsageError
from bench.sweep.launchers.local import LocalLauncher, _visible_gpus
from bench.sweep.launchers.ray_cluster import RayLauncher


def _tasks(accelerator: str = "auto") -> list:
    config = resolve(model="padim", data=None, category="screw", files=[], options={"trainer.accelerator": accelerator})
    return [SimpleNamespace(cell=SimpleNamespace(config=config))]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("-1", []),
        ("", []),
        ("none", []),
        ("NoDevFiles", []),
        ("0,2", ["0", "2"]),
        ("3, 1", ["3", "1"]),
        ("0,-1,1", ["0"]),
        ("GPU-8932f937,MIG-3f", ["GPU-8932f937", "MIG-3f"]),
    ],
)
def test_the_words_of_cuda_visible_devices_are_read_as_cuda_does(monkeypatch, named, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert _visible_gpus() == expected


def test_workers_are_as_many_as_cores_where_the_system_does_not_tell_which_are_its_own(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert [each["OMP_NUM_THREADS"] for each in LocalLauncher()._environments(_tasks())] == ["1", "1"]


def test_without_a_gpu_workers_divide_the_cores(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    launcher = LocalLauncher(workers=2)
    assert all("CUDA_VISIBLE_DEVICES" not in each for each in launcher._environments(_tasks()))


@pytest.mark.parametrize(
    ("asked", "resources", "accelerator", "expected"),
    [
        ("auto", {"CPU": 4, "GPU": 2}, "auto", 1),
        ("auto", {"CPU": 4}, "auto", 0),
        ("auto", {"CPU": 4, "GPU": 2}, "cpu", 0),
        (0.5, {"CPU": 4, "GPU": 2}, "auto", 0.5),
        (0, {"CPU": 4, "GPU": 2}, "auto", 0),
    ],
)
def test_a_cell_on_ray_gets_a_gpu_where_the_cluster_has_one(asked, resources, accelerator, expected):
    assert RayLauncher(gpus=asked)._gpus(_tasks(accelerator), resources) == expected


def test_more_gpus_than_a_ray_cluster_has_are_refused():
    with pytest.raises(UsageError, match=r"--launcher.gpus 3 is more than the 2 of the cluster"):
        RayLauncher(gpus=3)._check_resources({"CPU": 4, "GPU": 2}, 3)
