"""`bench leaderboard --baseline NAME`: the paired difference of each method from a named one."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bench.leaderboard.aggregate import aggregate
from bench.leaderboard.collect import collect
from bench.leaderboard.paired import image_auroc_difference
from fake_records import make_record, write_record

TYPES = {"good": 20, "scratch": 12, "hole": 8}
BOARD = Path("leaderboards/mvtec_ad-one-class")


def write(runs: Path, model: str, strength: float, **values: object) -> None:
    """A record of each of two seeds, and its predictions."""
    for seed in (0, 1):
        rng = np.random.default_rng([seed, *model.encode()])
        scores = {kind: (rng.normal(size=n) + strength * (kind != "good")).tolist() for kind, n in TYPES.items()}
        write_record(runs, make_record(model, seed=seed, **values), scores)


@pytest.fixture
def runs(own_folder: Path) -> Path:
    runs = own_folder / "runs"
    for model, strength in (("plain", 1.0), ("better", 3.0), ("worse", 0.2)):
        write(runs, model, strength)
    return runs


@pytest.fixture
def differences(runs) -> dict[str, tuple[float, float, float]]:
    (rows,) = aggregate(collect([runs]).sources).values()
    by_name = {row.method.model: row for row in rows}
    return {
        name: tuple(image_auroc_difference(by_name["plain"], by_name[name]).difference) for name in ("better", "worse")
    }


@pytest.fixture
def board(bench, runs) -> Path:
    outcome = bench("leaderboard", "runs", "--baseline", "plain")
    assert outcome.status == 0, outcome.stderr
    return BOARD


def test_markdown_and_the_page_show_the_difference_of_each_method_from_the_named_one(board, differences):
    assert differences["better"][1] > 0 > differences["worse"][2]
    for suffix in (".md", ".html"):
        text = board.with_suffix(suffix).read_text(encoding="utf-8")
        assert "to plain (95 %)" in text
        assert "to the best" not in text.lower()
        for value, low, high in differences.values():
            assert f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" in text
    assert "| baseline |" in board.with_suffix(".md").read_text(encoding="utf-8")
    assert "number of comparisons, 2:" in board.with_suffix(".md").read_text(encoding="utf-8")


def test_the_csv_names_the_baseline_and_holds_the_differences(board, differences):
    rows = list(csv.DictReader(board.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    assert "best" not in rows[0]
    found = {row["model"]: row for row in rows if row["metric"] == "image_auroc" and row["difference"]}
    assert found.keys() == differences.keys()
    for name, row in found.items():
        assert row["baseline"] == "plain"
        assert tuple(float(row[key]) for key in ("difference", "low", "high")) == pytest.approx(
            differences[name], abs=1e-6
        )


def test_a_category_without_the_baseline_says_so(bench, runs):
    write(runs, "better", 3.0, category="bottle")
    assert bench("leaderboard", "runs", "--baseline", "plain").status == 0
    text = BOARD.with_suffix(".md").read_text(encoding="utf-8")
    assert "No difference to plain: no figure of plain on these images (better)." in text


def test_a_table_without_the_baseline_says_so_and_has_no_column(bench, runs):
    for name in ("plain", "better"):
        write(runs, name, 1.0, protocol="full")
    write(runs, "other", 1.0, protocol="full", settings={"size": 3})
    assert bench("leaderboard", "runs", "--baseline", "worse").status == 0
    text = BOARD.with_suffix(".md").read_text(encoding="utf-8")
    assert "no method here is worse, so nothing is compared with it" in text
    assert text.count("to worse (95 %)") == 1


def test_a_variant_is_named_by_its_label_and_a_model_of_several_variants_is_refused(bench, refuse, runs):
    for size in (3, 4):
        write(runs, "sized", size, settings={"size": size}, overrides={"model.size": size})
    line = refuse("leaderboard", "runs", "--baseline", "sized")
    assert "several methods are named so; name one of 'sized (size=3)', 'sized (size=4)'" in line
    assert bench("leaderboard", "runs", "--baseline", "sized (size=4)").status == 0
    assert "to sized (size=4) (95 %)" in BOARD.with_suffix(".md").read_text(encoding="utf-8")


def test_an_unknown_baseline_is_answered_with_the_nearest_and_writes_nothing(refuse, runs):
    assert "unknown baseline 'betterr'; did you mean 'better'?" in refuse(
        "leaderboard", "runs", "--baseline", "betterr"
    )
    assert not BOARD.parent.exists()


def test_a_baseline_without_intervals_is_refused(refuse, runs):
    assert "leave out --no-bootstrap" in refuse("leaderboard", "runs", "--baseline", "plain", "--no-bootstrap")
