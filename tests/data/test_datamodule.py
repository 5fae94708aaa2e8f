"""What the datamodule hands to training and test."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.data.datamodule import DefectData
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.datasets.synthetic import Synthetic
from bench.data.loading import cores_per_process
from bench.errors import UsageError


def _screw(data_root: Path, **settings) -> DefectData:
    data = MVTecAD("screw", 0, "model", root=str(data_root), image_size=32, **settings)
    data.prepare_data()
    return data


def _epoch(data: DefectData, epoch: int = 0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_an_epoch_of_more_samples_than_images_uses_every_image_as_often(data_root):
    data = _screw(data_root, samples_per_epoch=50, batch_size=8)
    batches = _epoch(data)
    uses = Counter(torch.cat([batch.indices for batch in batches]).tolist())
    assert [len(batch.image) for batch in batches] == [8] * 6 + [2]
    assert set(uses) == set(data.training_indices)
    assert max(uses.values()) - min(uses.values()) <= 1


def test_an_image_drawn_twice_in_an_epoch_is_changed_differently(data_root):
    data = _screw(data_root, samples_per_epoch=40, batch_size=40, augmentation="symmetries")
    batch = _epoch(data)[0]
    first = batch.indices[0]
    same = batch.image[batch.indices == first]
    assert len(same) > 1
    assert not torch.equal(same[0], same[1])


def test_an_epoch_draws_the_same_again_and_the_next_one_something_else(data_root):
    data = _screw(data_root, samples_per_epoch=20, augmentation="symmetries")
    first, again, other = (_epoch(data, epoch)[0].image for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_textures_are_learned_in_patches_and_tested_whole(tmp_path):
    data = Synthetic("carpet", 0, "model", root=str(tmp_path), image_size=64, texture_patch=16)
    data.prepare_data()
    assert data.spec.patch == 16
    assert _epoch(data)[0].image.shape[2:] == (16, 16)
    assert data.test_batch([0]).image.shape[2:] == (64, 64)


def test_objects_are_learned_whole_whatever_the_patch_of_textures(data_root):
    data = _screw(data_root, texture_patch=16)
    assert data.spec.patch is None
    assert _epoch(data)[0].image.shape[2:] == (32, 32)


def test_a_category_in_random_poses_is_not_mvtecs_own_and_not_aligned(data_root):
    data = _screw(data_root, random_pose=True, crop=24)
    assert "images rotated within 10 degrees and cropped at random" in data.differences
    assert not data.official
    assert not data.spec.aligned
    batch = data.test_batch([0, 1])
    assert batch.image.shape[2:] == (24, 24)
    assert all(mask.shape == (24, 24) for mask in batch.mask)


def test_statistics_are_collected_in_the_poses_of_the_dataset(data_root):
    posed, still = _screw(data_root, random_pose=True, crop=24), _screw(data_root, crop=24)
    images = [next(iter(data.ordered_train_loader([0]))).image for data in (posed, still)]
    assert images[0].shape == images[1].shape
    assert not torch.equal(*images)


def test_a_patch_larger_than_the_texture_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--data\.texture_patch 128 is larger than the 64 pixels"):
        _ = Synthetic("carpet", 0, "model", root=str(tmp_path), image_size=64, texture_patch=128).spec


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"random_pose": True}, "--data.crop"),
        ({"texture_patch": 8}, "--data.texture_patch"),
        ({"samples_per_epoch": 0}, "--data.samples_per_epoch"),
    ],
)
def test_settings_that_cannot_be_are_refused(data_root, settings, word):
    with pytest.raises(UsageError, match=word):
        MVTecAD("screw", 0, "model", root=str(data_root), image_size=32, **settings)


@pytest.mark.parametrize("augmentation", ["none", "symmetries"])
def test_batches_of_loader_processes_are_those_of_the_training_process(data_root, augmentation):
    drawn = []
    for workers in (0, 2):
        data = _screw(data_root, samples_per_epoch=30, batch_size=8, augmentation=augmentation, num_workers=workers)
        torch.manual_seed(0)
        drawn.append([(batch.image, batch.indices) for batch in _epoch(data, 1)])
        after = torch.rand(1)
        drawn[-1].append((after, after))
    assert len(drawn[0]) == 5
    for one, other in zip(*drawn, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _workers(data: DefectData, device: str) -> int:
    """How many loader processes training on this device gets."""
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    return data.train_dataloader().num_workers


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine has cores
@pytest.mark.parametrize(
    ("device", "augmentation", "cores", "expected"),
    [
        ("cuda", "symmetries", 16, 8),
        ("cuda", "symmetries", 3, 3),
        ("cuda", "none", 16, 0),
        ("cpu", "symmetries", 16, 0),
    ],
)
def test_loader_processes_are_for_augmentation_on_a_gpu(data_root, monkeypatch, device, augmentation, cores, expected):
    monkeypatch.setattr("bench.data.datamodule.cores_per_process", lambda: cores)
    assert _workers(_screw(data_root, augmentation=augmentation), device) == expected


def test_loader_processes_can_be_named(data_root, monkeypatch):
    monkeypatch.setattr("bench.data.datamodule.cores_per_process", lambda: 16)
    assert _workers(_screw(data_root, augmentation="symmetries", num_workers=2), "cuda") == 2
    with pytest.raises(UsageError, match=r"--data\.num_workers -1 is negative"):
        _screw(data_root, num_workers=-1)


@pytest.mark.parametrize(
    ("variables", "threads", "expected"),
    [
        ({}, 16, 16),
        ({}, 4, 4),  # a worker of a sweep
        ({"LOCAL_WORLD_SIZE": "4"}, 16, 4),
        ({"LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "a"}, 1, 4),
        ({"LOCAL_WORLD_SIZE": "32"}, 1, 1),
    ],
)
def test_processes_of_a_machine_share_its_cores(monkeypatch, variables, threads, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    for name in ("LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cores_per_process() == expected
