"""The supervised track through the real command line: folds, pooled predictions, resumption, processes."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score

from bench.data.datamodule import DefectData
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.loading import BatchSampler
from fake_data import save, weave, write_category
from runs.test_processes import run_processes

DEFECTS = {"blob": 9, "scratch": 7}
SMALL = ("--model", "classifier", "--model.weights", "none", "--category", "screw", "--data.image_size", "32")
TINY = ("--model.library", "timm", "--model.backbone", "test_resnet")  # timm's smallest network
QUICK = (*SMALL, *TINY, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--data.folds", "3")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    write_category(root, train=14, good=5, defects=DEFECTS)
    return root


@pytest.fixture(scope="module")
def run(root, bench, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("supervised")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        outcome = bench("fit", *QUICK, "--data.root", root, "--runs", folder / "runs")
    assert outcome.status == 0, outcome.stderr
    return next((folder / "runs").rglob("record.json")).parent


def record_of(run: Path) -> dict:
    return json.loads((run / "record.json").read_text(encoding="utf-8"))


def predictions_of(run: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    with (run / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    logits = np.array([[float(v) for v in row["logits"].split()] for row in rows])
    return [row["path"] for row in rows], logits, np.array([row["defect_type"] for row in rows])


def labelled(root: Path, cache: Path, **settings) -> DefectData:
    return MVTecAD("screw", 0, "model", root=str(root), image_size=32, folds=3, cache=str(cache), **settings)


def test_every_image_of_the_category_is_predicted_once(run):
    paths, _, types = predictions_of(run)
    assert len(set(paths)) == len(paths) == 14 + 5 + 9 + 7
    assert Counter(types.tolist()) == {"good": 19, "blob": 9, "scratch": 7}
    assert record_of(run)["fold"] == "all"
    assert record_of(run)["data"]["classes"] == {"good": 19, "blob": 9, "scratch": 7}


def test_the_figures_are_those_of_the_pooled_predictions_by_scikit_learn(run):
    _, logits, types = predictions_of(run)
    record = record_of(run)
    classes = record["confusion"]["classes"]
    assert classes == ["good", "blob", "scratch"]
    targets, predicted = np.array([classes.index(name) for name in types]), logits.argmax(axis=1)
    score = np.logaddexp.reduce(logits[:, 1:], axis=1) - logits[:, 0]
    metrics = record["metrics"]
    assert metrics["accuracy"] == pytest.approx(accuracy_score(targets, predicted))
    assert metrics["macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro", zero_division=0))
    assert metrics["image_auroc"] == pytest.approx(roc_auc_score(targets > 0, score))
    assert record["confusion"]["counts"] == confusion_matrix(targets, predicted).tolist()
    low, high = record["intervals"]["accuracy"]
    assert low <= metrics["accuracy"] <= high


def test_pictures_of_the_confusion_and_of_the_mistakes_lie_beside_the_record(run):
    assert {"confusion.png", "mistakes.png"} <= {path.name for path in run.glob("*.png")}


def test_each_fold_leaves_a_checkpoint_and_nothing_to_resume(run):
    assert sorted(path.relative_to(run).as_posix() for path in run.rglob("*.ckpt")) == [
        f"fold-{k}/model.ckpt" for k in range(3)
    ]


def test_a_test_from_the_checkpoints_gives_the_same_figures(run, root, bench):
    again = bench("test", "--run", run, "--data.root", root, "--json")
    assert again.status == 0, again.stderr
    assert json.loads(again.stdout)["metrics"] == record_of(run)["metrics"]


def test_one_fold_is_a_run_of_its_own(root, bench, run):
    outcome = bench("fit", *QUICK, "--data.root", root, "--data.fold", "1", "--json")
    record = json.loads(outcome.stdout)
    assert record["fold"] == 1
    paths, logits, _ = predictions_of(next(Path("runs").rglob("record.json")).parent)
    pooled, all_logits, _ = predictions_of(run)
    places = [pooled.index(path) for path in paths]
    np.testing.assert_array_equal(all_logits[places], logits)


@pytest.mark.parametrize("per_class", [None, 5])
def test_no_image_stands_on_both_sides_of_any_fold(root, tmp_path, per_class):
    data = labelled(root, tmp_path, fold="all", per_class=per_class, validation_share=0.2)
    tested = []
    for part in data.each_fold():
        hashes = part.full_category.hashes
        learned = {hashes[part.category.train[i].path] for i in part.training_indices}
        validated = {hashes[part.category.train[i].path] for i in part.validation_indices}
        own = {hashes[sample.path] for sample in part.category.test}
        assert learned and validated and own
        assert not (learned & own or learned & validated or validated & own)
        tested += own
    assert len(tested) == len(set(tested)) == (15 if per_class else 35)


def test_a_copy_of_a_photograph_is_tested_in_the_fold_of_the_original(root, tmp_path):
    copied = tmp_path / "data"
    folder = write_category(copied, train=14, good=5, defects=DEFECTS)
    brighter = np.clip(weave(48, "train/3").astype(int) + 3, 0, 255).astype(np.uint8)
    save(brighter, folder / "test" / "good" / "900.png")
    for part in labelled(copied, tmp_path / "cache", fold="all").each_fold():
        names = {sample.relative for sample in part.category.test}
        assert ("screw/test/good/900.png" in names) == ("screw/train/good/003.png" in names)


def test_augmentation_never_touches_tested_or_validation_images(root, tmp_path):
    plain = labelled(root, tmp_path, fold=0, validation_share=0.2)
    changed = labelled(root, tmp_path, fold=0, validation_share=0.2, augmentation="strong")
    for one, other in (
        (plain.test_dataloader(), changed.test_dataloader()),
        (plain.val_dataloader(), changed.val_dataloader()),
    ):
        for first, second in zip(one, other, strict=True):
            assert (first.image == second.image).all()
    first, second = next(iter(plain.train_dataloader())), next(iter(changed.train_dataloader()))
    assert (first.indices == second.indices).all()
    assert (first.image != second.image).any()


def test_only_minorities_are_changed_by_their_own_augmentation(root, tmp_path):
    plain = labelled(root, tmp_path, fold=0)
    changed = labelled(root, tmp_path, fold=0, minority_augmentation="strong")
    for first, second in zip(plain.train_dataloader(), changed.train_dataloader(), strict=True):
        same = (first.image == second.image).flatten(1).all(dim=1)
        small = first.defect_type == 2  # 7 scratches of 19 good images; 9 blobs are nearly half
        assert same[first.defect_type == 0].all()
        assert not same[small].any()


def test_the_sampling_of_the_data_reaches_the_loader(root, tmp_path):
    data = labelled(root, tmp_path, fold=0, sampling="balanced", samples_per_epoch=600)
    sampler = data.train_dataloader().sampler
    assert isinstance(sampler, BatchSampler)
    types = [data.category.train[i].defect_type for draw in sampler for i in draw.indices]
    counts = Counter(types)
    assert all(abs(count - 200) < 4 * np.sqrt(600 * 2 / 9) for count in counts.values())


def test_a_resumed_run_goes_on_with_the_fold_that_it_was_in(root, bench, tmp_path, monkeypatch):
    whole = bench("fit", *QUICK, "--data.root", root, "--runs", tmp_path / "whole", "--json")
    from bench.runs import fitting

    train, folds = fitting.train, []

    def stop_in_the_second(*arguments, **settings):
        folds.append(1)
        if len(folds) == 2:
            raise KeyboardInterrupt
        train(*arguments, **settings)

    monkeypatch.setattr(fitting, "train", stop_in_the_second)
    stopped = bench("fit", *QUICK, "--data.root", root, "--runs", tmp_path / "stopped")
    assert stopped.status == 130
    run = next((tmp_path / "stopped").rglob("record.json")).parent
    fitted = torch.load(run / "fold-0" / "model.ckpt", weights_only=True)
    fitted["bench"]["fit_seconds"] += 1000
    torch.save(fitted, run / "fold-0" / "model.ckpt")
    resumed = bench("fit", "--resume", run, "--json")
    assert len(folds) == 4  # the first fold is not learned again
    first, second = json.loads(whole.stdout), json.loads(resumed.stdout)
    assert second["metrics"] == first["metrics"]
    assert second["data"]["predictions_sha256"] == first["data"]["predictions_sha256"]
    assert second["cost"]["fit_seconds"] > fitted["bench"]["fit_seconds"], "the first fold's time counts"


def test_the_end_of_a_run_says_what_small_classes_cannot_tell(root, bench):
    outcome = bench("fit", *QUICK, "--data.root", root)
    assert "scratch has 7 images" in outcome.stdout
    assert "95 % interval" in outcome.stdout


def test_a_class_of_two_images_is_learned_and_tested(bench, tmp_path):
    write_category(tmp_path / "data", train=8, good=3, defects={"blob": 6, "scratch": 2})
    outcome = bench("fit", *QUICK, "--data.root", tmp_path / "data", "--data.validation_share", "0.2")
    assert outcome.status == 0, outcome.stderr
    assert "scratch has 2 images: at least 1 of 3 folds test none" in outcome.stdout


def test_a_class_of_one_image_is_refused(refuse, tmp_path):
    write_category(tmp_path / "data", train=8, good=3, defects={"blob": 6, "scratch": 1})
    line = refuse("fit", *QUICK, "--data.root", tmp_path / "data")
    assert "only one image in test/scratch" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "resnet18", "--model.weights", "none", "--data.fold", "null"), "set --data.fold"),
        (("--model", "autoencoder_l2", "--data.fold", "0"), "leave out --data.fold"),
        (("--model", "resnet18", "--model.weights", "none", "--data.fold", "5"), "between 0 and 4"),
        (("--model", "resnet18", "--model.weights", "none", "--data.per_class", "1"), "--data.per_class 1"),
        (("--model", "autoencoder_l2", "--data.sampling", "balanced"), "leave out --data.sampling"),
        (("--model", "autoencoder_l2", "--data.per_class", "5"), "leave out --data.per_class"),
    ],
)
def test_what_belongs_to_the_other_track_is_refused(refuse, root, arguments, said):
    assert said in refuse("fit", "--category", "screw", "--data.root", root, *arguments)


@pytest.mark.slow
def test_two_processes_give_the_figures_of_given_weights_that_one_gives(root, tmp_path):
    # A rate of nothing: what is tested is the sharing of images, not of gradients.
    still = (*QUICK, "--model.freeze_backbone", "true", "--model.learning_rate", "0", "--data.root", str(root))
    alone = run_processes(1, still, tmp_path / "alone")
    together = run_processes(2, still, tmp_path / "together")
    assert together["cost"]["processes"] == 2
    for name, value in alone["metrics"].items():
        assert together["metrics"][name] == pytest.approx(value, abs=1e-6), name
