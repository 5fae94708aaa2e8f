"""Leaderboards of one model for several products: a row for each, a table of their own, the gap to one for each."""

import csv
import json
from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from bench.config.cell import fingerprint_of
from bench.leaderboard.collect import collect
from bench.leaderboard.one_for_all import MEAN
from bench.leaderboard.tables import build_tables
from bench.metrics.bootstrap import DETECTION_STATISTICS, resample
from bench.metrics.image import image_metrics
from bench.records.predictions import Predicted, write_predictions
from bench.records.record import ProductRecord
from fake_records import change_record, make_record, write_record

PRODUCTS = ("bolt", "nut")
ALONE = {
    "bolt": {"good": (0.1, 0.2, 0.3, 0.4), "bent": (0.35, 0.6, 0.9), "worn": (0.15, 0.5)},
    "nut": {"good": (1.0, 1.2, 1.4, 1.6, 1.8), "bent": (1.5, 2.0, 1.1, 2.5)},
}
FOR_ALL = {
    "bolt": {"good": (0.3, 0.2, 0.6, 0.5), "bent": (0.35, 0.4, 0.9), "worn": (0.15, 0.5)},
    "nut": {"good": (1.0, 1.9, 1.4, 1.6, 1.8), "bent": (1.5, 1.7, 1.1, 2.5)},
}
THRESHOLDS = {"bolt": 0.4, "nut": 1.6}


def rows_of(product: str, scores: dict[str, tuple[float, ...]], owner: str = "") -> list[Predicted]:
    return [
        Predicted(f"{product}/{kind}/{n}.png", f"{product} {kind} {n}", kind, kind != "good", score, (), owner)
        for kind, values in scores.items()
        for n, score in enumerate(values)
    ]


def counts_of(scores: dict[str, tuple[float, ...]]) -> dict[str, int]:
    return {"train/good": 10} | {f"test/{kind}": len(values) for kind, values in scores.items()}


def write_alone(runs: Path, model: str = "one", seed: int = 0) -> None:
    for product, scores in ALONE.items():
        record = make_record(model, product, seed, metrics={"pixel_auroc": 0.9})
        write_record(runs, record, scores)


def write_one_model(runs: Path, model: str = "one", seed: int = 0, shift: float = 0.0) -> Path:
    """One model for both products, whose scores of nuts are raised by `shift`; its folder."""
    products, rows = {}, []
    for product, scores in FOR_ALL.items():
        own = rows_of(product, scores, product)
        threshold = THRESHOLDS[product]
        metrics = image_metrics([row.score for row in own], [row.is_defect for row in own], threshold)
        metrics |= {"threshold": threshold, "pixel_auroc": 0.85, "image_balanced_accuracy_for_all": 0.5}
        products[product] = ProductRecord(
            digest=f"{product:0<64}",
            counts=counts_of(scores),
            validation_images=1,
            differences=[],
            metrics=metrics,
        )
        rows += own
    names = list(PRODUCTS)
    record = make_record(
        model, "bolt+nut", seed, data_settings={"products": names}, track="one-model", digest="d" * 64,
        overrides={"data.products": names}, products=products,
    )  # fmt: skip
    folder = runs / record.model / record.category / record.fingerprint
    folder.mkdir(parents=True)
    sha256 = write_predictions(folder, rows)
    whole = image_metrics([row.score for row in rows], [row.is_defect for row in rows], None)
    counts: Counter[str] = Counter()
    for scores in FOR_ALL.values():
        counts.update(counts_of(scores))
    data = record.data.model_copy(update={"predictions_sha256": sha256, "counts": dict(counts)})
    record.model_copy(update={"metrics": {**record.metrics, **whole}, "data": data}).write(folder)
    return folder


@pytest.fixture
def runs(own_folder: Path) -> Path:
    """One method, once with a model for each product and once with one for both."""
    write_alone(own_folder / "runs")
    write_one_model(own_folder / "runs")
    return own_folder / "runs"


def tables(runs: Path) -> dict:
    found = collect([runs])
    assert not found.problems
    return build_tables(found.sources, intervals=True)


def auroc(scores: dict[str, tuple[float, ...]]) -> float:
    rows = rows_of("x", scores)
    return image_metrics([row.score for row in rows], [row.is_defect for row in rows], None)["image_auroc"]


