"""`bench data check`: what deviates from the published dataset is named, each in a line."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bench.data.check_official import deviations
from bench.data.datasets.mvtec_ad_facts import mvtec_published
from bench.data.digests import DIGESTS, file_sha256, write_digests
from bench.errors import UsageError
from conftest import files_below
from fake_data import write_category

SIDE = 16


@pytest.fixture(scope="module")
def as_published(tmp_path_factory):
    """A `toothbrush` with MVTec's counts, though small; only to be read."""
    facts = mvtec_published()["toothbrush"]
    root = tmp_path_factory.mktemp("published")
    return write_category(
        root, "toothbrush", side=SIDE, train=facts.train_good, good=facts.test_good, defects=facts.defect_types
    )


@pytest.fixture
def folder(as_published, tmp_path):
    """A copy of it that the test may damage."""
    return shutil.copytree(as_published, tmp_path / "data" / "toothbrush")


@pytest.fixture
def facts():
    return replace(mvtec_published()["toothbrush"], side=SIDE)


def test_nothing_deviates_in_what_is_as_published(as_published, facts):
    assert deviations(as_published, facts) == []


def test_mvtec_s_own_texts_and_the_digests_are_no_deviation(folder, facts):
    for name in ("license.txt", "readme.txt"):
        (folder / name).write_text("text")
    write_digests(folder, {str(p): file_sha256(folder / p) for p in files_below(folder)}, "of the archive")
    assert deviations(folder, facts) == []


def test_a_missing_folder_is_one_deviation(tmp_path, facts):
    assert deviations(tmp_path / "toothbrush", facts) == [f"no folder {tmp_path / 'toothbrush'}"]


def test_counts_masks_and_images_without_a_partner_are_named(folder, facts):
    (folder / "train/good/000.png").unlink()
    (folder / "ground_truth/defective/003_mask.png").unlink()
    (folder / "test/defective/005.png").unlink()
    assert deviations(folder, facts) == [
        "ground_truth/defective: 29 masks, not 30",
        "test/defective: 29 images, not 30",
        "train/good: 59 images, not 60",
        "ground_truth/defective/005_mask.png: a mask without an image",
        "test/defective/003.png: no mask ground_truth/defective/003_mask.png",
    ]


def test_a_class_of_one_s_own_and_other_files_are_named(folder, facts):
    shutil.copytree(folder / "test/good", folder / "test/burnt")
    (folder / "train/good/Thumbs.db").write_bytes(b"x")
    found = deviations(folder, facts)
    assert "train/good/Thumbs.db: no file of MVTec's" in found
    assert "test/burnt: 12 images, not 0" in found


HALF = np.tri(SIDE, dtype=np.uint8) * 255
INVERTED = np.full((SIDE, SIDE), 255, np.uint8)
INVERTED[8, 8] = 0
CRUMBS = np.zeros((SIDE, SIDE), np.uint8)
CRUMBS[1::4, 1::4] = 255


def save(pixels, path, mode=None):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


@pytest.mark.parametrize(
    ("place", "pixels", "words"),
    [
        ("train/good/007.png", np.zeros((8, 20, 3), np.uint8), "20 x 8 pixels, not 16 x 16"),
        ("train/good/007.png", np.zeros((SIDE, SIDE), np.uint8), "mode L, not RGB"),
        ("ground_truth/defective/007_mask.png", np.zeros((SIDE, SIDE), np.uint8), "no pixel is marked"),
        (
            "ground_truth/defective/007_mask.png",
            np.full((SIDE, SIDE), 7, np.uint8),
            "values other than 0 and 255",
        ),
        ("ground_truth/defective/007_mask.png", HALF[:, :, None].repeat(3, axis=2), "mode RGB, not L"),
        ("ground_truth/defective/007_mask.png", INVERTED, "most of the image and its borders marked, as if drawn"),
        ("ground_truth/defective/007_mask.png", CRUMBS, "has 16 regions, 16 of them of fewer than 5 pixels"),
    ],
)
def test_one_image_that_is_not_as_published_is_named(folder, facts, place, pixels, words):
    save(pixels, folder / place)
    (line,) = deviations(folder, facts)
    assert f" {words}" in line
    assert line.endswith(f"({place.rpartition('/')[2]})")


