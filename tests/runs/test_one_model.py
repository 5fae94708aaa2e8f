"""A run of one model for several products: its figures, thresholds and record, and what refuses to be one."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from bench.models.base import as_floats
from conftest import run_bench
from fake_data import write_btad, write_elpv, write_loco, write_mvtec_ad_2, write_visa
from fake_products import PRODUCTS, TOGETHER, quick_method, write_products


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_products(tmp_path_factory.mktemp("products"))


# A threshold from held-out images, below some of them: decisions at one's own and at the one for all then differ.
DECIDED = ("--data.validation_share", "0.25", "--threshold_quantile", "0.75")


def fit(folder: Path, root: Path, *words: str) -> Path:
    """The folder of a run of one model for both products; later words win."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        together = () if "--category" in words else ("--one-model", "screw,carpet")
        outcome = run_bench("fit", *quick_method(root), *together, *words, "--runs", folder / "runs")
    assert outcome.status == 0, outcome.stderr
    return next((folder / "runs").rglob("record.json")).parent


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Path:
    """A finished run whose threshold comes from held-out images; only to be read."""
    return fit(tmp_path_factory.mktemp("run"), root, *DECIDED)


@pytest.fixture(scope="module")
def record(run) -> dict:
    return json.loads((run / "record.json").read_text())


@pytest.fixture(scope="module")
def predictions(run) -> pd.DataFrame:
    return pd.read_csv(run / "predictions.csv")


@pytest.fixture(scope="module")
def tested(run):
    """The run's model with its test images: maps (N, H, W), masks, defect types and products."""
    from bench.data.products import make_data
    from bench.runs.scoring.scorer import load_run

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(run / "cache"))
        found = load_run(run)
        data = make_data(found.config)
        data.prepare_data()
        batch = data.test_batch(list(range(len(data.category.test))))
    maps = found.models[0].predict(as_floats(batch.image)).map
    return found.models[0], data, batch, maps


def test_a_run_bears_the_names_of_its_products_and_a_track_of_its_own(run, record):
    assert run.parent.name == record["category"] == TOGETHER
    assert record["track"] == "one-model"
    assert record["config"]["data"]["products"] == list(record["products"]) == list(PRODUCTS)
    assert record["reference"] is None


@pytest.mark.parametrize("product", PRODUCTS)
def test_figures_of_images_are_those_of_scikit_learn_on_the_predictions_of_the_product(product, record, predictions):
    rows = predictions[predictions["product"] == product]
    assert rows["path"].str.startswith(f"{product}/").all()
    metrics = record["products"][product]["metrics"]
    assert metrics["image_auroc"] == pytest.approx(roc_auc_score(rows["label"], rows["score"]), abs=1e-12)
    assert metrics["image_ap"] == pytest.approx(average_precision_score(rows["label"], rows["score"]), abs=1e-12)
    assert metrics["image_accuracy"] != metrics["image_accuracy_for_all"], "or the test could not tell them apart"
    for threshold, suffix in ((metrics["threshold"], ""), (record["metrics"]["threshold"], "_for_all")):
        decided = rows["score"] > threshold
        assert metrics[f"image_accuracy{suffix}"] == pytest.approx(accuracy_score(rows["label"], decided))
        assert metrics[f"image_balanced_accuracy{suffix}"] == pytest.approx(
            balanced_accuracy_score(rows["label"], decided)
        )


def test_figures_by_defect_type_are_of_the_product_alone_though_types_share_a_name(record, predictions):
    for product in PRODUCTS:
        own = predictions[predictions["product"] == product]
        rows = own[own["defect_type"].isin(["good", "blob"])]
        found = record["products"][product]["metrics_by_defect"]["blob"]
        assert found["count"] == (rows["label"] == 1).sum()
        assert found["image_auroc"] == pytest.approx(roc_auc_score(rows["label"], rows["score"]), abs=1e-12)


