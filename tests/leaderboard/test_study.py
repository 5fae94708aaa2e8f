"""`bench study`: what a variant changed against its baseline, over the images that both predicted."""

import json
from pathlib import Path

import pytest
import yaml

from bench.records.record import Record
from fake_data import write_category

STUDY = {
    "models": ["classifier"],
    "categories": ["screw"],
    "settings": {
        "model": {"library": "timm", "backbone": "test_resnet", "weights": "none"},
        "data": {"folds": 2, "per_class": 6},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    },
    "baseline": "baseline",
    "variants": {
        "baseline": {},
        "the same again": {"model": {"dropout": 1e-12}},
        "all images": {"data": {"per_class": None}},
    },
    "not_run": {"backbone vgg19": "no weights here"},
}


@pytest.fixture(scope="module")
def sweep(bench, tmp_path_factory) -> Path:
    """A folder with the sweep file `study.yaml` and its finished runs."""
    folder = tmp_path_factory.mktemp("study")
    write_category(folder / "data", train=8, good=2, defects={"blob": 7, "scratch": 7})
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        place = ("--data.root", folder / "data", "--runs", folder / "runs", "--data.image_size", "32")
        outcome = bench("sweep", folder / "study.yaml", *place)
    assert outcome.status == 0, outcome.stderr
    return folder


def rows(text: str) -> dict[str, list[str]]:
    lines = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


@pytest.fixture(scope="module")
def table(bench, sweep) -> dict[str, list[str]]:
    settings = yaml.safe_load((sweep / "study.yaml").read_text())
    settings["settings"]["data"]["image_size"] = 32
    (sweep / "study.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    outcome = bench("study", sweep / "study.yaml", sweep / "runs", "--out", sweep / "out")
    assert outcome.status == 0, outcome.stderr
    return rows((sweep / "out" / "study.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("disk", ["/proc", "full"])
def test_a_disk_that_refuses_the_table_is_named_with_the_remedy(bench, sweep, table, mount_disk, disk):
    out = Path("/proc/study")
    if disk == "full":
        out = mount_disk("64k")
        with pytest.raises(OSError, match="No space left"):
            (out / "filling").write_bytes(bytes(2**20))
    outcome = bench("study", sweep / "study.yaml", sweep / "runs", "--out", out)
    assert outcome.status == 2
    assert str(out) in outcome.stderr
    assert "--out FOLDER" in outcome.stderr
    assert not list(out.glob("*.md"))


def test_the_baseline_is_compared_with_nothing(table):
    assert "baseline" in table["baseline"]


def test_a_variant_that_changes_nothing_differs_by_nothing(table):
    cells = table["the same again"]
    assert cells[1:4] == ["+0.000 (+0.000 to +0.000)"] * 3
    assert "within chance" in cells


def test_two_runs_are_compared_over_the_images_that_both_predicted(table):
    assert table["all images"][5] == "18"  # six of each class, though the variant predicted all 24


def test_a_variant_that_was_not_run_says_why(table):
    assert table["backbone vgg19"][0].startswith("not run here: no weights here")


def test_the_same_records_give_the_same_bytes(bench, sweep, table):
    first = (sweep / "out" / "study.md").read_bytes()
    bench("study", sweep / "study.yaml", sweep / "runs", "--out", sweep / "again")
    assert (sweep / "again" / "study.md").read_bytes() == first


def test_published_records_give_the_same_table(bench, sweep, table):
    assert bench("leaderboard", sweep / "runs", "--out", sweep / "published", "--publish").status == 0
    bench("study", sweep / "study.yaml", sweep / "published", "--out", sweep / "published")
    assert (sweep / "published" / "study.md").read_bytes() == (sweep / "out" / "study.md").read_bytes()


def test_a_sweep_without_a_baseline_is_refused(refuse):
    assert "names no baseline" in refuse("study", "padim_ablation")


def test_a_study_without_runs_is_refused(refuse, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no finished run of the sweep attempts" in refuse("study", "attempts", tmp_path / "empty")


ONE_CLASS = {
    "models": ["knn", "gaussian"],
    "categories": ["screw"],
    "settings": {
        "model": {"backbone": "test_resnet", "weights": "none", "levels": [4]},
        "data": {"image_size": 32},
        "trainer": {"accelerator": "cpu"},
    },
    "baseline": "baseline",
    "variants": {"baseline": {}, "another quantile": {"threshold_quantile": 0.5}},
}


@pytest.fixture(scope="module")
def one_class(bench, tmp_path_factory) -> Path:
    """A folder with the sweep file `study.yaml` of two one-class methods, its finished runs, and its study."""
    folder = tmp_path_factory.mktemp("one_class_study")
    write_category(folder / "data")
    (folder / "study.yaml").write_text(yaml.safe_dump(ONE_CLASS, sort_keys=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        outcome = bench("sweep", folder / "study.yaml", "--data.root", folder / "data", "--runs", folder / "runs")
    assert outcome.status == 0, outcome.stderr
    outcome = bench("study", folder / "study.yaml", folder / "runs", "--out", folder / "out")
    assert outcome.status == 0, outcome.stderr
    return folder


def sections(study: Path) -> dict[str, str]:
    """The text below each heading of a study."""
    parts = study.read_text(encoding="utf-8").split("\n## ")
    return {part.partition("\n")[0]: part for part in parts}


def test_one_class_methods_are_compared_by_image_auroc_and_accuracy(one_class):
    text = sections(one_class / "out" / "study.md")["knn on screw, seed 0"]
    titles = next(line for line in text.splitlines() if line.startswith("| attempt"))
    assert "| image AUROC (95 %) | image AUROC, after - before | accuracy, after - before |" in titles
    assert "macro" not in titles
    assert rows(text)["baseline"][-4] == "baseline"


def test_each_attempt_is_compared_with_the_baseline_of_its_own_method(bench, one_class):
    """Another quantile moves no score, only the decisions: accuracy as `bench compare` says it."""
    for model in ONE_CLASS["models"]:
        cells = rows(sections(one_class / "out" / "study.md")[f"{model} on screw, seed 0"])["another quantile"]
        assert cells[1] == "+0.000 (+0.000 to +0.000)"
        records = [Record.read(path) for path in sorted((one_class / "runs" / model).rglob("record.json"))]
        before, after = sorted(records, key=lambda record: bool(record.overrides.get("threshold_quantile")))
        folders = [one_class / "runs" / model / "screw" / record.fingerprint for record in (before, after)]
        found = json.loads(bench("compare", *folders, "--json").stdout)["differences"]["image_accuracy"]
        assert found["value"] != 0
        assert cells[2] == "{value:+.3f} ({low:+.3f} to {high:+.3f})".format(**found)


@pytest.mark.parametrize("study", ["attempts_mobilenetv2", "long_tail_mobilenetv2"])
def test_the_committed_studies_are_those_of_the_committed_records(study, bench, tmp_path):
    board = Path(__file__).parents[2] / "leaderboards"
    assert bench("study", study, board / "records", "--out", tmp_path).status == 0
    assert (tmp_path / f"{study}.md").read_bytes() == (board / f"{study}.md").read_bytes()
