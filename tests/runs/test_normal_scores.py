"""What a run keeps of the normal scores that its threshold comes from: which images, how, which are near-duplicates."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench as interface
from csv_rows import csv_rows
from fake_data import save, weave, write_category
from runs.test_supervised import QUICK

PADIM = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")
HELD_OUT = ("--data.validation_share", "0.4")


@pytest.fixture
def root(tmp_path) -> Path:
    write_category(tmp_path / "data", train=20)
    return tmp_path / "data"


def fit(bench, root: Path, *words: object, size: int = 64) -> tuple[Path, list[dict[str, str]]]:
    """A run and what it keeps."""
    place = ("--category", "screw", "--data.root", root, "--data.image_size", size)
    outcome = bench("fit", *PADIM, *place, *words, "--json")
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    folder = Path("runs") / record["model"] / "screw" / record["fingerprint"]
    return folder, csv_rows(folder / "normal_scores.csv")


def test_of_held_out_images_the_scores_and_maps_are_those_that_the_finished_run_gives_them(bench, root):
    folder, rows = fit(bench, root, *HELD_OUT)
    assert len(rows) == 8
    assert {row["obtained"] for row in rows} == {"held-out"}
    run = interface.load(folder)
    for row, scored in zip(rows, run.score([root / row["path"] for row in rows]), strict=True):
        assert float(row["score"]) == pytest.approx(scored.score, rel=1e-6)
        small = np.asarray(Image.fromarray(scored.map).resize((64, 64)))
        assert float(row["map_maximum"]) == pytest.approx(small.max(), rel=0.1)
    assert max(float(row["score"]) for row in rows) == run.metrics["threshold"]


@pytest.mark.slow
def test_held_out_images_are_those_that_the_method_did_not_learn_from(bench, root):
    """A method that learned from them would change where they change."""
    folder, rows = fit(bench, root, *HELD_OUT)
    before = interface.load(folder).score(root / "screw" / "test" / "good" / "000.png").score
    for row in rows:
        save(weave(48, f"another {row['path']}"), root / row["path"])
    changed, _ = fit(bench, root, *HELD_OUT)
    assert changed != folder
    assert interface.load(changed).score(root / "screw" / "test" / "good" / "000.png").score == before


@pytest.mark.parametrize(
    ("words", "obtained", "maps"), [((), "left-out", False), (("--model.reduction", "pca"), "out-of-fold", True)]
)
def test_without_held_out_images_all_have_scores_and_the_file_says_of_which_kind(bench, root, words, obtained, maps):
    folder, rows = fit(bench, root, *words)
    assert [row["path"] for row in rows] == [f"screw/train/good/{index:03}.png" for index in range(20)]
    assert {row["obtained"] for row in rows} == {obtained}
    assert all(bool(row["map_maximum"]) == maps for row in rows)
    assert max(float(row["score"]) for row in rows) == interface.load(folder).metrics["threshold"]


@pytest.mark.parametrize("size", [32, 64, pytest.param(128, marks=pytest.mark.slow)])
def test_images_that_differ_are_no_near_duplicates_at_any_size(bench, root, size):
    _, rows = fit(bench, root, size=size)
    assert all(row["group"] == row["path"] for row in rows)


@pytest.fixture
def bright(root) -> Path:
    """Bright, almost flat images: the edge of padding or of a region outshines all their detail."""
    for index, path in enumerate(sorted((root / "screw" / "train").rglob("*.png"))):
        noise = np.random.default_rng(index).normal(0, 3, (30, 48, 3))
        save((230 + noise).astype(np.uint8), path)
    for path in (*(root / "screw" / "test").rglob("*.png"), *(root / "screw" / "ground_truth").rglob("*.png")):
        with Image.open(path) as image:
            image.crop((0, 9, 48, 39)).save(path)
    return root


@pytest.mark.parametrize("part", ["padded", "region"])
def test_an_edge_that_all_images_share_makes_no_near_duplicates(bench, bright, part):
    region = np.zeros((30, 48), np.uint8)
    region[6:24, 12:36] = 255
    save(region, bright / "region" / "screw.png")
    words = {"padded": ("--data.aspect", "pad"), "region": ("--data.region", bright / "region" / "screw.png")}
    _, rows = fit(bench, bright, *words[part])
    assert all(row["group"] == row["path"] for row in rows)


def test_a_held_out_copy_of_a_learned_image_is_named_as_such(bench, root):
    _, rows = fit(bench, root, *HELD_OUT)
    held_out = [row["path"] for row in rows]
    learned = next(f"screw/train/good/{i:03}.png" for i in range(20) if f"screw/train/good/{i:03}.png" not in held_out)
    with Image.open(root / learned) as image:
        image.point(lambda value: min(255, value + 3)).save(root / held_out[0])
    with Image.open(root / held_out[1]) as image:
        image.point(lambda value: min(255, value + 3)).save(root / held_out[2])
    _, rows = fit(bench, root, *HELD_OUT)
    kinds = {row["path"]: (row["obtained"], row["group"]) for row in rows}
    assert kinds[held_out[0]] == ("nearly-learned", min(learned, held_out[0]))
    assert kinds[held_out[1]] == kinds[held_out[2]] == ("held-out", held_out[1])
    assert sum(kind == "nearly-learned" for kind, _ in kinds.values()) == 1


def test_a_run_that_is_made_again_and_fails_keeps_no_scores_of_before(bench, root, monkeypatch):
    folder, _ = fit(bench, root)
    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.fitting.learn_and_choose_threshold", lambda *_: 1 / 0)
        again = ("--category", "screw", "--data.root", root, "--data.image_size", 64, "--force")
        assert bench("fit", *PADIM, *again).status == 1
    assert not (folder / "normal_scores.csv").exists()


@pytest.mark.slow
def test_a_run_without_a_threshold_keeps_no_scores(bench, root):
    assert bench("fit", *QUICK, "--data.fold", "0", "--data.root", root).status == 0
    assert bench("fit", *PADIM, "--category", "screw", "--data.root", root, "--data.shots", "2").status == 0
    assert len(list(Path("runs").rglob("record.json"))) == 2
    assert not list(Path("runs").rglob("normal_scores.csv"))


def test_what_is_kept_holds_no_test_image(bench, root):
    """The canary: all test images are replaced, and neither threshold nor normal scores change."""
    first, rows = fit(bench, root, *HELD_OUT)
    for path in (root / "screw" / "test").rglob("*.png"):
        save(weave(48, f"another {path.parent.name} {path.name}"), path)
    second, again = fit(bench, root, *HELD_OUT)
    assert first != second
    assert rows == again
    assert len({interface.load(folder).metrics["threshold"] for folder in (first, second)}) == 1
    chosen = [bench("threshold", "--run", folder, "--max-false-alarms", "0.5", "--json") for folder in (first, second)]
    one, other = (json.loads(outcome.stdout) for outcome in chosen)
    for differing in ("run", "test", "path"):
        assert one.pop(differing) != other.pop(differing)
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("words", [HELD_OUT, (), ("--model.reduction", "pca")], ids=["held-out", "left-out", "folds"])
def test_two_processes_keep_what_one_keeps(bench, root, words):
    _, one = fit(bench, root, *words)
    folder, two = fit(bench, root, *words, "--force", "--trainer.devices", 2)
    assert len(list(folder.parent.iterdir())) == 1
    for row, other in zip(one, two, strict=True):
        assert {**row, "score": "", "map_maximum": ""} == {**other, "score": "", "map_maximum": ""}
        for name in ("score", "map_maximum"):
            assert (row[name] == other[name] == "") or float(row[name]) == pytest.approx(float(other[name]), rel=1e-5)