@pytest.mark.parametrize("product", PRODUCTS)
def test_figures_of_pixels_are_those_of_the_exact_metric_on_the_maps_of_the_product(product, record, tested):
    from bench.metrics.pixel import PixelMetrics

    _, data, batch, maps = tested
    own = [index for index, sample in enumerate(data.category.test) if sample.product == product]
    metric = PixelMetrics()
    metric.update(maps[own], torch.stack([batch.mask[index] for index in own]), batch.defect_type[own])
    metrics = record["products"][product]["metrics"]
    for name, value in metric.compute().overall.items():
        assert metrics[name] == pytest.approx(value, abs=1e-9), name
    labels = torch.stack([batch.mask[index] for index in own]).flatten().numpy()
    assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(labels, maps[own].flatten().numpy()), abs=1e-9)


def test_figures_of_all_images_together_are_of_all_predictions_at_one_threshold(record, predictions, tested):
    from bench.metrics.pixel import PixelMetrics

    metrics = record["metrics"]
    assert metrics["image_auroc"] == pytest.approx(roc_auc_score(predictions["label"], predictions["score"]), abs=1e-12)
    decided = predictions["score"] > metrics["threshold"]
    assert metrics["image_accuracy"] == pytest.approx(accuracy_score(predictions["label"], decided))
    _, _, batch, maps = tested
    metric = PixelMetrics()
    metric.update(maps, torch.stack(list(batch.mask)), batch.defect_type)
    for name, value in metric.compute().overall.items():
        assert metrics[name] == pytest.approx(value, abs=1e-9), name


def test_each_threshold_is_the_quantile_of_the_normal_scores_that_it_is_for(run, record):
    scores = pd.read_csv(run / "normal_scores.csv")
    quantile = record["config"]["threshold_quantile"]

    def highest(rows: pd.DataFrame) -> float:
        return float(np.quantile(rows["score"], quantile, method="higher"))

    assert record["metrics"]["threshold"] == highest(scores)
    for product in PRODUCTS:
        own = scores[scores["path"].str.startswith(f"{product}/")]
        assert len(own) == record["products"][product]["validation_images"] > 0
        assert record["products"][product]["metrics"]["threshold"] == highest(own)


def test_segf1_is_at_the_threshold_of_the_products_own_normal_pixels_and_at_the_one_for_all(tested, record):
    model, data, batch, maps = tested
    held_out = next(iter(data.ordered_train_loader(data.validation_indices)))
    normal = model.predict(as_floats(held_out.image)).map.double()
    owners = [data.category.train[index].product for index in held_out.indices.tolist()]
    assert len(owners) == len(data.validation_indices)

    def threshold(pixels: torch.Tensor) -> float:
        return float(pixels.mean() + 3 * pixels.std(correction=0))

    def f1(own: list[int], above: float) -> float:
        labels = torch.stack([batch.mask[index] for index in own]).flatten()
        return float(f1_score(labels, maps[own].double().flatten() > above))

    for product in PRODUCTS:
        metrics = record["products"][product]["metrics"]
        own = [index for index, sample in enumerate(data.category.test) if sample.product == product]
        of_product = threshold(normal[[owner == product for owner in owners]])
        assert metrics["seg_threshold"] == pytest.approx(of_product, rel=1e-6)
        assert metrics["seg_f1"] == pytest.approx(f1(own, of_product), abs=1e-3)
        assert metrics["seg_f1_for_all"] == pytest.approx(f1(own, threshold(normal)), abs=1e-3)
        assert metrics["seg_f1"] != metrics["seg_f1_for_all"], "or the test could not tell them apart"
    everything = list(range(len(data.category.test)))
    assert record["metrics"]["seg_f1"] == pytest.approx(f1(everything, threshold(normal)), abs=1e-3)


def test_padims_gaussians_are_those_of_the_training_images_of_all_products(tested):
    model, data, _, _ = tested
    images = torch.cat([batch.image for batch in data.learning_loader(data.training_indices)])
    owners = {data.category.train[index].product for index in data.training_indices}
    assert owners == set(PRODUCTS)
    with torch.no_grad():
        features = model._embed(as_floats(images)).double()  # (positions, images, channels)
    assert torch.allclose(model.gaussians.mean.double(), features.mean(dim=1), atol=1e-5)


