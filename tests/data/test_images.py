"""What is read is read exactly; everything else is refused, and nothing but a refusal ever comes of a damaged file."""

import os
import struct
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from bench.data.images import read_header, read_image
from bench.errors import UsageError
from fake_data import SIDE, save, weave


def test_a_colour_image_is_read_as_it_is(tmp_path):
    pixels = weave(SIDE, "colour")
    path = save(pixels, tmp_path / "colour.png")
    assert np.array_equal(read_image(path), pixels)
    assert read_header(path).channels == 3


def test_a_grey_image_stays_grey(tmp_path):
    pixels = weave(SIDE, "grey")[:, :, 0]
    path = save(pixels, tmp_path / "grey.png")
    assert np.array_equal(read_image(path), pixels)
    assert read_header(path).channels == 1


def test_an_image_with_a_palette_is_read_in_the_palette_s_colours(tmp_path):
    indices = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 3
    colours = np.array([(10, 20, 30), (200, 0, 7), (0, 255, 128)], np.uint8)
    image = Image.new("P", (SIDE, SIDE))
    image.putpalette(colours.tobytes())
    image.putdata(indices.ravel().tolist())
    image.save(tmp_path / "palette.png")
    assert np.array_equal(read_image(tmp_path / "palette.png"), colours[indices])
    assert read_header(tmp_path / "palette.png").channels == 3


