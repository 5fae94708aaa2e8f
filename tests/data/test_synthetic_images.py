"""The procedural dataset: layout, determinism, exact masks, no way to tell defects but by the defects."""

import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from bench.data.synthetic import images as synthetic_images
from bench.data.synthetic.images import CATEGORIES, DEFECTS, HARD, PERCEPTIBLE, Shot, draw, draw_twin, generate, shots

SIZE = 64
DEFECTIVE = [shot for category in CATEGORIES for shot in shots(category) if shot.kind != "good"]
TYPES = [(category, kind) for category in CATEGORIES for kind in DEFECTS[category]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both categories, made once for all tests that only read."""
    root = tmp_path_factory.mktemp("synthetic")
    for category in CATEGORIES:
        generate(category, root / category, size=SIZE)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def mask_of(root: Path, shot: Shot) -> np.ndarray:
    return pixels(root / shot.category / "ground_truth" / shot.kind / f"{shot.number:03}_mask.png")


def change(shot: Shot) -> np.ndarray:
    """By how many grey levels a defect changes each pixel of the saved image, in the channel it changes most."""
    picture, twin = (np.rint(np.clip(image, 0, 255)) for image in (draw(shot, SIZE), draw_twin(shot, SIZE)))
    return np.abs(picture - twin).reshape(SIZE, SIZE, -1).max(axis=2)


# What is on the disk


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_layout_is_that_of_mvtec_ad(root, category):
    folders = {str(path.parent.relative_to(root / category)) for path in (root / category).rglob("*.png")}
    defects = {f"{part}/{kind}" for kind in DEFECTS[category] for part in ("test", "ground_truth")}
    assert folders == {"train/good", "test/good"} | defects


@pytest.mark.parametrize("category", CATEGORIES)
def test_there_are_80_training_and_59_test_images(root, category):
    assert len(list((root / category).glob("train/good/*.png"))) == 80
    assert len(list((root / category).glob("test/good/*.png"))) == 19
    assert [len(list((root / category / "test" / kind).iterdir())) for kind in DEFECTS[category]] == [8] * 5


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_defective_image_has_a_mask_under_its_number(root, category):
    images = {f"{path.parent.name}/{path.stem}_mask" for path in (root / category).glob("test/*/*.png")}
    masks = {f"{path.parent.name}/{path.stem}" for path in (root / category).glob("ground_truth/*/*.png")}
    assert masks == {image for image in images if not image.startswith("good/")}


@pytest.mark.parametrize(("category", "mode"), [("screw", "L"), ("carpet", "RGB")])
def test_images_good_or_not_are_of_one_kind(root, category, mode):
    kinds = set()
    for path in [path for split in ("train", "test") for path in (root / category / split).rglob("*.png")]:
        with Image.open(path) as image:
            kinds.add((image.mode, image.size, *image.info))
    assert kinds == {(mode, (SIZE, SIZE))}


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_two_images_are_the_same(root, category):
    images = [path.read_bytes() for split in ("train", "test") for path in (root / category / split).rglob("*.png")]
    assert len(set(images)) == len(images)


# Determinism


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_same_bytes_come_again_whatever_the_threads_and_global_seeds(root, category, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.synthetic.images.available_cores", lambda: 1)
    np.random.seed(5)
    generate(category, tmp_path / "again", size=SIZE)
    assert contents(tmp_path / "again") == contents(root / category)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_smaller_picture_shows_the_same_scene(category):
    shot = Shot(category, "train", "good", 0)
    large, small = draw(shot, 256), draw(shot, 128)
    halved = large.reshape(128, 2, 128, 2, -1).mean(axis=(1, 3))
    assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.95


# Masks


@pytest.mark.parametrize("shot", DEFECTIVE, ids=lambda shot: f"{shot.category}-{shot.kind}-{shot.number}")
def test_a_mask_is_where_the_image_differs_from_its_twin_without_the_defect(root, shot):
    mask, levels = mask_of(root, shot) > 0, change(shot)
    assert not levels[ndimage.distance_transform_edt(~mask) > SIZE / 16].any()
    assert levels[~mask].max() <= PERCEPTIBLE + 1  # one for rounding; what is left around the mask is too faint to see
    assert (levels[mask] >= PERCEPTIBLE - 1).mean() > 0.75


def test_masks_have_their_image_size_two_values_and_one_channel(root):
    for shot in DEFECTIVE:
        mask = mask_of(root, shot)
        assert mask.shape == (SIZE, SIZE)
        assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize("size", [16, 48])
def test_no_mask_is_empty_however_small_the_image(size):
    for shot in DEFECTIVE:
        assert synthetic_images.changed(draw(shot, size), draw_twin(shot, size)).any()


# Difficulty, and no shortcut


@pytest.mark.parametrize(("category", "kind"), TYPES)
def test_hard_defects_change_the_image_less_than_obvious_ones(category, kind):
    total = [change(Shot(category, "test", kind, number)).sum() for number in range(8)]
    obvious = [total[number] for number in range(8) if number not in HARD]
    assert max(total[number] for number in HARD) < min(obvious)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("statistic", [np.mean, np.std, lambda image: np.abs(np.diff(image, axis=1)).mean()])
def test_good_test_images_and_scenes_of_defects_are_like_training_images(root, category, statistic):
    train = np.array([statistic(pixels(path)) for path in (root / category / "train" / "good").iterdir()])
    good = np.array([statistic(pixels(path)) for path in (root / category / "test" / "good").iterdir()])
    scenes = np.array([statistic(draw_twin(shot, SIZE)) for shot in DEFECTIVE if shot.category == category])
    for other in (good, scenes):
        standard_error = np.hypot(train.std() / np.sqrt(len(train)), other.std() / np.sqrt(len(other)))
        assert abs(train.mean() - other.mean()) < 3 * standard_error


# One complete folder, or none


def test_an_unknown_category_is_an_error_that_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'zipper'.*screw, carpet"):
        generate("zipper", tmp_path / "zipper")


def test_a_folder_that_exists_is_kept(tmp_path):
    (tmp_path / "screw").mkdir()
    (tmp_path / "screw" / "mine.txt").touch()
    generate("screw", tmp_path / "screw", size=16)
    assert contents(tmp_path) == {"screw/mine.txt": b""}


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(picture, path):
        raise OSError("disk full")

    monkeypatch.setattr(synthetic_images, "_save", fail)
    with pytest.raises(OSError, match="disk full"):
        generate("screw", tmp_path / "screw", size=16)
    assert list(tmp_path.iterdir()) == []


def test_who_finishes_second_leaves_the_first_ones_folder_alone(tmp_path, monkeypatch):
    def rename_too_late(self, target):
        target.mkdir()
        (target / "first.txt").touch()
        os.rename(self, target)  # noqa: PTH104

    monkeypatch.setattr(Path, "rename", rename_too_late)
    generate("screw", tmp_path / "screw", size=16)
    assert contents(tmp_path) == {"screw/first.txt": b""}


def generate_when_all_are_ready(barrier: Barrier, folder: Path) -> None:
    barrier.wait(timeout=60)
    generate("screw", folder, size=SIZE)


def test_two_processes_at_once_leave_one_complete_folder(root, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    racers = [spawn.Process(target=generate_when_all_are_ready, args=(barrier, tmp_path / "screw")) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(timeout=120)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["screw"]
    assert contents(tmp_path / "screw") == contents(root / "screw")
