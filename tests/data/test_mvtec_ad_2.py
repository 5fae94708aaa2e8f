"""MVTec AD 2: learned from `train`, thresholds from `validation`, tested on the images whose masks are published."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from bench.data.datasets.mvtec_ad_2 import MVTecAD2
from bench.errors import UsageError
from csv_rows import csv_rows
from fake_data import write_mvtec_ad_2


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("mvtec_ad_2")
    write_mvtec_ad_2(root, "can", private=2)
    write_mvtec_ad_2(root, "rice")
    return root


def read(root: Path, name: str = "can", seed: int = 0, **settings: object) -> MVTecAD2:
    return MVTecAD2(name, seed, "model", root=str(root), image_size=32, **settings)


def test_the_test_is_the_public_one_with_its_masks(root):
    data = read(root)
    category = data.full_category
    assert category.counts == {"train/good": 8, "validation/good": 4, "test/good": 3, "test/bad": 4}
    assert category.without_masks == 0
    assert not any("private" in sample.relative for sample in (*category.train, *category.test))
    assert data.category_names() == ["can", "rice"]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_no_method_learns_from_validation_whatever_seed_and_share(root, seed, share):
    data = read(root, seed=seed, validation_share=share)
    train = data.category.train
    assert {train[index].relative.split("/")[1] for index in data.validation_indices} == {"validation"}
    assert {train[index].relative.split("/")[1] for index in data.training_indices} == {"train"}
    assert (len(data.validation_indices), data.spec.train_images) == (4, 8)


def test_a_few_shots_are_drawn_from_train_alone(root):
    data = read(root, shots=3)
    train = data.category.train
    assert [train[index].relative.split("/")[1] for index in data.training_indices] == ["train"] * 3
    assert len(data.validation_indices) == 4


def test_a_run_takes_its_threshold_from_validation(bench, root):
    words = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")
    where = ("--data", "mvtec_ad_2", "--data.root", root, "--data.image_size", "32")
    outcome = bench("fit", *words, *where, "--category", "can", "--json", "--wandb", "disabled")
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    assert (record["dataset"], record["category"]) == ("mvtec_ad_2", "can")
    assert record["metrics"]["aupro_0.05"] is not None
    assert 0 < record["metrics"]["seg_f1"] < 1
    (scores,) = Path("runs").rglob("normal_scores.csv")
    rows = csv_rows(scores)
    assert [row["path"].split("/")[1] for row in rows] == ["validation"] * 4
    assert {row["obtained"] for row in rows} <= {"held-out", "nearly-learned"}
    assert record["data"]["held_out"] == [f"can/validation/good/{index:03}_regular.png" for index in range(4)]


def test_seg_f1_is_taken_at_the_threshold_of_the_maps_of_validation(bench, root):
    words = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")
    where = ("--data", "mvtec_ad_2", "--data.root", root, "--data.image_size", "48", "--protocol", "full")
    outcome = bench("fit", *words, *where, "--category", "can", "--json", "--wandb", "disabled")
    run, metrics = next(Path("runs").rglob("record.json")).parent, json.loads(outcome.stdout)["metrics"]
    maps = {}
    for split, kinds in {"validation": ["good"], "test_public": ["good", "bad"]}.items():
        photos = [root / "can" / split / kind for kind in kinds]
        assert bench("predict", "--run", run, *photos, "--maps", "--out", split).status == 0
        maps[split] = {path.stem: np.asarray(Image.open(path)) for path in sorted(Path(split).rglob("*.tiff"))}
    normal = np.stack([*maps["validation"].values()]).astype(np.float64)
    assert metrics["seg_threshold"] == pytest.approx(normal.mean() + 3 * normal.std(), rel=1e-6)
    masks = {
        path.stem.removesuffix("_mask"): np.asarray(Image.open(path)) > 0 for path in root.glob("can/*/*/bad/*.png")
    }
    none = np.zeros((48, 48), np.bool_)
    truth = np.stack([masks.get(name, none) for name in maps["test_public"]])
    found = np.stack([*maps["test_public"].values()]) > metrics["seg_threshold"]
    assert metrics["seg_f1"] == pytest.approx(f1_score(truth.ravel(), found.ravel()), abs=1e-9)
    again = bench("test", "--run", run)
    assert again.status == 0, again.stderr


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: shutil.rmtree(folder / "train"), "no images in .*can/train/good; unpack the archive"),
        (lambda folder: shutil.rmtree(folder / "validation"), "no images in .*can/validation/good; unpack the archive"),
        (
            lambda folder: (folder / "test_public/ground_truth/bad/000_overexposed_mask.png").unlink(),
            "no mask for 1 of 4 defect images in .*expected .*ground_truth/bad/000_overexposed_mask.png",
        ),
    ],
)
def test_an_object_that_lacks_something_is_named(tmp_path, damage, words):
    damage(write_mvtec_ad_2(tmp_path, "can"))
    with pytest.raises(UsageError, match=words):
        _ = read(tmp_path).full_category


def test_a_folder_of_ones_own_in_this_layout_is_no_object_of_mvtec_s(tmp_path):
    write_mvtec_ad_2(tmp_path, "tablet")
    data = read(tmp_path, "tablet")
    assert data.differences == ["'tablet' is no object of MVTec AD 2"]
    assert data.licence is None
