"""Images are decoded once; what the cache holds is what Pillow would have given."""

import multiprocessing
import os
import shutil
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.cache import begin_run, cached_images, cached_masks
from bench.data.geometry import Geometry
from bench.data.images import read_image
from bench.data.layout import Sample, read_category
from bench.data.masks import read_mask
from bench.errors import UsageError
from fake_data import SIDE, save, weave, write_category

SMALL = Geometry(32)


def test_images_are_those_that_pillow_resizes_bilinearly_with_antialiasing(data_root, tmp_path):
    category = read_category(data_root, "screw")
    found = np.load(cached_images(category, category.train, SMALL, tmp_path / "images"))
    expected = [read_image(s.path).resize((32, 32), Image.Resampling.BILINEAR) for s in category.train]
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.stack([np.asarray(image) for image in expected]))


def test_resizing_is_antialiased_as_torch_understands_it(data_root, tmp_path):
    import torch  # here, or the processes below would wait for it

    category = read_category(data_root, "screw")
    found = np.load(cached_images(category, category.test, Geometry(16), tmp_path / "images"))
    for sample, image in zip(category.test, found, strict=True):
        pixels = torch.from_numpy(np.asarray(read_image(sample.path)).copy()).permute(2, 0, 1)[None].float()
        expected = torch.nn.functional.interpolate(pixels, size=(16, 16), mode="bilinear", antialias=True)[0]
        assert (expected.permute(1, 2, 0) - torch.from_numpy(image)).abs().max() <= 1


def test_the_crop_is_the_centre_of_the_resized_image(data_root, tmp_path):
    category = read_category(data_root, "screw")
    whole = np.load(cached_images(category, category.test, SMALL, tmp_path / "images"))
    cropped = np.load(cached_images(category, category.test, Geometry(32, crop=20), tmp_path / "images"))
    assert np.array_equal(cropped, whole[:, 6:26, 6:26])


def test_masks_are_ones_at_the_nearest_pixels_of_defects_and_zeros_for_good_images(data_root, tmp_path):
    category = read_category(data_root, "screw")
    found = np.load(cached_masks(category, category.test, Geometry(SIDE), tmp_path / "images"))
    for sample, mask in zip(category.test, found, strict=True):
        expected = read_mask(sample.mask) if sample.mask else np.zeros((SIDE, SIDE), bool)
        assert np.array_equal(mask, expected.astype(np.uint8))


def test_grey_images_keep_one_channel(tmp_path):
    folder = write_category(tmp_path / "data")
    for path in [*folder.glob("train/good/*"), *folder.glob("test/*/*")]:
        save(weave(SIDE, path.name)[:, :, 0], path)
    category = read_category(tmp_path / "data", "screw")
    found = np.load(cached_images(category, category.train, SMALL, tmp_path / "images"))
    assert found.shape == (12, 32, 32, 1)


def test_a_warm_cache_decodes_nothing(data_root, tmp_path, monkeypatch):
    category = read_category(data_root, "screw")
    first = cached_images(category, category.train, SMALL, tmp_path / "images")
    monkeypatch.setattr(Sample, "read_image", lambda sample: pytest.fail(f"{sample.path} was decoded again"))
    assert cached_images(category, category.train, SMALL, tmp_path / "images") == first


def test_the_same_content_is_found_again_below_another_root(data_root, tmp_path):
    shutil.copytree(data_root, tmp_path / "elsewhere")
    first, second = (read_category(root, "screw") for root in (data_root, tmp_path / "elsewhere"))
    folder = tmp_path / "images"
    assert cached_images(first, first.train, SMALL, folder) == cached_images(second, second.train, SMALL, folder)


