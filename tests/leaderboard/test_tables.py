"""What stands in the tables: figures, published ones beside them, costs, and the way back to the records."""

import csv
import re
from pathlib import Path

import pytest

from fake_records import make_record, write_record, write_seeds

PAPER = {"official": True, "reference": "cutpaste/3way/paper", "model": "cutpaste"}
MARKDOWN, CSV = (Path(f"leaderboards/mvtec_ad-one-class.{ending}") for ending in ("md", "csv"))


@pytest.fixture
def runs(own_folder: Path) -> Path:
    return own_folder / "runs"


@pytest.fixture
def table(bench, runs):
    """Fold the records; the Markdown."""

    def fold(path: Path = MARKDOWN) -> str:
        outcome = bench("leaderboard", "runs")
        assert outcome.status == 0, outcome.stderr
        return path.read_text()

    return fold


def lines_of(text: str, heading: str) -> list[dict[str, str]]:
    """The rows of the table below a heading that begins so."""
    section = re.split(r"^#+ ", text, flags=re.MULTILINE)
    rows = next(part for part in section if part.startswith(heading)).splitlines()
    cells = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows if row.startswith("| ")]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def csv_lines(path: Path = CSV, **wanted: str) -> list[dict[str, str]]:
    rows = csv.DictReader(path.read_text().splitlines())
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def test_mean_and_sample_deviation_over_seeds_stand_in_both_tables(table, runs):
    write_seeds(runs, (0.7, 0.8, 0.9))
    (row,) = lines_of(table(), "screw")
    assert (row["seeds"], row["image AUROC"]) == ("0 1 2", "0.8000 ± 0.1000")
    (line,) = csv_lines(metric="image_auroc", category="screw")
    assert (float(line["mean"]), float(line["spread"])) == (pytest.approx(0.8), pytest.approx(0.1))
    assert line["seeds"] == "0 1 2"


def test_one_seed_has_no_spread(table, runs):
    write_seeds(runs, (0.75,))
    assert lines_of(table(), "screw")[0]["image AUROC"] == "0.7500"


def test_methods_are_ordered_by_image_auroc_within_a_category(table, runs):
    for model, auroc in {"a_worse": 0.6, "better": 0.9}.items():
        write_seeds(runs, (auroc,), model=model)
    assert [row["method"] for row in lines_of(table(), "screw")] == ["better", "a_worse"]


def test_the_ranking_names_its_categories_and_who_lacks_some(table, runs):
    for model, categories in {"one": "bottle screw", "other": "bottle screw", "third": "screw"}.items():
        for category in categories.split():
            write_seeds(runs, (0.6, 0.8), model=model, category=category)
    text = table()
    assert "### Ranking by image AUROC over 2 categories: bottle, screw" in text
    rows = lines_of(text, "Ranking")
    assert [(row["method"], row["mean rank"], row["categories"]) for row in rows] == [
        ("one", "1.50", "2/2"),
        ("other", "1.50", "2/2"),
        ("third", "-", "1/2"),
    ]
    assert [row["image AUROC"] for row in rows] == ["0.7000 ± 0.1414", "0.7000 ± 0.1414", "-"]
    assert "Friedman test: too few, it takes 5 categories or more." in text


def test_from_five_categories_on_the_ranking_is_tested(table, runs):
    categories = ("bottle", "cable", "capsule", "grid", "screw")
    for place, model in enumerate(("best", "near", "far", "last")):
        for category in categories:
            write_seeds(runs, (0.9 - 0.1 * place,), model=model, category=category)
    text = table()
    assert "Friedman test over 5 categories and 4 methods: χ² = 15.00, p = 0.0018." in text
    assert "critical difference of mean ranks at 0.05 is 2.10; not told apart from the first: near, far." in text


def test_the_mean_over_all_categories_stands_beside_the_published_one(table, runs):
    for category, auroc in {"screw": 0.873, "bottle": 0.993}.items():  # .863 and .983 in the paper
        write_seeds(runs, (auroc,), category=category, **PAPER)
    assert lines_of(table(), "Ranking")[0]["published image AUROC"] == "0.923 (+0.010)"
    (line,) = csv_lines(metric="image_auroc", category="mean")
    assert (float(line["published"]), line["comparable"]) == (pytest.approx(0.923), "true")


def test_published_figures_stand_beside_the_mean_with_the_difference(table, runs):
    write_seeds(runs, (0.85, 0.87), **PAPER)
    text = table()
    (row,) = lines_of(text, "screw")
    assert row["published image AUROC"] == "0.863 (-0.003)"
    assert "published pixel AUROC" not in row, "the paper has none for this variant"
    assert "Published: cutpaste `cutpaste/3way/paper`." in text
    assert "\\*" not in text
    published = {row["metric"]: (row["published"], row["published_for"]) for row in csv_lines(category="screw")}
    assert published["image_auroc"] == ("0.863", "screw")
    assert published["pixel_auroc"] == published["fit_seconds"] == ("", "")


def test_what_does_not_follow_the_published_protocol_is_marked_and_explained_below(table, runs):
    write_seeds(runs, (0.85,), **PAPER)
    write_seeds(runs, (0.8,), **PAPER | {"model": "hasty", "differs": "5 minutes of training"})
    write_seeds(runs, (0.7,), **PAPER | {"model": "other", "reference": None})
    text = table()
    assert {row["method"]: row["published image AUROC"] for row in lines_of(text, "screw")} == {
        "cutpaste": "0.863 (-0.013)",
        "hasty": "0.863\\*",
        "other": "-",
    }
    assert "\\* Not the published protocol, so no difference is shown: 5 minutes of training (hasty)." in text