def test_a_model_for_several_products_is_a_row_for_each_in_a_table_apart(runs):
    found = tables(runs)
    assert set(found) == {"mvtec_ad-one-class", "mvtec_ad-one-model"}
    (table,) = found["mvtec_ad-one-model"]
    assert [section.category for section in table.sections] == list(PRODUCTS)
    for section in table.sections:
        (row,) = section.rows
        assert row.method.full_label == "one", "its products are in the table's title"
        assert row.summarise("image_auroc").mean == pytest.approx(auroc(FOR_ALL[section.category]))
    (standing,) = table.rankings[0].standings
    mean = np.mean([auroc(scores) for scores in FOR_ALL.values()])
    assert standing.macro("image_auroc", PRODUCTS).mean == pytest.approx(mean)
    (alone,) = found["mvtec_ad-one-class"]
    assert [row.summarise("image_auroc").mean for section in alone.sections for row in section.rows] == [
        pytest.approx(auroc(scores)) for scores in ALONE.values()
    ]


def test_models_for_other_products_stand_in_a_table_of_their_own(runs):
    folder = write_one_model(runs.parent / "more", "other")
    record = json.loads((folder / "record.json").read_text())
    names = ["bolt", "nut", "washer"]
    record["config"]["data"]["products"] = names
    record["category"] = record["config"]["category"] = "bolt+nut+washer"
    record["products"]["washer"] = record["products"]["nut"] | {"metrics": {}, "counts": {}}
    record["fingerprint"] = fingerprint_of(record["config"], record["weights"], record["data"]["digest"])
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "predictions.csv").unlink()
    found = build_tables(collect([runs, runs.parent / "more"]).sources, intervals=False)
    assert [table.key.products for table in found["mvtec_ad-one-model"]] == ["bolt, nut", "bolt, nut, washer"]


def test_the_gap_of_a_product_is_a_paired_bootstrap_over_its_own_images(runs):
    (table,) = tables(runs)["mvtec_ad-one-model"]
    gaps = {gap.product: gap for gap in table.gaps}
    statistic = DETECTION_STATISTICS["image_auroc"]
    for product in PRODUCTS:
        both = [rows_of(product, scores[product]) for scores in (ALONE, FOR_ALL)]
        order = np.argsort([f"{row.sha256}" for row in both[0]])
        types = np.array([row.defect_type for row in both[0]])[order]
        before, after = (np.array([row.score for row in rows])[order] for rows in both)
        drawn = resample(types)
        changes = statistic(after, types, drawn) - statistic(before, types, drawn)
        value, low, high = gaps[product].difference.difference
        assert value == pytest.approx(auroc(FOR_ALL[product]) - auroc(ALONE[product]))
        assert (low, high) == pytest.approx(tuple(np.quantile(changes, [0.025, 0.975])), abs=0.02)
        assert gaps[product].for_all["pixel_auroc"] - gaps[product].alone["pixel_auroc"] == pytest.approx(-0.05)


def test_the_mean_gap_is_the_mean_of_the_gaps_with_an_interval_that_holds_all_products(runs):
    (table,) = tables(runs)["mvtec_ad-one-model"]
    gaps = {gap.product: gap for gap in table.gaps}
    value, low, high = gaps[MEAN].difference.difference
    assert value == pytest.approx(np.mean([gaps[name].difference.difference.value for name in PRODUCTS]))
    # Independent images: the half width of a mean of two is the root of the sum of squares, halved.
    widths = [gaps[name].difference.difference.high - gaps[name].difference.difference.low for name in PRODUCTS]
    assert low < value < high
    assert high - low == pytest.approx(np.hypot(*widths) / 2, rel=0.25)


def test_a_run_with_other_settings_images_or_seeds_is_no_partner(runs, own_folder):
    other = own_folder / "other"
    for changes in ({"settings": {"depth": 5}}, {"digest": "a" * 64}, {"seed": 3}):
        for product, scores in ALONE.items():
            write_record(other, make_record(category=product, **changes), scores)
    write_one_model(other)
    (table,) = tables(other)["mvtec_ad-one-model"]
    assert list(table.gaps) == []


def test_a_setting_that_is_newer_than_a_record_counts_as_the_presets_value(own_folder):
    runs = own_folder / "runs"
    write_alone(runs)
    folder = write_one_model(runs)
    record = json.loads((folder / "record.json").read_text())
    for overridden, partners in ((False, [*PRODUCTS, MEAN]), (True, [])):
        record["config"]["model"]["depth"] = 5
        record["overrides"] = {"data.products": list(PRODUCTS)} | ({"model.depth": 5} if overridden else {})
        record["fingerprint"] = fingerprint_of(record["config"], record["weights"], record["data"]["digest"])
        (folder / "record.json").write_text(json.dumps(record))
        (table,) = tables(runs)["mvtec_ad-one-model"]
        assert [gap.product for gap in table.gaps] == partners


def test_a_mean_needs_every_product(own_folder):
    runs = own_folder / "runs"
    write_record(runs, make_record(category="nut", metrics={}), ALONE["nut"])
    write_one_model(runs)
    (table,) = tables(runs)["mvtec_ad-one-model"]
    assert [gap.product for gap in table.gaps] == ["nut"]


