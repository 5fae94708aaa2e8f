"""`bench study`: what a variant changed against its baseline, over the images that both predicted."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from bench.leaderboard.collect import collect
from bench.leaderboard.tables import build_tables
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
    return sections_of(study.read_text(encoding="utf-8"))


def sections_of(text: str) -> dict[str, str]:
    return {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}


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


STUDIES = ("attempts_lite0", "attempts_mobilenetv2", "long_tail_lite0", "long_tail_mobilenetv2")


@pytest.mark.parametrize("study", STUDIES)
def test_the_committed_studies_are_those_of_the_committed_records(study, bench, tmp_path):
    board = Path(__file__).parents[2] / "leaderboards"
    assert bench("study", study, board / "records", "--out", tmp_path).status == 0
    assert (tmp_path / f"{study}.md").read_bytes() == (board / f"{study}.md").read_bytes()


def test_a_study_of_a_sweep_that_was_started_with_settings_takes_the_same_words(bench, refuse, one_class):
    runs = one_class / "short"
    place = ("--data.root", one_class / "data", "--runs", runs)
    outcome = bench("sweep", one_class / "study.yaml", *place, "--threshold_quantile", "0.9", "--seeds", "3")
    assert outcome.status == 0, outcome.stderr
    line = refuse("study", one_class / "study.yaml", runs, "--out", one_class / "out", "--seeds", "3")
    assert "runs there differ in threshold_quantile: type the sweep's settings, --threshold_quantile 0.9" in line
    table_command = next(line for line in outcome.stderr.splitlines() if line.startswith("bench: its table: bench "))
    words = shlex.split(table_command.removeprefix("bench: its table: bench "))
    again = bench(*words, "--out", one_class / "out-short")
    assert again.status == 0, again.stderr
    assert "not run yet" not in (one_class / "out-short" / "study.md").read_text()


def test_a_sweep_without_a_baseline_ends_with_the_command_of_a_leaderboard(bench, data_root):
    grid = ("--models", "autoencoder_l2", "--categories", "screw", "--data.root", data_root, "--data.image_size", "32")
    outcome = bench("sweep", *grid, "--epochs", "1", "--data.samples_per_epoch", "8", "--launcher.workers", "0")
    assert outcome.stderr.splitlines()[-1] == "bench: its table: bench leaderboard runs"


def test_some_variants_have_more_seeds(bench, one_class):
    content = ONE_CLASS | {"models": ["knn"], "more_seeds": {"baseline": [1, 2]}}
    (one_class / "more.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    words = ("--data.root", one_class / "data", "--runs", one_class / "runs", "--dry-run", "--json")
    cells = json.loads(bench("sweep", one_class / "more.yaml", *words).stdout)
    found = [(cell["variant"], cell["seed"]) for cell in cells]
    assert found == [("baseline", 0), ("baseline", 1), ("baseline", 2), ("another quantile", 0)]


def test_more_seeds_of_an_unknown_variant_are_a_mistake(refuse, one_class):
    content = ONE_CLASS | {"models": ["knn"], "more_seeds": {"basline": [1]}}
    (one_class / "wrong.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    line = refuse("sweep", one_class / "wrong.yaml", "--data.root", one_class / "data", "--dry-run")
    assert "more_seeds" in line
    assert "'baseline'" in line


METHODS = {
    "models": ["knn", "gaussian"],
    "categories": ["screw"],
    "seeds": [0, 1, 2],
    "settings": {
        "model": {"backbone": "test_resnet", "weights": "none", "levels": [4]},
        "data": {"image_size": 32},
        "trainer": {"accelerator": "cpu"},
    },
}


@pytest.fixture(scope="module")
def methods(bench, tmp_path_factory) -> Path:
    """A folder with the sweep file `methods.yaml` of two methods without variants, and its runs over three seeds."""
    folder = tmp_path_factory.mktemp("methods")
    write_category(folder / "data", defects={"blob": 6, "scratch": 6})
    (folder / "methods.yaml").write_text(yaml.safe_dump(METHODS, sort_keys=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        outcome = bench("sweep", folder / "methods.yaml", "--data.root", folder / "data", "--runs", folder / "runs")
    assert outcome.status == 0, outcome.stderr
    return folder


def study_of(bench, folder: Path, *words: object) -> str:
    outcome = bench("study", folder / "methods.yaml", *words, "--out", folder / "out")
    assert outcome.status == 0, outcome.stderr
    return (folder / "out" / "methods.md").read_text(encoding="utf-8")


def test_seeds_are_pooled_into_one_row_an_attempt_with_the_differences_of_the_leaderboard(bench, methods):
    text = study_of(bench, methods, methods / "runs", "--baseline", "gaussian")
    assert "Each method is compared with gaussian." in text
    assert "Of 1 comparisons" in text
    assert list(sections_of(text)) == ["screw, seeds 0, 1, 2"]
    cells = rows(text)["knn"]
    ((table,),) = build_tables(collect([methods / "runs"]).sources, intervals=True).values()
    (section,) = table.sections
    means = {row.method.model: row.summarise("image_auroc") for row in section.rows}
    assert cells[0] == f"{means['knn'].mean:.3f} ± {means['knn'].std:.3f}"
    ((method, found),) = section.differences.items()
    value, low, high = found.difference
    ours = (value, low, high) if method.model == "knn" else (-value, -high, -low)
    assert cells[1] == "{:+.3f} ({:+.3f} to {:+.3f})".format(*ours)
    assert cells[5] == "3"


def test_an_attempt_with_fewer_seeds_says_so_and_is_compared_over_those(bench, methods, tmp_path):
    runs = tmp_path / "runs"
    for path in sorted((methods / "runs").rglob("record.json")):
        record = Record.read(path)
        if (record.model, record.seed) not in {("knn", 1), ("gaussian", 2)}:
            shutil.copytree(path.parent, runs / record.model / record.fingerprint)
    text = study_of(bench, methods, runs, "--baseline", "gaussian")
    assert rows(text)["knn"][5] == "2 of 3 †"
    assert "knn has seeds 0, 2, its difference is over 0" in text
    only = study_of(bench, methods, runs, "--baseline", "gaussian", "--seeds", "0")
    assert rows(text)["knn"][1:5] == rows(only)["knn"][1:5]


def test_a_study_of_methods_asks_for_the_one_to_compare_with(refuse, methods):
    line = refuse("study", methods / "methods.yaml", methods / "runs")
    assert "names no baseline to compare the others with; name one: --baseline NAME, of knn, gaussian" in line


def test_an_unknown_baseline_is_answered_with_the_nearest(refuse, methods):
    line = refuse("study", methods / "methods.yaml", methods / "runs", "--baseline", "gausian")
    assert "unknown baseline 'gausian'; did you mean 'gaussian'?" in line


def test_methods_of_different_tracks_are_not_compared(refuse, methods):
    words = ("--models", "knn,resnet18", "--baseline", "knn")
    line = refuse("study", methods / "methods.yaml", methods / "runs", *words)
    assert "methods of different tracks are not compared: knn (one-class), resnet18 (supervised)" in line


def test_a_typed_variant_is_the_baseline_instead_of_the_files(bench, one_class):
    words = ("--baseline", "another quantile", "--out", one_class / "other")
    assert bench("study", one_class / "study.yaml", one_class / "runs", *words).status == 0
    text = sections(one_class / "other" / "study.md")["knn on screw, seed 0"]
    assert rows(text)["another quantile"][-4] == "baseline"
    assert rows(text)["baseline"][-4] == "within chance"