@pytest.mark.parametrize(
    "difference",
    [{"official": True}, {"protocol": "full"}, {"fold": 0}, {"protocol_version": 1}],
    ids=lambda d: next(iter(d)),
)
def test_what_cannot_be_compared_is_never_in_one_table(difference, table, runs):
    write_record(runs, make_record("one"))
    write_record(runs, make_record("other", **difference))
    text = table()
    assert len(re.findall("^## ", text, flags=re.MULTILINE)) == 2
    assert len(re.findall("^### screw", text, flags=re.MULTILINE)) == 2


@pytest.mark.parametrize("difference", [{"dataset": "synthetic"}, {"track": "supervised"}])
def test_another_dataset_or_track_is_another_file(difference, table, runs):
    write_record(runs, make_record("one"))
    write_record(runs, make_record("other", **difference))
    assert "| other |" not in table()
    assert len(list(Path("leaderboards").glob("*.md"))) == 2


def test_a_category_on_other_images_is_a_table_of_its_own_that_says_so(table, runs):
    for model, digest in (("one", "1" * 64), ("other", "2" * 64)):
        write_record(runs, make_record(model, digest=digest))
    text = table()
    for model, digest in (("one", "1" * 12), ("other", "2" * 12)):
        assert [row["method"] for row in lines_of(text, f"screw ({digest})")] == [model]
    assert text.count("one of several sets of this category: figures compare within this table only") == 2


def test_another_setting_is_another_row_that_names_it(table, runs):
    write_record(runs, make_record("vae", settings={"latent_dim": 64}))
    overrides = {"model.latent_dim": 7, "data.root": "/elsewhere"}
    write_record(runs, make_record("vae", settings={"latent_dim": 7}, overrides=overrides))
    assert sorted(row["method"] for row in lines_of(table(), "screw")) == ["vae", "vae (latent_dim=7)"]


def test_what_all_methods_of_a_name_share_is_told_once(table, runs):
    for depth in (3, 4):
        settings = {"kinds": [1, 2], "depth": depth}
        overrides = {f"model.{key}": value for key, value in settings.items()}
        write_record(runs, make_record("vae", settings=settings, overrides=overrides))
    text = table()
    assert "Every vae here: kinds=[1, 2]." in text
    assert [row["method"] for row in lines_of(text, "screw")] == ["vae (depth=3)", "vae (depth=4)"]
    assert {line["variant"] for line in csv_lines()} == {"depth=3, kinds=[1, 2]", "depth=4, kinds=[1, 2]"}


def test_a_preset_that_changed_between_releases_is_not_averaged_with_what_it_was(table, runs):
    for seed, depth in ((0, 3), (1, 4)):
        write_record(runs, make_record("vae", seed=seed, settings={"depth": depth}))
    assert [row["method"] for row in lines_of(table(), "screw")] == ["vae (depth=3)", "vae (depth=4)"]


def test_another_file_of_weights_is_another_row(table, runs):
    for digit in "12":
        weights = {"source": "w.safetensors", "sha256": digit * 64}
        write_record(runs, make_record("padim", settings={"weights": "w"}, weights=weights))
    text = table()
    assert {row["method"] for row in lines_of(text, "screw")} == {
        "padim (weights 11111111)",
        "padim (weights 22222222)",
    }
    assert "Weights: 11111111 is w.safetensors, 22222222 is w.safetensors." in text


def test_costs_are_means_over_seeds_and_categories(table, runs):
    for category, seconds in {"screw": 10.0, "bottle": 30.0}.items():
        write_record(runs, make_record(category=category, seconds=seconds))
    (row,) = lines_of(table(), "Cost")
    assert row == {
        "method": "one",
        "machine": "a processor, 2 threads",
        "fit (s)": "20.0",
        "ms per image": "2.0",
        "peak memory (MiB)": "1024",
        "parameters (M)": "1.00",
    }


def test_every_row_leads_to_its_records_by_links_below_the_tables_and_else_by_fingerprints(bench, own_folder):
    inside = write_record(own_folder / "leaderboards" / "records", make_record("inside"))
    outside = write_record(own_folder / "runs", make_record("outside", seed=3))
    bench("leaderboard", "leaderboards/records", "runs")
    text = MARKDOWN.read_text()
    links = {row["method"]: row["seeds"] for row in lines_of(text, "screw")}
    target = re.fullmatch(r"\[0\]\((.*)\)", links["inside"])[1]
    assert (MARKDOWN.parent / target).resolve() == inside
    assert f"outside: seed 3 `{outside.name}`" in text
    assert {row["fingerprints"] for row in csv_lines(metric="image_auroc", category="screw")} == {
        inside.name,
        outside.name,
    }


def test_supervised_tables_have_columns_of_their_own_and_rank_by_macro_f1(table, runs):
    for model, f1, auroc in (("balanced", 0.9, 0.8), ("lucky", 0.5, 0.9)):
        metrics = {"accuracy": 0.8, "balanced_accuracy": 0.7, "macro_f1": f1, "image_auroc": auroc}
        record = make_record(model, track="supervised", fold="all", metrics=metrics | {"calibration_error": 0.1})
        write_record(runs, record)
    text = table(Path("leaderboards/mvtec_ad-supervised.md"))
    rows = lines_of(text, "screw")
    assert [(row["method"], row["macro F1"]) for row in rows] == [("balanced", "0.9000"), ("lucky", "0.5000")]
    assert rows[0]["calibration error"] == "0.1000"
    assert "pixel AUROC" not in rows[0]
    assert "all folds pooled" in text
