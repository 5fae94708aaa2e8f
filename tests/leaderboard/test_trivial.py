"""Methods beside the trivial baselines of their category: who is marked, and by what."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fake_records import make_record, write_record

TYPES = {"good": 40, "scratch": 30, "hole": 30}
MARKDOWN, CSV, PAGE = (Path(f"leaderboards/mvtec_ad-one-class.{ending}") for ending in ("md", "csv", "html"))
LEGEND = "Not clear of the trivial baselines"


def write(runs: Path, model: str, strength: float, *, seed: int = 0, drawn: str = "", scored: bool = True) -> None:
    rng = np.random.default_rng([seed, *(drawn or model).encode()])
    scores = {kind: (rng.normal(size=n) + strength * (kind != "good")).tolist() for kind, n in TYPES.items()}
    write_record(runs, make_record(model, seed=seed), scores if scored else None)


@pytest.fixture
def runs(own_folder: Path) -> Path:
    """The better of two baselines at an image AUROC of about .76; one method clear of it and one not."""
    runs = own_folder / "runs"
    for model, strength in {"trivial": 0.2, "trivial_contrast": 1.0, "strong": 3.0, "weak": 1.1}.items():
        write(runs, model, strength)
    return runs


@pytest.fixture
def fold(bench, runs):
    def run(*words: str) -> str:
        outcome = bench("leaderboard", "runs", *words)
        assert outcome.status == 0, outcome.stderr
        return MARKDOWN.read_text()

    return run


def marked(text: str) -> set[str]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0] for row in rows if any(cell.endswith("§") for cell in row)}


def csv_lines() -> dict[str, dict[str, str]]:
    rows = csv.DictReader(CSV.read_text().splitlines())
    return {row["model"]: row for row in rows if row["metric"] == "image_auroc" and row["category"] == "screw"}


def test_a_method_that_is_not_clear_of_the_best_baseline_is_marked_in_markdown(fold):
    text = fold()
    assert marked(text) == {"weak"}
    assert "§ Not clear of trivial_contrast, the best trivial baseline here: weak." in text
    assert text.count(LEGEND) == 1


def test_a_method_worse_than_the_best_baseline_is_marked_though_its_interval_excludes_0(fold, runs):
    write(runs, "worse", -2.0)
    assert marked(fold()) == {"weak", "worse"}
    assert float(csv_lines()["worse"]["over_trivial_high"]) < 0


def test_the_csv_has_the_paired_difference_and_the_verdict(fold):
    fold()
    lines = csv_lines()
    for model, clear in {"strong": "true", "weak": "false"}.items():
        line = lines[model]
        assert (line["trivial"], line["clear_of_trivial"]) == ("trivial_contrast", clear)
        difference = float(line["mean"]) - float(lines["trivial_contrast"]["mean"])
        assert float(line["over_trivial"]) == pytest.approx(difference, abs=1e-6)
        assert (float(line["over_trivial_low"]) > 0) == (clear == "true")
    assert {lines[model]["clear_of_trivial"] for model in ("trivial", "trivial_contrast")} == {""}


def test_the_page_has_the_mark_and_its_legend(fold):
    fold()
    page = PAGE.read_text()
    assert LEGEND in page
    assert page.count(" §</td>") == 1


def test_a_category_without_a_baseline_has_no_mark_and_no_legend(bench, own_folder):
    write(own_folder / "runs", "weak", 1.1)
    write(own_folder / "runs", "strong", 3.0)
    assert bench("leaderboard", "runs").status == 0
    assert "§" not in MARKDOWN.read_text() + PAGE.read_text()


def test_a_method_that_cannot_be_compared_is_not_marked_and_the_reason_is_told(fold, runs):
    write(runs, "apart", 1.0, seed=7)
    write(runs, "bare", 1.0, scored=False)
    text = fold()
    assert marked(text) == {"weak"}
    said = "no predictions beside a record (bare); no seed in common with it (apart)"
    assert f"Not compared with trivial_contrast, the best trivial baseline here: {said}." in text


def test_without_the_bootstrap_nothing_is_marked(fold):
    assert "§" not in fold("--no-bootstrap")


def test_the_charts_have_a_line_at_the_best_baseline(fold, runs):
    for seed in (1, 2):
        for model, strength in {"trivial": 0.2, "trivial_contrast": 1.0, "strong": 3.0}.items():
            write(runs, model, strength, seed=seed)
    fold()
    text = PAGE.read_text()
    values = [float(csv_lines()[name]["mean"]) for name in ("trivial", "trivial_contrast")]
    line = f"The dashed line is the best trivial baseline, trivial_contrast: {max(values):.3f}."
    assert f"best trivial baseline, trivial_contrast: {max(values):.4g}</title>" in text
    assert text.count(line) >= 3  # two costs and the seeds


def test_charts_without_a_baseline_have_no_line(fold, runs):
    for model in ("trivial", "trivial_contrast"):
        for path in sorted((runs / model).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    fold()
    assert "dashed line" not in PAGE.read_text()
