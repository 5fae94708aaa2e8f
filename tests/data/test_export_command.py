"""`bench data export` as a command: parts, prompts, licence, and a folder that is whole or not there."""

import json
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bench.data.datasets.mvtec_ad_facts import mvtec_published
from bench.data.export.prompts import ANY_DEFECT
from bench.data.export.split import read_shares
from bench.data.folds import stratify
from bench.errors import UsageError
from conftest import files_below
from fake_data import save, write_category


@pytest.fixture
def arguments(data_root: Path) -> tuple[object, ...]:
    return ("data", "export", "--category", "screw", "--data.root", data_root, "--format", "coco")


def summary(folder: Path) -> dict:
    return json.loads((folder / "export.json").read_text(encoding="utf-8"))


def test_the_folder_is_named_by_dataset_category_and_format(bench, arguments, own_folder):
    assert bench(*arguments).status == 0
    assert (own_folder / "exports" / "mvtec_ad-screw-coco" / "annotations" / "instances_train.json").is_file()


def test_all_categories_are_exported_each_into_a_folder_of_its_own(bench, arguments, own_category, tmp_path):
    write_category(own_category.parent, "nut")
    words = [*arguments, "--data.root", own_category.parent, "--category", "all"]
    assert bench(*words).status == 0
    assert sorted(path.name for path in Path("exports").iterdir()) == ["mvtec_ad-nut-coco", "mvtec_ad-screw-coco"]
    assert summary(Path("exports/mvtec_ad-nut-coco"))["category"] == "nut"
    alone = tmp_path / "alone"
    assert bench(*arguments, "--data.root", own_category.parent, "--category", "nut", "--out", alone).status == 0
    assert files_below(alone) == files_below(Path("exports/mvtec_ad-nut-coco"))
    assert bench(*words, "--out", "other").status == 0
    assert Path("other/mvtec_ad-screw-coco/export.json").is_file()


def test_of_all_categories_none_is_written_where_one_would_replace_something(bench, arguments, own_category):
    write_category(own_category.parent, "nut")
    Path("exports/mvtec_ad-screw-coco").mkdir(parents=True)
    Path("exports/mvtec_ad-screw-coco/diary").write_text("dear")
    outcome = bench(*arguments, "--data.root", own_category.parent, "--category", "all")
    assert outcome.status == 2
    assert "mvtec_ad-screw-coco holds something that is no export" in outcome.stderr
    assert not Path("exports/mvtec_ad-nut-coco").exists()


def test_of_all_categories_none_is_written_where_one_cannot_be(bench, arguments, own_category):
    write_category(own_category.parent, "nut")
    (own_category / "test" / "blob" / "000.png").write_bytes(b"no picture")
    outcome = bench(*arguments, "--data.root", own_category.parent, "--category", "all")
    assert outcome.status == 2
    assert "000.png" in outcome.stderr
    assert not Path("exports").exists()


def test_words_for_classes_are_those_of_one_category(bench, arguments):
    outcome = bench(*arguments, "--category", "all", "--prompts", "words.yaml")
    assert outcome.status == 2
    assert outcome.stderr == "bench: --prompts names the classes of one category; export that one by itself\n"