def test_a_product_without_masks_has_no_figures_of_pixels_and_leaves_the_other_its_own(tmp_path):
    bare = write_products(tmp_path / "bare", masks_of_screw=False)
    found = json.loads((fit(tmp_path / "one", bare, "--data.masks", "optional") / "record.json").read_text())
    assert "pixel_auroc" not in found["products"]["screw"]["metrics"]
    whole = write_products(tmp_path / "whole")
    other = json.loads((fit(tmp_path / "other", whole) / "record.json").read_text())
    expected = {name: value for name, value in other["products"]["carpet"]["metrics"].items() if "p" in name}
    assert found["products"]["carpet"]["metrics"]["pixel_auroc"] == expected["pixel_auroc"]
    assert found["metrics"]["pixel_auroc"] == expected["pixel_auroc"], "pixels of good images without masks are none"


def test_the_command_of_the_record_finds_the_run_again(run, record, bench, monkeypatch):
    words = shlex.split(record["command"])
    assert words[:1] == ["bench"]
    assert words[words.index("--one-model") + 1] == "carpet,screw"
    outcome = bench(*words[1:], "--runs", run.parents[2], "--json")
    assert outcome.status == 0, outcome.stderr
    assert json.loads(outcome.stdout)["fingerprint"] == record["fingerprint"]
    assert "finished before" in outcome.stderr


def test_a_test_again_finds_the_same_figures_of_every_product(run, record, bench):
    outcome = bench("test", "--run", run)
    assert outcome.status == 0, outcome.stderr
    assert "the same figures as in the record" in outcome.stdout
    found = json.loads(bench("test", "--run", run, "--json").stdout)
    assert found["products"] == {name: each["metrics"] for name, each in record["products"].items()}


def test_the_terminal_shows_a_row_for_each_product_and_their_mean(run, root, record, bench):
    words = (*quick_method(root), "--one-model", "all", *DECIDED, "--runs", run.parents[2])
    outcome = bench("fit", *words)
    assert outcome.status == 0, outcome.stderr
    above, _, _ = outcome.stdout.partition("all images together")
    assert "AUPRO@0.30" in above, "a terminal of 80 columns cuts nothing"
    for product in PRODUCTS:
        assert f"{record['products'][product]['metrics']['aupro_0.30']:.4f}" in above
    lines = {line.split()[0]: line.split() for line in outcome.stdout.splitlines() if line.strip()}
    aurocs = [record["products"][product]["metrics"]["image_auroc"] for product in PRODUCTS]
    for title, value in zip((*PRODUCTS, "mean"), (*aurocs, np.mean(aurocs)), strict=True):
        assert lines[title][1] == f"{value:.4f}"
    assert "all images together, at one threshold for all products:" in outcome.stdout


def test_predict_decides_at_the_one_threshold_and_says_so(run, root, bench):
    outcome = bench("predict", "--run", run, root / "screw" / "test" / "good", "--stdout")
    assert outcome.status == 0, outcome.stderr
    assert "one model for carpet, screw: its one threshold for all decides" in outcome.stderr
    chosen = bench("predict", "--run", run, root / "screw" / "test" / "good", "--stdout", "--threshold", "3")
    assert "one model" not in chosen.stderr


def test_python_fits_one_model_as_the_command_line_does(run, root, record):
    import bench

    settings = {"model.weights": "none", "model.channels": 8, "data.root": root, "data.image_size": 32}
    settings |= {"data.validation_share": 0.25, "threshold_quantile": 0.75, "trainer.accelerator": "cpu"}
    found = bench.fit("padim", one_model=["screw", "carpet"], settings=settings, runs=run.parents[2], progress=False)
    assert found.record.fingerprint == record["fingerprint"]
    assert not found.is_new
    shown, value = found._repr_html_(), record["products"]["screw"]["metrics"]["image_auroc"]
    assert f"<tr><td>screw</td><td>{value:.4f}</td>" in shown
    frame = bench.load_records(run)
    assert frame["category"].tolist() == [TOGETHER]


