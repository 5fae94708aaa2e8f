"""`bench data import`: photos as people have them become a category, or end in one line that says what to do."""

import json
import os
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from bench.data.importing.roles import read_roles
from bench.data.layout import read_category
from fake_data import write_category
from fake_photos import BAD, GOOD, write_photo, write_photos


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def imported(bench):
    """Import photos that must be accepted; what the command found, as JSON."""

    def run(root: Path, *options: object) -> dict:
        outcome = bench("data", "import", root, "--name", "tablet", "--json", *options)
        assert outcome.status == 0, outcome.stderr
        return json.loads(outcome.stdout)

    return run


def labels(found: dict) -> dict[str, int]:
    """The number of photos of each label."""
    return dict(sum((Counter(own) for own in found["counts"].values()), Counter()))


@pytest.mark.parametrize(
    ("good", "bad", "type_"),
    [
        ("good", "bad", "bad"),
        ("OK", "NG", "NG"),
        ("Pass", "fail", "fail"),
        ("good", "defective/scratch", "scratch"),
        ("良品", "不良/划痕", "划痕"),
        ("good/2026-11-28", "bad/dent/2026-11-29 12.30", "dent"),
        ("line 2/good", "line 2/not ok", "not ok"),
        ("good", "bad/2026年11月", "bad"),
    ],
)
def test_the_names_of_folders_say_what_photos_show(tmp_path, imported, good, bad, type_):
    found = imported(write_photos(tmp_path / "photos", {good: GOOD, bad: BAD}))
    assert labels(found) == {"good": GOOD, type_: BAD}
    assert read_category(tmp_path / "products", "tablet").counts[f"test/{type_}"] == BAD


def test_one_folder_of_photos_is_taken_for_good_and_that_is_said(tmp_path, imported):
    found = imported(write_photos(tmp_path / "photos", {"2026-11-28": 10, ".": 30}))
    assert labels(found) == {"good": 40}
    assert "no folder and no list says otherwise: 40 photos taken for good" in found["remarks"]
    assert [sum(own.values()) for own in found["counts"].values()] == [20, 10, 10]


def test_it_tells_what_it_found_who_has_which_role_and_what_to_type_next(photos, bench):
    outcome = bench("data", "import", photos, "--name", "tablet")
    assert outcome.status == 0
    told = outcome.stdout
    assert f"{GOOD + BAD} photos in {photos}: {GOOD} good, {BAD} bad\n" in told
    assert "sizes: good 48 x 48; bad 48 x 48\nmasks: 0 of 4 bad photos\n" in told
    assert (
        "giveaways: none beyond chance in brightness, contrast, border and file size of the photos to check on" in told
    )
    assert "\nfit             6  to learn from: 6 good\ncalibration     3  to set a threshold on" in told
    assert "\ntest            7  to check on; nothing is learned from them: 3 good, 4 bad\n" in told
    assert "\nnext, which method with which threshold: bench accept tablet\n" in told
    assert told.endswith("\nor a single fit: bench fit padim_mobilenetv2 tablet --data folder --data.root products\n")


@pytest.mark.slow
def test_the_printed_line_works_as_it_stands(photos, bench):
    line = bench("data", "import", photos, "--name", "tablet").stdout.splitlines()[-1]
    quick = ("--model.weights", "none", "--data.image_size", "64", "--trainer.accelerator", "cpu")
    assert bench(*shlex.split(line.partition(": ")[2])[1:], *quick).status == 0


def test_a_name_with_spaces_and_chinese_is_quoted_in_the_printed_line(photos, bench):
    outcome = bench("data", "import", photos, "--name", "药片 2026", "--out", "my products")
    words = shlex.split(outcome.stdout.splitlines()[-1].partition(": ")[2])
    assert words[3] == "药片 2026"
    assert read_category(Path("my products"), "药片 2026").counts["test/bad"] == BAD


def test_photos_in_mvtec_s_layout_are_pooled_and_keep_their_types_and_masks(tmp_path, imported):
    folder = write_category(tmp_path / "data", train=10, good=2)
    (folder / "test" / "good").rename(folder / "test" / "Good")
    found = imported(folder)
    assert labels(found) == {"good": 12, "blob": 4, "scratch": 4}
    assert found["masks"] == 8
    category = read_category(tmp_path / "products", "tablet")
    for sample in category.test:
        if sample.is_defect:
            own = folder / "ground_truth" / sample.defect_type / sample.mask.name
            assert Image.open(sample.mask).tobytes() == Image.open(own).tobytes()


def test_jpeg_turned_by_exif_and_other_sizes_are_read_as_they_are_seen(tmp_path, imported):
    root = write_photos(tmp_path / "photos", suffix=".jpg")
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.open(root / "good/000.jpg").resize((64, 32)).save(root / "good/000.jpg", exif=tag)
    found = imported(root)
    good = next(one for one in found["description"]["classes"] if one["name"] == "good")
    assert good["sizes"] == {"48 x 48": GOOD - 1, "32 x 64": 1}