def test_every_format_tells_the_gaps(runs, bench):
    outcome = bench("leaderboard", "runs")
    assert outcome.status == 0, outcome.stderr
    text = Path("leaderboards/mvtec_ad-one-model.md").read_text()
    assert "## One model for bolt, nut. " in text
    gap = auroc(FOR_ALL["nut"]) - auroc(ALONE["nut"])
    line = next(line for line in text.splitlines() if line.startswith("| one | nut |"))
    assert f"| {gap:+.3f} [" in line
    assert "\\" not in line
    page = Path("leaderboards/mvtec_ad-one-model.html").read_text()
    assert "One per product against one for all" in page
    assert f"{gap:+.3f} [" in page
    rows = list(csv.DictReader(StringIO(Path("leaderboards/mvtec_ad-one-model.csv").read_text())))
    (row,) = [row for row in rows if (row["category"], row["metric"]) == ("nut", "image_auroc")]
    assert row["products"] == "bolt, nut"
    assert float(row["one_per_product"]) == pytest.approx(auroc(ALONE["nut"]))
    assert float(row["gap"]) == pytest.approx(gap, abs=1e-6)
    assert float(row["gap_low"]) <= gap <= float(row["gap_high"])
    (mean,) = [row for row in rows if (row["category"], row["metric"]) == ("mean", "image_auroc")]
    assert mean["gap"] != ""
    assert "gap" not in Path("leaderboards/mvtec_ad-one-class.csv").read_text().splitlines()[0]
    assert bench("leaderboard", "runs", "--check").status == 0


def test_a_published_record_keeps_its_products(runs, bench):
    outcome = bench("leaderboard", "runs", "--publish")
    assert outcome.status == 0, outcome.stderr
    (file,) = Path("leaderboards/records/one/bolt+nut").rglob("record.json")
    assert list(json.loads(file.read_text())["products"]) == list(PRODUCTS)


def test_a_comparison_with_a_run_on_one_product_is_of_that_product(runs, bench):
    folder = next((runs / "one" / "bolt+nut").iterdir())
    alone = next((runs / "one" / "nut").iterdir())
    outcome = bench("compare", folder, alone, "--json")
    assert outcome.status == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["metrics"]["image_auroc"] == {
        "before": pytest.approx(auroc(FOR_ALL["nut"])),
        "after": pytest.approx(auroc(ALONE["nut"])),
    }
    assert found["images"] == "9 images that both predicted"


def changed(record: dict, how: str) -> dict:
    products = record["products"]
    nut = products["nut"]
    match how:
        case "auroc":
            return {"products": products | {"nut": nut | {"metrics": nut["metrics"] | {"image_auroc": 0.99}}}}
        case "recall":
            return {"products": products | {"nut": nut | {"metrics": nut["metrics"] | {"image_recall": 0.99}}}}
        case "threshold":
            return {"products": products | {"nut": nut | {"metrics": nut["metrics"] | {"threshold": 1.05}}}}
        case "missing":
            return {"products": {"bolt": products["bolt"]}}
        case "renamed":
            return {"products": {"bolt": products["bolt"], "screw": nut}}
        case "none":
            return {"products": None}
        case "counts":
            return {"products": products | {"nut": nut | {"counts": nut["counts"] | {"test/good": 50}}}}
        case "track":
            return {"track": "one-class"}
        case "category":
            return {"category": "nut"}
    raise ValueError(how)


CHANGES = {
    "auroc": "image_auroc of nut is not that of its predictions",
    "recall": "image_recall of nut is not that of its predictions",
    "threshold": "of nut is not that of its predictions",
    "missing": "products: not those of its settings",
    "renamed": "products: not those of its settings",
    "none": "products: none",
    "counts": "products: their images are not those of the run",
    "track": "config: 'data.products' are not those of its track and category",
    "category": "config: 'data.products' are not those of its track and category",
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_record_whose_products_were_changed_is_named_and_left_out(how, runs, bench):
    folder = write_one_model(runs, "bad")
    change_record(folder, **changed(json.loads((folder / "record.json").read_text()), how))
    outcome = bench("leaderboard", "runs")
    assert outcome.status == 1
    lines = outcome.stderr.splitlines()
    assert CHANGES[how] in lines[0]
    assert len(lines) == 2


def test_a_record_of_one_product_that_claims_several_is_left_out(runs, bench):
    folder = write_record(runs, make_record("bad"), ALONE["bolt"])
    products = json.loads((next((runs / "one" / "bolt+nut").iterdir()) / "record.json").read_text())["products"]
    change_record(folder, products=products)
    outcome = bench("leaderboard", "runs")
    assert outcome.status == 1
    assert "products: no setting names products" in outcome.stderr