def test_changed_content_makes_another_file(own_category, tmp_path):
    before = read_category(own_category.parent, "screw")
    old = cached_images(before, before.train, SMALL, tmp_path / "images")
    changed = save(weave(SIDE, "changed"), own_category / "train" / "good" / "005.png")
    after = read_category(own_category.parent, "screw")
    new = cached_images(after, after.train, SMALL, tmp_path / "images")
    assert new != old
    resized = read_image(changed).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(np.load(new)[5], np.asarray(resized))


@pytest.mark.parametrize("other", [Geometry(24), Geometry(32, crop=20)])
def test_another_geometry_makes_another_file(data_root, tmp_path, other):
    category = read_category(data_root, "screw")
    files = {cached_images(category, category.train, g, tmp_path / "images") for g in (SMALL, other)}
    assert len(files) == 2


def test_two_processes_that_build_the_same_cache_at_once_end_with_one_right_array(data_root, tmp_path):
    folder = tmp_path / "images"
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    workers = [context.Process(target=_build, args=(data_root, folder, start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    (array,) = folder.glob("*.npy")
    assert {path.suffix for path in folder.iterdir()} <= {".npy", ".lock"}
    category = read_category(data_root, "screw")
    alone = cached_images(category, category.train, SMALL, tmp_path / "alone")
    assert array.read_bytes() == alone.read_bytes()


def test_a_mistake_in_the_middle_leaves_no_file(own_category, tmp_path):
    image = own_category / "train" / "good" / "007.png"
    image.write_bytes(image.read_bytes()[:-100])
    category = read_category(own_category.parent, "screw")
    with pytest.raises(UsageError, match=r"007\.png is damaged"):
        cached_images(category, category.train, SMALL, tmp_path / "images")
    assert not [path for path in (tmp_path / "images").iterdir() if path.suffix != ".lock"]


def test_a_cache_folder_that_is_a_file_is_named(data_root, tmp_path):
    (tmp_path / "images").write_text("in the way")
    category = read_category(data_root, "screw")
    with pytest.raises(UsageError, match=f"cannot write the image cache in {tmp_path / 'images'}.*BENCH_CACHE"):
        cached_images(category, category.train, SMALL, tmp_path / "images")


def damage(path: Path, how: str) -> None:
    """What a failing disk, a full one and a power cut leave."""
    content = bytearray(path.read_bytes())
    if how == "changed":
        content[len(content) // 2] ^= 255
    path.write_bytes(content if how == "changed" else content[: {"cut": len(content) // 2, "empty": 0}[how]])


@pytest.mark.parametrize("how", ["changed", "cut", "empty"])
def test_a_damaged_file_is_found_out_once_a_run_and_made_again(data_root, tmp_path, how, capsys):
    category = read_category(data_root, "screw")
    path = cached_images(category, category.train, SMALL, tmp_path / "images")
    whole = path.read_bytes()
    damage(path, how)
    begin_run()
    assert cached_images(category, category.train, SMALL, tmp_path / "images") == path
    assert path.read_bytes() == whole
    assert capsys.readouterr().err == f"bench: {path} was damaged on the disk; it is made again from the images\n"


def test_a_whole_file_in_a_folder_that_is_only_read_needs_no_writing(data_root, tmp_path, monkeypatch):
    category = read_category(data_root, "screw")
    cached_images(category, category.train, SMALL, tmp_path / "images")
    begin_run()
    monkeypatch.setattr("bench.data.cache.FileLock", lambda path: pytest.fail("it was to be written"))
    cached_images(category, category.train, SMALL, tmp_path / "images")


def test_what_a_killed_process_left_goes_after_a_day(data_root, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, age in (("old.partial", 2 * 86400), ("new.partial", 60)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    category = read_category(data_root, "screw")
    cached_images(category, category.train, SMALL, folder)
    assert [path.name for path in folder.glob("*.partial")] == ["new.partial"]


def _build(root: Path, folder: Path, start: Barrier) -> None:
    category = read_category(root, "screw")
    _ = category.hashes, category.channels
    start.wait(60)
    cached_images(category, category.train, SMALL, folder)