def test_its_help_imports_no_torch():
    code = (
        "import sys; from bench.cli.main import main; main(['data', 'export', '-h']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_each_type_is_dealt_by_the_shares_to_the_nearest_image():
    types = ["good"] * 361 + ["a"] * 24 + ["b"] * 25 + ["c"] * 8
    shares = (0.7, 0.15, 0.15)
    part = stratify(types, range(len(types)), 3, 0, shares)
    counts = Counter(zip(types, part.tolist(), strict=True))
    for name, total in Counter(types).items():
        for place, share in enumerate(shares):
            assert abs(counts[name, place] - share * total) < 1


def test_near_duplicates_are_never_apart(bench, own_category, tmp_path):
    """Each image of a type is there twice, the second time brighter."""
    for path in sorted((own_category / "test" / "blob").iterdir()):
        mask = own_category / "ground_truth" / "blob" / f"{path.stem}_mask.png"
        pixels = np.asarray(Image.open(path)).astype(int)
        save(np.clip(pixels + 2, 0, 255).astype(np.uint8), path.with_name(f"{path.stem}b.png"))
        mask.with_name(f"{path.stem}b_mask.png").write_bytes(mask.read_bytes())
    root = own_category.parent
    for seed in range(3):
        arguments = ("--category", "screw", "--data.root", root, "--shares", "0.5,0.25,0.25", "--seed", seed)
        outcome = bench("data", "export", *arguments, "--format", "coco", "--out", tmp_path / str(seed))
        assert outcome.status == 0, outcome.stderr
        parts = {Path(name).stem: Path(name).parent.name for name in summary(tmp_path / str(seed))["origin"]}
        pairs = [(part, parts[f"{stem}b"]) for stem, part in parts.items() if f"{stem}b" in parts]
        assert len(pairs) == 4
        assert all(first == second for first, second in pairs)
        assert len({first for first, _ in pairs}) > 1


def test_the_seed_deals_the_images(bench, arguments, tmp_path):
    parts = []
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        assert bench(*arguments, "--seed", seed, "--out", tmp_path / name).status == 0
        parts.append(list(summary(tmp_path / name)["origin"]))
    assert sorted(parts[0]) == sorted(parts[1])
    assert sorted(parts[0]) != sorted(parts[2])


def test_a_part_without_a_share_is_not_written(bench, arguments, tmp_path):
    outcome = bench(*arguments, "--shares", "0.8,0.2,0", "--out", tmp_path / "out")
    assert outcome.status == 0
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == ["train", "val"]


def test_a_type_that_a_part_has_no_image_of_is_named(bench, data_root, tmp_path, own_category):
    for path in sorted((own_category / "test" / "blob").iterdir())[2:]:
        path.unlink()
    arguments = ("--category", "screw", "--data.root", own_category.parent, "--format", "coco")
    outcome = bench("data", "export", *arguments, "--out", tmp_path / "out")
    assert "bench: blob has 2 images: none of them is in " in outcome.stderr


@pytest.mark.parametrize("typed", ["0.7,0.3", "a,b,c", "0.7,0.4,-0.1", "0.7,0.2,0.2", "0,0.5,0.5", "nan,0.5,0.5"])
def test_shares_that_are_no_parts_of_a_whole_are_refused(typed):
    with pytest.raises(UsageError, match="--shares"):
        read_shares(typed)


def test_prompts_of_mvtec_s_types_are_readable_and_one_s_own_win(bench, own_folder):
    write_category(own_folder / "data", defects={"scratch_head": 4, "dent": 4})
    (own_folder / "words.yaml").write_text("dent: dent in a shiny screw\n")
    arguments = ("--category", "screw", "--data.root", "data", "--format", "yolo", "--prompts", "words.yaml")
    assert bench("data", "export", *arguments, "--out", "out").status == 0
    names = yaml.safe_load((own_folder / "out" / "data-world.yaml").read_text())["names"]
    assert names == {0: "dent in a shiny screw", 1: "scratch on a screw head"}


def test_every_type_of_mvtec_ad_has_a_prompt_of_its_own():
    ours = json.loads((files("bench.data.export") / "prompts.json").read_text(encoding="utf-8"))
    types = {name: {*category.defect_types, ANY_DEFECT} for name, category in mvtec_published().items()}
    assert {name: set(prompts) for name, prompts in ours.items()} == types
    assert all(len(set(prompts.values())) == len(prompts) for prompts in ours.values())


def test_a_prompt_for_a_class_that_is_not_there_is_refused(refuse, arguments, own_folder):
    (own_folder / "words.yaml").write_text("scrach: x\n")
    assert "did you mean 'scratch'?" in refuse(*arguments, "--prompts", "words.yaml")


def test_mvtec_s_licence_goes_along(bench, own_folder):
    facts = {"scratch_head": 2, "scratch_neck": 2, "thread_side": 2, "thread_top": 2, "manipulated_front": 2}
    folder = write_category(own_folder / "data", defects=facts)
    (folder / "license.txt").write_text("as it came")
    arguments = ("--category", "screw", "--data.root", "data", "--format", "coco")
    assert bench("data", "export", *arguments, "--out", "out").status == 0
    text = (own_folder / "out" / "LICENSE.txt").read_text()
    assert "CC BY-NC-SA 4.0" in text
    assert "Bergmann" in text
    assert (own_folder / "out" / "licence" / "license.txt").read_text() == "as it came"


def test_images_of_one_s_own_get_no_licence_of_mvtec_s(bench, arguments, own_folder):
    assert bench(*arguments, "--out", "out").status == 0
    assert "does not know" in (own_folder / "out" / "LICENSE.txt").read_text()


def test_a_folder_with_an_export_is_kept_unless_forced(bench, refuse, arguments, own_folder):
    assert bench(*arguments, "--out", "out").status == 0
    before = files_below(own_folder / "out")
    assert "--force" in refuse(*arguments, "--out", "out")
    assert files_below(own_folder / "out") == before
    assert bench(*arguments, "--out", "out", "--images", "reference", "--force").status == 0
    assert not (own_folder / "out" / "images").exists()


def test_force_does_not_replace_what_no_export_wrote(refuse, arguments, own_folder):
    (own_folder / "home").mkdir()
    (own_folder / "home" / "diary.txt").write_text("dear diary")
    assert "no export" in refuse(*arguments, "--out", "home", "--force")
    assert (own_folder / "home" / "diary.txt").read_text() == "dear diary"


def test_an_export_that_fails_leaves_the_former_one_and_nothing_else(bench, refuse, own_category, own_folder):
    arguments = ("data", "export", "--category", "screw", "--data.root", own_category.parent, "--format", "coco")
    assert bench(*arguments, "--out", "out").status == 0
    before = {path: (own_folder / "out" / path).read_bytes() for path in files_below(own_folder / "out")}
    save(np.zeros((48, 48), np.uint8), own_category / "ground_truth" / "scratch" / "003_mask.png")
    assert "marks no pixel" in refuse(*arguments, "--out", "out", "--force")
    assert {path: (own_folder / "out" / path).read_bytes() for path in files_below(own_folder / "out")} == before
    assert {path.name for path in own_folder.iterdir()} == {"cache", "data", "out"}


def test_an_image_that_viewers_would_turn_is_refused(refuse, own_category):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = own_category / "test" / "blob" / "000.png"
    Image.open(path).save(path, exif=exif)
    arguments = ("data", "export", "--category", "screw", "--data.root", own_category.parent, "--format", "coco")
    assert "EXIF" in refuse(*arguments)


def test_two_images_that_would_share_a_name_are_refused(refuse, own_category):
    path = own_category / "train" / "good" / "000.png"
    Image.open(path).save(path.with_suffix(".bmp"))
    arguments = ("data", "export", "--category", "screw", "--data.root", own_category.parent, "--format", "yolo")
    assert "rename one" in refuse(*arguments)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (("--format", "yolo", "--images", "reference"), "--images copy or link"),
        (("--format", "yolo", "--shares", "1,0,0"), "val has none"),
        (("--format", "coco", "--task", "detect"), "--task belongs to --format yolo"),
        (("--format", "yolo", "--negative-points", "1"), "--negative-points belongs to --format masks"),
        (("--format", "masks", "--points", "-1"), "0 or more"),
        (("--format", "coco", "--data", "rd_mvtec_ad"), "export --data mvtec_ad"),
        (("--format", "voc"), "'voc' is not one of 'coco', 'yolo', 'masks'"),
        (("--format", "coco", "--seed", "-1"), "negative"),
    ],
)
def test_what_cannot_be_meant_is_refused(refuse, data_root, typed, named):
    assert named in refuse("data", "export", "--category", "screw", "--data.root", data_root, *typed)


@pytest.mark.slow
def test_synthetic_images_are_exported_under_the_licence_of_bench(bench, own_folder):
    assert bench("data", "export", "--data", "synthetic", "--category", "carpet", "--format", "masks").status == 0
    folder = own_folder / "exports" / "synthetic-carpet-masks"
    assert "MIT" in (folder / "LICENSE.txt").read_text()
    assert sum(summary(folder)["counts"]["test"].values()) > 0