def test_heic_is_read_with_its_extra(tmp_path, imported):
    pytest.importorskip("pillow_heif").register_heif_opener()
    root = write_photos(tmp_path / "photos")
    for path in root.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".HEIC"), quality=95)
        path.unlink()
    assert labels(imported(root)) == {"good": GOOD, "bad": BAD}


def test_photos_of_one_name_in_several_folders_get_names_of_their_own(tmp_path, imported):
    root = write_photos(tmp_path / "photos", {"good/monday": 6, "good/tuesday": 6, "bad": 2})
    write_photo(root / "bad" / "000.jpg", bad=True)
    imported(root)
    category = tmp_path / "products" / "tablet"
    names = {Path(photo.path).name for photo in read_roles(category)}
    assert {"000.png", "good_tuesday_000.png"} <= names
    stems = [Path(photo.path).stem for photo in read_roles(category) if photo.label == "bad"]
    assert len(set(stems)) == 3


def test_a_name_that_is_no_utf8_becomes_one_that_is(photos, imported, tmp_path):
    (photos / "good" / "000.png").rename(os.fsdecode(os.fsencode(photos / "good") + b"/m\xfcller.png"))
    imported(photos)
    found = {Path(photo.path).name: photo.source for photo in read_roles(tmp_path / "products" / "tablet")}
    assert found["müller.png"] == "good/m\\xfcller.png"


def test_what_is_no_photo_is_counted_and_what_systems_leave_is_not(photos, imported):
    (photos / "good" / "notes.txt").write_text("x")
    (photos / "good" / "Thumbs.db").write_bytes(b"x")
    (photos / "report.csv").write_text("a,b\n1,2\n")
    (photos / "camera.json").write_text('{"exposure": 3}')
    remarks = imported(photos)["remarks"]
    assert sum("3 other files left out" in remark for remark in remarks) == 1