def test_an_image_of_one_bit_is_read_as_black_and_white(tmp_path):
    white = weave(SIDE, "bits")[:, :, 0] > 80
    Image.fromarray(white).save(tmp_path / "bits.png")
    with Image.open(tmp_path / "bits.png") as image:
        assert image.mode == "1"
    assert np.array_equal(read_image(tmp_path / "bits.png"), white * np.uint8(255))
    assert read_header(tmp_path / "bits.png").channels == 1


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_every_lossless_format_gives_the_same_pixels(tmp_path, suffix):
    pixels = weave(SIDE, "format")
    path = tmp_path / f"image{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    assert np.array_equal(read_image(path), pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_read_as_its_exif_orientation_asks_viewers_to_show_it(tmp_path, orientation, suffix):
    seen = np.zeros((20, 32, 3), np.uint8)  # red at the top left, green at the top right, blue at the bottom left
    seen[:8, :8, 0], seen[:8, -8:, 1], seen[-8:, :8, 2] = 255, 255, 255
    # How a camera that was held so stores it: what a viewer undoes.
    stored = {
        1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1], 5: seen.transpose(1, 0, 2),
        6: np.rot90(seen, 1), 7: seen[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(seen, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(
        path, exif=exif, **({"quality": 100, "subsampling": 0} if suffix == ".jpg" else {})
    )
    assert read_header(path).size == (32, 20)
    assert np.abs(np.asarray(read_image(path), int) - seen).max() < 30  # a JPEG is not exact
    assert read_header(path).upright == (orientation == 1 or suffix == ".tif")


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(weave(SIDE, "odd")[:20]).save(tmp_path / "photo.png", exif=exif)
    assert read_header(tmp_path / "photo.png").upright
    assert np.array_equal(read_image(tmp_path / "photo.png"), weave(SIDE, "odd")[:20])


def test_size_is_width_then_height(tmp_path):
    assert read_header(save(weave(SIDE, "size")[:20], tmp_path / "wide.png")).size == (SIDE, 20)


def test_grey_of_16_bits_is_scaled_by_the_largest_value_that_its_bits_can_write(tmp_path):
    deep = np.array([[0, 2048, 4095], [1000, 3000, 16]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    header = read_header(tmp_path / "deep.png")
    assert (header.channels, header.conversion) == (1, "grey of 16 bits scaled to 8")
    for bits in (12, 16):
        expected = np.round(deep * 255.0 / (2**bits - 1))
        assert np.array_equal(read_image(tmp_path / "deep.png", bits), expected)
    with pytest.raises(UsageError, match=r"deep\.png holds grey values from 0 to 4095, 11 bits end at 2047"):
        read_image(tmp_path / "deep.png", 11)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_is_dropped_where_nothing_is_transparent_and_refused_elsewhere(tmp_path, mode):
    pixels = Image.fromarray(weave(SIDE, "alpha")).convert(mode[:-1])
    whole = pixels.convert(mode)
    whole.save(tmp_path / "opaque.png")
    assert np.array_equal(read_image(tmp_path / "opaque.png"), pixels)
    assert read_header(tmp_path / "opaque.png").conversion == "opaque alpha channel dropped"
    whole.putalpha(Image.new("L", whole.size, 254))
    whole.save(tmp_path / "veiled.png")
    with pytest.raises(UsageError, match=r"veiled\.png has transparent pixels"):
        read_image(tmp_path / "veiled.png")


def test_a_transparent_entry_of_a_palette_counts_where_a_pixel_has_it(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette(bytes((0, 0, 0, 90, 80, 70)))
    image.save(tmp_path / "unused.png", transparency=0)
    assert np.asarray(read_image(tmp_path / "unused.png"))[0, 0].tolist() == [90, 80, 70]
    image.save(tmp_path / "used.png", transparency=1)
    with pytest.raises(UsageError, match="transparent pixels"):
        read_image(tmp_path / "used.png")


def test_cmyk_is_read_by_its_profile_and_refused_without(tmp_path):
    image = Image.new("CMYK", (8, 8), (0, 200, 200, 0))
    image.save(tmp_path / "bare.jpg")
    with pytest.raises(UsageError, match=r"bare\.jpg has CMYK colours without a colour profile"):
        read_image(tmp_path / "bare.jpg")
    image.save(tmp_path / "odd.jpg", icc_profile=b"no profile")
    with pytest.raises(UsageError, match=r"odd\.jpg has a colour profile that cannot be read"):
        read_image(tmp_path / "odd.jpg")


def test_several_pictures_in_a_file_are_refused_with_their_number(tmp_path):
    pages = [Image.fromarray(weave(SIDE, str(page))) for page in range(3)]
    for name in ("scan.tif", "moving.png", "moving.webp"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(UsageError, match=rf"{name} holds 3 pictures"):
            read_header(tmp_path / name)


def test_no_reader_is_started_but_those_of_the_known_formats(tmp_path):
    Image.fromarray(weave(SIDE, "eps")).save(tmp_path / "image.eps")
    (tmp_path / "image.eps").rename(tmp_path / "image.png")
    with pytest.raises(UsageError, match=r"image\.png is no readable image"):
        read_image(tmp_path / "image.png")


def test_an_image_of_too_many_pixels_is_told_its_number(tmp_path):
    Image.new("1", (14000, 13000)).save(tmp_path / "huge.png")
    with pytest.raises(UsageError, match=r"huge\.png has 182 megapixels, more than the 179 that are read"):
        read_header(tmp_path / "huge.png")


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "000.png")
    with pytest.raises(UsageError, match=r"000\.png is no file that can be read"):
        read_header(tmp_path / "000.png")


def test_a_chunk_that_is_too_short_or_swells_is_one_line(tmp_path):
    Image.fromarray(weave(24, "whole")).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    swelling = b"words\0\0" + zlib.compress(bytes(200 * 2**20))
    for kind, content in ((b"gAMA", b"\0"), (b"pHYs", b"\0\0"), (b"tRNS", b"\0"), (b"zTXt", swelling)):
        chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        (tmp_path / "odd.png").write_bytes(whole[:33] + chunk + whole[33:])
        with suppress(UsageError):  # some are of no consequence
            read_header(tmp_path / "odd.png")
            read_image(tmp_path / "odd.png")


def test_an_image_as_apple_s_phones_store_it_is_read_upright(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    seen = np.zeros((32, 64, 3), np.uint8)
    seen[:16, :16] = 250
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = heif.from_pillow(Image.fromarray(np.ascontiguousarray(np.rot90(seen, 1))))
    stored.save(tmp_path / "photo.heic", exif=exif.tobytes(), quality=95)
    header, found = read_header(tmp_path / "photo.heic"), np.asarray(read_image(tmp_path / "photo.heic"), int)
    assert header.size == (64, 32)
    assert np.abs(found - seen).mean() < 6


def test_without_its_reader_a_heif_image_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photo.heic").write_bytes(b"any")
    with pytest.raises(UsageError, match=r"photo\.heic is a HEIF image; .*pip install 'bench\[heic\]'"):
        read_header(tmp_path / "photo.heic")


@pytest.mark.parametrize("mode", ["F", "LAB", "YCbCr"])
def test_pixels_of_other_types_are_refused(tmp_path, mode):
    path = tmp_path / "image.tif"
    image = Image.new(mode, (8, 8))
    image.save(path)
    with pytest.raises(UsageError, match=f"{path} has pixels of type '{mode}'"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_a_damaged_file_is_refused_or_read_but_never_ends_in_another_error(tmp_path, suffix):
    whole = save(weave(24, "whole"), tmp_path / f"whole{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    spoilt = Path(tmp_path / f"spoilt{suffix}")
    refused = 0
    for attempt in range(120):
        content = bytearray(whole)
        if attempt % 2:
            del content[rng.integers(len(whole)) :]
        else:
            for place in rng.integers(0, len(whole), 4):
                content[place] = rng.integers(256)
        spoilt.write_bytes(content)
        try:
            read_header(spoilt)
            read_image(spoilt)
        except UsageError as error:
            refused += 1
            assert str(spoilt) in str(error)
            assert "\n" not in str(error)
    assert refused > 10