def test_the_report_has_a_row_for_each_product_and_their_mean(run, record, bench, tmp_path):
    shutil.copytree(run, own := tmp_path / run.name)
    outcome = bench("report", own)
    assert outcome.status == 0, outcome.stderr
    page = (own / "report.html").read_text()
    aurocs = [record["products"][product]["metrics"]["image_auroc"] for product in PRODUCTS]
    for title, value in zip((*PRODUCTS, "mean"), (*aurocs, np.mean(aurocs)), strict=True):
        assert f'<tr><th scope="row">{title}</th><td>{value:.4f}</td>' in page
    assert "All images together, at one threshold for all products" in page


def test_a_finished_run_is_found_again_by_its_folder(run, record, bench):
    outcome = bench("fit", "--resume", run, "--json")
    assert outcome.status == 0, outcome.stderr
    assert json.loads(outcome.stdout)["fingerprint"] == record["fingerprint"]


def test_wandb_has_the_figures_of_every_product(root, tmp_path, monkeypatch):
    from offline_runs import read_offline_run

    monkeypatch.setenv("WANDB_MODE", "offline")
    words = (*quick_method(root), "--one-model", "all", "--wandb", "offline", "--runs", tmp_path / "tracked", "--json")
    outcome = run_bench("fit", *words)
    assert outcome.status == 0, outcome.stderr
    summary, products = read_offline_run(tmp_path / "tracked").summary, json.loads(outcome.stdout)["products"]
    for product, figures in products.items():
        assert summary[f"by_product/{product}/image_auroc"] == figures["metrics"]["image_auroc"]


WRONG = (
    (("--one-model", "screw,nut"), "nut"),
    (("--one-model", "screw"), "--one-model screw is one product: name several, or all, or fit it: --category screw"),
    (("--one-model", "screw,carpet,screw"), "--one-model names screw twice; name each product once"),
    (("--one-model", "all,screw"), "--one-model all takes every product of the data; leave out the other names"),
    (("--one-model", ","), "--one-model expects several products, such as bottle,screw, or all"),
    (("--one-model", "screw,carpet", "--category", "screw"), "--one-model names the products; leave out the category"),
    (("--one-model", "screw,carpet", "--data.fold", "0"), "leave out --data.fold"),
    (("--category", "screw", "--data.products", '["carpet", "screw"]'), "--one-model A,B"),
)


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_is_no_model_for_several_products_is_refused_in_one_line(words, line, root, refuse):
    assert line in refuse("fit", *quick_method(root), *words)


def test_all_products_of_data_with_one_are_refused(data_root, refuse):
    line = refuse("fit", *quick_method(data_root), "--one-model", "all")
    assert line == "bench: --one-model all: the data have one product, screw; fit it: --category screw"


def test_a_classifier_is_refused(root, refuse):
    line = refuse("fit", "--model", "classifier", "--one-model", "carpet,screw", "--data.root", root)
    assert line == "bench: classifier learns the defects of one product: leave out --one-model"
    line = refuse("sweep", "--models", "classifier", "--one-model", "carpet,screw", "--data.root", root)
    assert line == "bench: classifier learns the defects of one product: leave out --one-model"


def test_a_sweep_of_one_model_has_a_cell_for_each_method_and_seed(root, bench, refuse, tmp_path):
    words = ("sweep", "--models", "padim,knn", "--one-model", "all", "--seeds", "0,1", "--data.root", root)
    outcome = bench(*words, "--set", "model.weights=none", "--dry-run", "--json")
    assert outcome.status == 0, outcome.stderr
    cells = json.loads(outcome.stdout)
    assert [(cell["category"], cell["seed"]) for cell in cells] == [(TOGETHER, 0), (TOGETHER, 1)] * 2
    file = tmp_path / "grid.yaml"
    file.write_text("models: [padim, knn]\none_model: all\nseeds: [0, 1]\n", encoding="utf-8")
    options = ("--data.root", root, "--set", "model.weights=none", "--dry-run", "--json")
    assert json.loads(bench("sweep", file, *options).stdout) == cells
    line = refuse(*words, "--categories", "screw")
    assert line == "bench: --one-model names the products; leave out --categories"


