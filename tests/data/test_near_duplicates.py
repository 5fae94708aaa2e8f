"""Near-duplicates: the same photograph again, and not another one of the same kind."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from bench.data.geometry import Geometry
from bench.data.images import read_image
from bench.data.near_duplicates import near_duplicates
from bench.data.synthetic.images import draw, shots

REAL = os.environ.get("BENCH_DATA")
COUNT = 12


def _small(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(Geometry(64).apply(picture, Image.Resampling.BILINEAR)).reshape(64, 64, -1)


def _as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=75)
    return Image.open(file).convert(picture.mode)


def _brighter(picture: Image.Image) -> Image.Image:
    return picture.point(lambda value: min(255, round(1.02 * value)))


def _halved(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BILINEAR)


AGAIN = {
    "the same bytes": lambda picture: picture,
    "a JPEG": _as_jpeg,
    "a brighter one": _brighter,
    "half the size": _halved,
    "all of it": lambda picture: _halved(_as_jpeg(_brighter(picture))),
}


@pytest.fixture(scope="module", params=["screw", "carpet"])
def pictures(request) -> list[Image.Image]:
    """Different photographs of a synthetic category, some with defects."""
    some = list(shots(request.param))[:: 139 // COUNT][:COUNT]
    return [Image.fromarray(np.clip(draw(shot, 256), 0, 255).astype(np.uint8)) for shot in some]


@pytest.mark.parametrize("change", AGAIN)
def test_the_same_photograph_again_shares_the_group_and_no_other_does(pictures, change):
    images = np.stack([_small(each) for each in (*pictures, *map(AGAIN[change], pictures))])
    groups = near_duplicates(images)
    assert groups[:COUNT].tolist() == groups[COUNT:].tolist()
    assert len(set(groups)) == COUNT


def test_copies_of_copies_share_one_group(pictures, monkeypatch):
    monkeypatch.setattr("bench.data.near_duplicates._BLOCK", 5)  # the copies lie in different blocks
    chain = [pictures[0], *pictures[1:6], _as_jpeg(pictures[0]), *pictures[6:], _halved(_as_jpeg(pictures[0]))]
    groups = near_duplicates(np.stack([_small(each) for each in chain]))
    assert np.flatnonzero(groups == groups[0]).tolist() == [0, 6, len(chain) - 1]
    assert len(set(groups)) == COUNT


def test_the_same_pattern_in_another_place_is_another_photograph(pictures):
    moved = [Image.fromarray(np.roll(np.asarray(each), 6, axis=1)) for each in pictures]
    groups = near_duplicates(np.stack([_small(each) for each in (*pictures, *moved)]))
    assert len(set(groups)) == 2 * COUNT


def _aligned_object(speckles: int) -> Image.Image:
    """A bright round object, always in the same place, with speckles of its own."""
    y, x = np.mgrid[:256, :256]
    disc = np.clip(110 - np.hypot(y - 128, x - 128), 0, 1)
    noise = gaussian_filter(np.random.default_rng(speckles).standard_normal((256, 256)), 4)
    return Image.fromarray((20 + disc * (170 + 8 * noise / noise.std())).astype(np.uint8))


def test_objects_in_the_same_place_that_differ_in_speckles_are_different():
    objects = [_aligned_object(seed) for seed in range(COUNT)]
    groups = near_duplicates(np.stack([_small(each) for each in (*objects, *map(_as_jpeg, objects))]))
    assert groups[:COUNT].tolist() == groups[COUNT:].tolist()
    assert len(set(groups)) == COUNT


def test_flat_images_and_images_of_noise_are_nobodys_duplicates():
    flat = np.full((3, 64, 64, 1), 200, np.uint8)
    noise = np.random.default_rng(0).integers(198, 202, (3, 64, 64, 1), dtype=np.uint8)
    assert len(set(near_duplicates(np.concatenate([flat, noise])))) == 6


@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="BENCH_DATA is not set")
@pytest.mark.parametrize(("category", "twins"), [("screw", ("053", "173")), ("bottle", ("069", "070"))])
def test_of_the_real_images_only_two_show_one_object_in_one_pose(category, twins):
    folder = Path(REAL) / category  # type: ignore[arg-type]
    paths = [*sorted(folder.glob("train/good/*.png")), *sorted(folder.glob("test/*/*.png"))]
    groups = near_duplicates(np.stack([_small(read_image(path)) for path in paths]))
    good = [folder / "train" / "good" / f"{name}.png" for name in twins]
    assert len(set(groups)) == len(paths) - 1
    assert len({groups[paths.index(path)] for path in good}) == 1
