import csv
import json
from pathlib import Path

import pytest

from bench.leaderboard.aggregate import aggregate, read_records
from bench.record import Record


@pytest.fixture
def record(finished: Path) -> Record:
    return Record.read(finished)


def write(folder: Path, record: Record, **changes: object) -> Record:
    """A copy of a real record under `folder`, with some values changed."""
    metrics = {**record.metrics, **changes.pop("metrics", {})}
    changed = record.model_copy(update={"metrics": metrics, **changes})
    path = folder / changed.model / changed.fingerprint
    path.mkdir(parents=True)
    changed.write(path)
    return changed


def write_seeds(folder: Path, record: Record, aurocs: tuple[float, ...], **changes: object) -> None:
    for seed, auroc in enumerate(aurocs):
        fingerprint = f"{changes.get('model', 'a')}{changes.get('category', 'b')}{seed}"
        write(folder, record, seed=seed, fingerprint=fingerprint, metrics={"image_auroc": auroc}, **changes)


def test_mean_and_sample_deviation_over_seeds_stand_in_both_tables(record, bench, own_folder):
    write_seeds(own_folder / "runs", record, (0.7, 0.8, 0.9))
    outcome = bench("leaderboard")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.split() == ["leaderboards/mvtec_ad-one-class.md", "leaderboards/mvtec_ad-one-class.csv"]
    assert "| 3 | 0.8000 ± 0.1000 |" in Path("leaderboards/mvtec_ad-one-class.md").read_text()
    rows = list(csv.DictReader(Path("leaderboards/mvtec_ad-one-class.csv").read_text().splitlines()))
    row = next(row for row in rows if row["metric"] == "image_auroc")
    assert (float(row["mean"]), float(row["spread"]), row["seeds"]) == (pytest.approx(0.8), pytest.approx(0.1), "0 1 2")


def test_one_seed_has_no_spread(record, bench, own_folder):
    write_seeds(own_folder / "runs", record, (0.75,))
    bench("leaderboard")
    assert "| 1 | 0.7500 |" in Path("leaderboards/mvtec_ad-one-class.md").read_text()


PAPER = {"official": True, "overrides": {}, "reference": "cutpaste/3way/paper", "differs": "", "model": "cutpaste"}


def test_published_figures_stand_beside_the_mean_with_the_difference(record, bench, own_folder):
    write_seeds(own_folder / "runs", record, (0.85, 0.87), **PAPER)
    bench("leaderboard")
    text = Path("leaderboards/mvtec_ad-one-class.md").read_text()
    assert "| published image AUROC |" in text
    assert "published pixel AUROC" not in text, "the paper has none for this variant"
    assert "| 0.863 (-0.003) |" in text
    assert "Published: cutpaste `cutpaste/3way/paper`." in text
    assert "\\*" not in text
    rows = list(csv.DictReader(Path("leaderboards/mvtec_ad-one-class.csv").read_text().splitlines()))
    published = {row["metric"]: (row["published"], row["published_for"]) for row in rows}
    assert published["image_auroc"] == ("0.863", "screw")
    assert published["pixel_auroc"] == published["fit_seconds"] == ("", "")


def test_what_does_not_follow_the_published_protocol_is_marked_and_explained_below(record, bench, own_folder):
    write_seeds(own_folder / "runs", record, (0.85,), **PAPER)
    write_seeds(own_folder / "runs", record, (0.8,), **PAPER | {"model": "hasty", "differs": "5 minutes of training"})
    write_seeds(own_folder / "runs", record, (0.7,), **PAPER | {"model": "other", "reference": None})
    bench("leaderboard")
    text = Path("leaderboards/mvtec_ad-one-class.md").read_text()
    marks = {line.split(" | ")[0]: line.split(" | ")[7] for line in text.splitlines() if line.startswith("| ")}
    assert marks["| cutpaste"] == "0.863 (-0.013)"
    assert marks["| hasty"] == "0.863\\*"
    assert marks["| other"] == "-"
    assert "\\* Not the published protocol, so no difference is shown: 5 minutes of training (hasty)." in text


def test_the_same_records_give_the_same_bytes_wherever_they_lie(record, bench, own_folder):
    write_seeds(own_folder / "one", record, (0.7, 0.8))
    write_seeds(own_folder / "one", record, (0.6,), category="bottle")
    for path in sorted((own_folder / "one").rglob("record.json"), reverse=True):
        copy = own_folder / "two" / path.parent.name / "deeper"
        copy.mkdir(parents=True)
        (copy / "record.json").write_bytes(path.read_bytes())
    bench("leaderboard", "one", "--out", "first")
    bench("leaderboard", "two", "one", "--out", "second")
    for name in ("mvtec_ad-one-class.md", "mvtec_ad-one-class.csv"):
        assert Path("first", name).read_bytes() == Path("second", name).read_bytes()


def test_methods_are_ordered_by_image_auroc_within_a_category(record, own_folder):
    write_seeds(own_folder / "runs", record, (0.6,), model="worse")
    write_seeds(own_folder / "runs", record, (0.9,), model="better")
    (rows,) = aggregate(read_records([own_folder / "runs"])).values()
    assert [row.key.model for row in rows] == ["better", "worse"]


@pytest.mark.parametrize(
    "difference", [{"dataset": "synthetic"}, {"track": "supervised"}, {"official": True}], ids=lambda d: next(iter(d))
)
def test_what_cannot_be_compared_is_never_in_one_table(difference, record, own_folder):
    write(own_folder / "runs", record, fingerprint="1")
    write(own_folder / "runs", record, fingerprint="2", **difference)
    assert len(aggregate(read_records([own_folder / "runs"]))) == 2


def test_the_two_resolutions_of_pixel_metrics_are_never_in_one_table(record, own_folder):
    write(own_folder / "runs", record, fingerprint="1")
    write(own_folder / "runs", record, fingerprint="2", config={**record.config, "protocol": "full"})
    assert len(aggregate(read_records([own_folder / "runs"]))) == 2


def test_another_setting_is_another_row_that_names_it(record, own_folder):
    write(own_folder / "runs", record, fingerprint="1", overrides={})
    write(own_folder / "runs", record, fingerprint="2", overrides={"model.latent_dim": 7, "data.root": "/elsewhere"})
    (rows,) = aggregate(read_records([own_folder / "runs"])).values()
    assert sorted(row.key.variant for row in rows) == ["", "latent_dim=7"]


def test_failed_runs_are_left_out(record, bench, own_folder):
    write(own_folder / "runs", record, fingerprint="1", status="failed")
    outcome = bench("leaderboard")
    assert outcome.status == 2
    assert "no finished record in runs" in outcome.stderr


def test_a_broken_record_is_named(record, bench, own_folder):
    write(own_folder / "runs", record, fingerprint="1")
    (path,) = (own_folder / "runs").rglob("record.json")
    path.write_text(json.dumps({"schema": 1}))
    outcome = bench("leaderboard")
    assert outcome.status == 2
    assert "record.json is no record" in outcome.stderr