def test_a_damaged_image_is_named(folder, facts):
    path = folder / "test/good/002.png"
    path.write_bytes(path.read_bytes()[:200])
    (line,) = deviations(folder, facts)
    assert line.startswith("test/good: 1 of 12 files: cannot be used: is damaged")
    assert line.endswith("(002.png)")


def test_many_images_that_deviate_alike_share_a_line(as_published):
    found = deviations(as_published, mvtec_published()["toothbrush"])
    assert "train/good: 60 of 60 files: 16 x 16 pixels, not 1024 x 1024" in found
    assert len(found) == 4  # train/good, test/good, test/defective and its masks


def test_a_pixel_that_changed_is_found_by_its_digest(folder, facts):
    write_digests(folder, {str(p): file_sha256(folder / p) for p in files_below(folder)}, "of the archive")
    pixels = np.array(Image.open(folder / "test/good/002.png"))
    pixels[0, 0, 0] ^= 1
    save(pixels, folder / "test/good/002.png")
    assert deviations(folder, facts) == [f"test/good/002.png: changed, its SHA-256 is not that in {DIGESTS}"]


@pytest.mark.parametrize("line", ["ab12  test/good/002.png", f"{'0' * 64} test/good/002.png", f"{'0' * 64}  "])
def test_a_torn_line_of_digests_is_named_by_its_number(folder, facts, line):
    (folder / DIGESTS).write_text(f"# of the archive\n{line}\n")
    with pytest.raises(UsageError, match=f"{DIGESTS}, line 2: no SHA-256 and path"):
        deviations(folder, facts)


def test_the_command_names_category_and_deviation_and_ends_with_1(bench, folder):
    outcome = bench("data", "check", "--category", "toothbrush", "--data.root", folder.parent)
    assert outcome.status == 1
    assert "toothbrush: test/good: 12 of 12 files: 16 x 16 pixels, not 1024 x 1024\n" in outcome.stdout
    assert outcome.stderr.splitlines()[-1] == "bench: 4 deviations from MVTec AD as it was published"
    assert f"no {DIGESTS} in toothbrush" in outcome.stderr


def test_the_command_ends_with_0_where_nothing_deviates(bench, folder, facts, monkeypatch):
    monkeypatch.setattr("bench.data.datasets.mvtec_ad_facts.mvtec_published", lambda: {"toothbrush": facts})
    outcome = bench("data", "check", "--data.root", folder.parent)
    assert (outcome.status, outcome.stdout) == (0, "toothbrush: as published\n")


def test_without_a_category_all_15_are_looked_for(bench, folder):
    found = json.loads(bench("data", "check", "--data.root", folder.parent, "--json").stdout)
    assert found.keys() == mvtec_published().keys()
    assert found["screw"] == [f"no folder {folder.parent / 'screw'}"]


def test_an_archive_is_compared_with_the_published_digests(bench, tmp_path):
    archive = tmp_path / "screw.tar.xz"
    archive.write_bytes(b"no archive")
    outcome = bench("data", "check", "--archive", archive)
    assert outcome.status == 1
    assert f"SHA-256 {file_sha256(archive)} is that of no archive of MVTec AD" in outcome.stdout


def test_a_category_that_mvtec_has_not_is_a_mistake(refuse, folder):
    words = refuse("data", "check", "--category", "toothbrsh", "--data.root", folder.parent)
    assert "did you mean 'toothbrush'?" in words


def test_nothing_imports_torch(folder):
    import subprocess
    import sys

    code = "import sys; from bench.cli.main import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    command = ["data", "check", "--category", "toothbrush", "--data.root", str(folder.parent)]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    assert "torch" not in done.stderr.split()
