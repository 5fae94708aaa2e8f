"""The predict.py of an export makes the same pixels of a photo as bench, for photos of all kinds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.geometry import Geometry
from bench.data.images import read_image
from bench.errors import UsageError
from bench.export.metadata import preprocessing
from bench.export.predict_script import fit, read
from bench.runs.scoring.scorer import FinishedRun

onnxruntime = pytest.importorskip("onnxruntime")

SIZES = [(int(width), int(height)) for width, height in np.random.default_rng(0).integers(20, 400, (100, 2))]


def move_exif_behind_pixels(path: Path) -> None:
    """Write a PNG's `eXIf` chunk again, after its pixels."""
    content, chunks, start = path.read_bytes(), [], 8
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        chunks.append(content[start:end])
        start = end
    chunks.sort(key=lambda chunk: {b"eXIf": 1, b"IEND": 2}.get(chunk[4:8], 0))
    path.write_bytes(content[:8] + b"".join(chunks))


def facts_of(geometry: Geometry, channels: int, bits: int = 16) -> dict:
    """What the file of such a run says."""

    class Run:
        spec = type("Spec", (), {"channels": channels})

        class config:  # noqa: N801
            settings = {"data": {"bits": bits}}  # noqa: RUF012

    Run.geometry = geometry
    return preprocessing(Run)


GEOMETRIES = [
    Geometry(64),
    Geometry(64, 56, "bicubic"),
    Geometry(64, aspect="pad"),
    Geometry(48, aspect="crop"),
    Geometry(48, 41, "bicubic", "crop"),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_photos_of_a_hundred_sizes_become_the_run_s_pixels_to_the_bit(geometry):
    rng = np.random.default_rng(1)
    for number, size in enumerate([*SIZES, (64, 64), (48, 48), (90, 90)]):
        mode = "RGB" if number % 3 else "L"
        values = rng.integers(0, 256, (*size[::-1], 3)[: 3 if mode == "RGB" else 2], dtype=np.uint8)
        photo, channels = Image.fromarray(values), 3 if mode == "RGB" or number % 2 else 1
        pixels, box = fit(photo, facts_of(geometry, channels))
        assert np.array_equal(pixels[0], geometry.pixels(photo, channels)), size
        assert tuple(box) == geometry.content(size), size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_photo_is_turned_by_its_exif_tag_as_bench_turns_it(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(values).save(path, exif=exif)
    found = read(path, facts_of(Geometry(64), 3))
    assert np.array_equal(np.asarray(found), np.asarray(read_image(path)))


def test_other_kinds_of_pixels_are_read_as_bench_reads_them(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    colour = Image.fromarray(np.stack([grey, grey.T.reshape(20, 30), 255 - grey], axis=2))
    photos = {
        "grey": Image.fromarray(grey),
        "bits": Image.fromarray(grey > 99),
        "palette": colour.quantize(16),
        "opaque": colour.convert("RGBA"),
        "grey and opaque": Image.fromarray(grey).convert("LA"),
        "deep": Image.fromarray(grey.astype(np.uint16) * 16),
    }
    for name, photo in photos.items():
        path = tmp_path / f"{name}.png"
        photo.save(path)
        found, expected = read(path, facts_of(Geometry(64), 3, bits=12)), read_image(path, 12)
        assert (found.mode, found.size) == (expected.mode, expected.size), name
        assert np.array_equal(np.asarray(found), np.asarray(expected)), name


def test_what_cannot_be_read_exactly_is_refused_where_bench_refuses_it(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    clear = Image.fromarray(grey).convert("RGBA")
    clear.putalpha(100)
    clear.save(tmp_path / "clear.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(tmp_path / "deep.png")
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float.tif")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(grey).save(tmp_path / "turned.png", exif=turned)
    move_exif_behind_pixels(tmp_path / "turned.png")
    pages = [Image.fromarray(grey)] * 2
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(UsageError):
            read_image(path, 12)
        with pytest.raises(ValueError, match=path.name):
            read(path, facts_of(Geometry(64), 3, bits=12))


def test_a_run_of_grey_images_takes_grey_ones_in_colour_files_and_no_others(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey, grey, 255 - grey], axis=2)).save(tmp_path / "colour.png")
    facts = facts_of(Geometry(64), 1)
    assert np.array_equal(np.asarray(read(tmp_path / "grey.png", facts)), grey)
    with pytest.raises(ValueError, match="learned from grey images"):
        read(tmp_path / "colour.png", facts)
    assert FinishedRun.pixels, "which says the same of them"