def write_dataset(name: str, root: Path) -> list[str]:
    """Two tiny products in the layout of a dataset; their names."""
    match name:
        case "elpv":
            cells = {"0.0": 12, "1.0": 4}
            write_elpv(root, {"mono": cells, "poly": cells})
            return ["mono", "poly"]
        case "mvtec_ad_2":
            for product in ("can", "vial"):
                write_mvtec_ad_2(root, product)
            return ["can", "vial"]
        case "visa":
            write_visa(root, {"candle": (10, 4, 4), "pcb1": (12, 3, 5)})
            return ["candle", "pcb1"]
        case "btad":
            write_btad(root, {"01": (10, 4, 4), "02": (12, 3, 5)})
            return ["01", "02"]
        case "mvtec_loco":
            for product, side in (("juice_bottle", 40), ("pushpins", 48)):
                write_loco(root, product, side=side)
            return ["juice_bottle", "pushpins"]
    raise ValueError(name)


@pytest.mark.parametrize("dataset", ["elpv", "mvtec_ad_2", "visa", "btad", "mvtec_loco"])
def test_every_dataset_makes_one_model_with_the_images_of_each_product_alone(dataset, tmp_path, bench):
    products = write_dataset(dataset, tmp_path / "data")
    options = (*quick_method(tmp_path / "data"), "--data", dataset, "--json")
    outcome = bench("fit", *options, "--one-model", "all")
    assert outcome.status == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert list(found["products"]) == products
    assert ("no sPRO: it is of a run on one product" in outcome.stderr) == (dataset == "mvtec_loco")
    for product in products:
        alone = json.loads(bench("fit", *options, "--category", product).stdout)
        own = found["products"][product]
        assert own["digest"] == alone["data"]["digest"]
        assert own["counts"] == alone["data"]["counts"]
        assert own["validation_images"] == alone["data"]["validation_images"]
        apart = {name for name in alone["metrics"] if name not in own["metrics"]}
        assert apart <= {"spro_0.05"}, "every other figure of a run on the product alone is there"
    outcome = bench("leaderboard", "runs", "--no-bootstrap")
    assert outcome.status == 0, outcome.stderr
    text = Path(f"leaderboards/{dataset}-one-model.md").read_text()
    assert all(f"| {product} | 1 |" in text for product in products), "each has its gap"


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(root, tmp_path):
    found = []
    for count in (1, 2):
        words = (*quick_method(root), "--one-model", "carpet,screw", *DECIDED, "--json")
        command = [sys.executable, "-m", "bench", "fit", *words, "--runs", str(tmp_path / str(count))]
        command += ["--trainer.devices", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ}, timeout=240)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    one, two = found
    assert (one["cost"]["processes"], two["cost"]["processes"]) == (1, 2)
    for product in PRODUCTS:
        for name, value in one["products"][product]["metrics"].items():
            assert two["products"][product]["metrics"][name] == pytest.approx(value, abs=1e-6), (product, name)
    for name, value in one["metrics"].items():
        assert two["metrics"][name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["patchcore", "autoencoder", "fastflow", "stfpm", "reverse_distillation_mobilenetv2", "dinomaly"]
)
def test_other_methods_make_one_model_as_well(method, root, tmp_path):
    words = {
        "patchcore": ("--model.weights", "none"),
        "autoencoder": ("--epochs", "1", "--data.texture_patch", "null"),
        "stfpm": ("--epochs", "1", "--model.weights", "none"),
        "reverse_distillation_mobilenetv2": ("--epochs", "1", "--model.weights", "none"),
        "fastflow": ("--epochs", "1", "--model.weights", "none"),
        "dinomaly": (
            *("--epochs", "1", "--model.weights", "none", "--model.backbone", "test_vit", "--model.levels", "[0,1]"),
            *("--data.crop", "null", "--data.samples_per_epoch", "32"),
        ),
    }
    own = ("--model", method, *words[method], "--data.root", root, "--data.image_size", "64")
    outcome = run_bench("fit", *own, "--one-model", "all", "--trainer.accelerator", "cpu", "--json")
    assert outcome.status == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert list(found["products"]) == list(PRODUCTS)
    assert all(each["metrics"]["threshold"] is not None for each in found["products"].values())