def test_bad_photos_that_brightness_alone_tells_are_a_giveaway(tmp_path, bench):
    root = write_photos(tmp_path / "photos", {"good": 60, "bad": 20})
    for path in (root / "bad").iterdir():
        Image.open(path).point(lambda value: value // 2).save(path)
    lines = bench("data", "import", root, "--name", "tablet").stdout.splitlines()
    line = next(line for line in lines if line.startswith("giveaways: "))
    assert line.startswith("giveaways: mean grey value (image AUROC 1.000), contrast (image AUROC ")
    assert line.endswith(" each tell bad photos from good ones; a method may see that instead of the defects")


def test_bad_photos_of_another_size_than_good_ones_are_a_giveaway(tmp_path, bench):
    root = write_photos(tmp_path / "photos")
    for path in (root / "bad").iterdir():
        Image.open(path).resize((64, 64)).save(path)
    told = bench("data", "import", root, "--name", "tablet").stdout
    assert "sizes: good 48 x 48; bad 64 x 64\n" in told
    assert "the size in pixels alone tells bad photos from good ones" in told


def test_a_good_photo_of_the_part_that_a_bad_one_shows_is_tested_and_that_is_told(photos, imported):
    Image.open(photos / "good" / "003.png").point(lambda value: value + 1).save(photos / "bad" / "after.png")
    remarks = imported(photos)["remarks"]
    assert "1 good photo tested and not learned from: a bad photo shows the same part" in remarks
    roles = {photo.source: photo.role for photo in read_roles(Path("products/tablet"))}
    assert roles["good/003.png"] == "test"


def test_a_link_in_a_circle_is_followed_once(photos, imported):
    (photos / "good" / "again").symlink_to(photos)
    assert labels(imported(photos)) == {"good": GOOD, "bad": BAD}


@pytest.mark.parametrize(
    ("options", "links", "same_file"),
    [((), "hard link", True), (("--copy",), "copy", False), (("--symlink",), "symbolic link", True)],
)
def test_photos_are_linked_or_copied(photos, imported, tmp_path, options, links, same_file):
    assert imported(photos, *options)["placed"] == {links: GOOD + BAD}
    one = read_roles(tmp_path / "products" / "tablet")[0]
    placed, source = tmp_path / "products" / "tablet" / one.path, photos / one.source
    assert placed.samefile(source) == same_file
    assert placed.is_symlink() == (links == "symbolic link")
    assert placed.read_bytes() == source.read_bytes()


def test_where_no_hard_link_can_be_made_photos_are_copied_and_that_is_told(photos, bench, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    outcome = bench("data", "import", photos, "--name", "tablet")
    assert f"written: products/tablet, {GOOD + BAD} photos copied" in outcome.stdout


def test_an_error_leaves_nothing(photos, bench, tmp_path):
    (photos / "good" / "000.png").write_bytes((photos / "good" / "000.png").read_bytes()[:200])
    outcome = bench("data", "import", photos, "--name", "tablet")
    assert outcome.status == 2
    assert "000.png is damaged" in outcome.stderr
    assert not (tmp_path / "products").exists()


REFUSED = {
    "three good ones": ({"good": 3, "bad": 4}, (), "3 good photos are too few to learn from (2 at least)"),
    "no good ones": ({"bad": 4, "ng": 2}, (), "no good photos among the 6"),
    "unknown folders": ({"good": 8, "scratch": 2, "dent": 2}, (), "such as --bad dent,scratch"),
    "no known folder": ({"a": 8, "b": 2}, (), "the names 'a' and 'b' of folders in"),
    "good within bad": ({"good": 8, "good/ng": 2}, (), "lies in a folder 'good' and in a folder 'ng'; move it"),
    "beside the folders": ({"good": 8, "bad": 2, ".": 1}, (), "1 photo in {root} itself, such as 000.png"),
    "a mistyped word": ({"good": 8, "scratch": 2}, ("--bad", "scratsh"), "did you mean 'scratch'?"),
    "good called bad": ({"good": 8, "bad": 2}, ("--bad", "good"), "--bad good: that word means good"),
    "no share": ({"good": 8, "bad": 2}, ("--test-share", "1.5"), "--test-share 1.5 is no share"),
    "all shares": ({"good": 8}, ("--test-share", ".5", "--calibration-share", ".5"), "leave no photo to learn from"),
    "no list": ({"good": 8}, ("--labels", "none.csv"), "no file none.csv"),
    "no masks": ({"good": 8}, ("--masks", "none"), "no folder none"),
    "two ways": ({"good": 8}, ("--copy", "--symlink"), "--copy and --symlink are two ways"),
    "among the photos": ({"good": 8}, ("--out", "{root}/good"), "would lie in {root}, among the photos"),
    "a name of ours": ({"good": 8}, ("--out", "mvtec_ad"), "has the name of a dataset of bench"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_ends_in_one_line(tmp_path, refuse, case):
    folders, options, expected = REFUSED[case]
    root = write_photos(tmp_path / "photos", folders)
    words = [option.format(root=root) for option in options]
    assert expected.format(root=root) in refuse("data", "import", root, "--name", "tablet", *words)
    assert not (tmp_path / "products").exists()


def test_words_that_the_user_adds_name_good_photos_and_types(tmp_path, imported):
    root = write_photos(tmp_path / "photos", {"good parts": 12, "scratch": 2, "dent": 2})
    found = imported(root, "--good", "good parts", "--bad", "Scratch,dent")
    assert labels(found) == {"good": 12, "scratch": 2, "dent": 2}


def test_photos_that_all_look_alike_are_refused_unless_they_are_said_to_differ(tmp_path, refuse, imported):
    root = write_photos(tmp_path / "photos", {"good": 1, "bad": 2})
    picture = Image.open(root / "good" / "000.png")
    for index in range(1, 12):
        picture.point(lambda value, index=index: value + index).save(root / "good" / f"{index:03}.png")
    line = refuse("data", "import", root, "--name", "tablet")
    assert "all 12 good photos show the same picture" in line
    assert "--each-its-own" in line
    assert imported(root, "--each-its-own")["different_good"] == 12


def test_one_file_that_is_both_good_and_bad_is_refused(photos, refuse):
    shutil.copy(photos / "good" / "001.png", photos / "bad" / "x.png")
    line = refuse("data", "import", photos, "--name", "tablet")
    assert "are the same file, one labelled 'bad' and one 'good'; remove one of them" in line


def test_a_folder_that_cannot_be_written_is_said_before_a_photo_is_opened(photos, refuse):
    (photos / "good" / "000.png").write_bytes(b"")
    line = refuse("data", "import", photos, "--name", "tablet", "--out", "/proc/products")
    assert line.startswith("bench: cannot write to /proc ")
    assert line.endswith("; name another folder: --out FOLDER")


def test_a_target_that_is_there_is_said_before_a_photo_is_opened(photos, refuse, tmp_path):
    (tmp_path / "products" / "tablet").mkdir(parents=True)
    (photos / "good" / "000.png").write_bytes(b"")
    line = refuse("data", "import", photos, "--name", "tablet")
    assert line == (
        "bench: products/tablet is there already; give another --name or --out, or remove it: the photos that it was "
        "made of stay where they are"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("{root}",), "no name; say what the photos show: --name tablet"),
        (("{root}", "--name", "a/b"), "cannot name a folder"),
        (("{root}", "--name", "all"), "'all' cannot name a category"),
        (("{root}/none", "--name", "tablet"), "no folder {root}/none"),
        (("{root}/good/000.png", "--name", "tablet"), "is a file, not a folder of photos"),
        (("{root}", "--name", "tablet", "--seed", "-1"), "--seed -1 is negative"),
        (("{root}", "--name", "tablet", "--data.bits", "99"), "bits"),
    ],
)
def test_a_mistyped_line_says_what_to_do(photos, refuse, words, expected):
    line = refuse("data", "import", *(word.format(root=photos) for word in words))
    assert expected.format(root=photos) in line


def test_bits_of_deep_grey_photos_are_in_the_printed_line(photos, imported):
    assert imported(photos, "--data.bits", "12")["next"].endswith("--data.bits 12")
