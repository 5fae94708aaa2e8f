"""A sweep over several datasets: cells of each, where each lies, and rows that never mix."""

import json
import shutil

import pytest

from bench.sweep.plan import plan, read_sweep
from fake_data import write_category, write_visa

QUICK = (
    *("--models", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu"),
    *("--data.image_size", "32"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of datasets, each in the folder of its name; only to be read."""
    root = tmp_path_factory.mktemp("datasets")
    for name in ("screw", "bottle"):
        write_category(root / "mvtec_ad", name, train=6, good=2, defects={"blob": 2})
    write_visa(root / "visa", {"candle": (6, 2, 2), "screw": (6, 2, 2)})
    return root


@pytest.fixture
def dry(bench):
    """The datasets and categories of a plan."""

    def run(*arguments: object) -> list[tuple[str, str]]:
        outcome = bench("sweep", *QUICK, *arguments, "--dry-run", "--json")
        assert outcome.status == 0, outcome.stderr
        return [(cell["dataset"], cell["category"]) for cell in json.loads(outcome.stdout)]

    return run


def test_all_categories_are_those_of_each_dataset(dry, root):
    assert dry("--data", "mvtec_ad,visa", "--categories", "all", "--data.root", root) == [
        ("mvtec_ad", "bottle"), ("mvtec_ad", "screw"), ("visa", "candle"), ("visa", "screw"),
    ]  # fmt: skip


def test_named_categories_are_run_where_a_dataset_has_them(dry, root):
    place = ("--data", "mvtec_ad,visa", "--data.root", root)
    assert dry(*place, "--categories", "candle,bottle") == [("mvtec_ad", "bottle"), ("visa", "candle")]
    assert dry(*place, "--categories", "screw") == [("mvtec_ad", "screw"), ("visa", "screw")]


def test_a_sweep_s_file_names_several_datasets_and_bench_data_where_they_lie(dry, root, tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_text("models: [padim]\ncategories: [screw]\ndata: [mvtec_ad, visa]\n")
    monkeypatch.setenv("BENCH_DATA", str(root))
    assert dry("own.yaml") == [("mvtec_ad", "screw"), ("visa", "screw")]


def test_images_that_a_dataset_makes_itself_need_no_folder(dry, root):
    found = dry("--data", "visa,synthetic", "--categories", "screw", "--data.root", root)
    assert found == [("visa", "screw"), ("synthetic", "screw")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--data mvtec_ad,visa --categories screw", "no data folder; of several datasets name the one that holds"),
        ("--data mvtec_ad,btad --categories screw --data.root {root}", "no folder {root}/btad; of several datasets"),
        ("--data mvtec_ad,visa --categories candel --data.root {root}", "unknown category 'candel'; did you mean"),
        ("--data mvtec_ad,visa --categories bottle --data.root {root}", "visa has no category bottle; leave it out"),
        ("--data visa,folder --categories screw --data.root {root}", "--data folder bears the name of its root"),
        ("--data mvtec_ad,vis --categories screw --data.root {root}", "unknown dataset 'vis'; did you mean 'visa'?"),
        ("--data mvtec_ad,visa --categories screw --set data.root=a,b", "--set data.root: each dataset of several has"),
    ],
)
def test_a_mistake_is_told_in_one_line(refuse, root, words, told):
    line = refuse("sweep", *QUICK, *words.format(root=root).split())
    assert told.format(root=root) in line


def test_cells_run_and_each_dataset_has_a_table_of_its_own(bench, root, own_folder):
    outcome = bench("sweep", *QUICK, "--data", "mvtec_ad,visa", "--categories", "screw", "--data.root", root,
                    "--launcher.workers", "0")  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    assert "padim, screw (mvtec_ad), seed 0: image AUROC" in outcome.stdout
    assert "padim, screw (visa), seed 0: image AUROC" in outcome.stdout
    assert bench("leaderboard", "runs", "--out", "tables").status == 0
    tables = {path.name: path.read_text() for path in (own_folder / "tables").glob("*.md")}
    assert tables.keys() == {"mvtec_ad-one-class.md", "visa-one-class.md"}
    assert "Amazon" in tables["visa-one-class.md"]
    assert "MVTec" not in tables["visa-one-class.md"]
    assert "Amazon" not in tables["mvtec_ad-one-class.md"]


def test_a_study_keeps_equal_names_of_two_datasets_apart(bench, root, own_folder):
    (own_folder / "own.yaml").write_text(
        "models: [padim]\ncategories: [screw]\ndata: [mvtec_ad, visa]\nbaseline: few\n"
        "variants: {few: {model: {channels: 4}}, more: {model: {channels: 8}}}\n"
    )
    words = (*QUICK[2:4], *QUICK[6:], "--data.root", root)
    assert bench("sweep", "own.yaml", *words, "--launcher.workers", "0").status == 0
    outcome = bench("study", "own.yaml", *words)
    assert outcome.status == 0, outcome.stderr
    text = (own_folder / "leaderboards" / "own.md").read_text()
    assert "## screw (mvtec_ad), seed 0" in text
    assert "## screw (visa), seed 0" in text


def test_from_python_several_datasets_are_a_list(root):
    sweep = read_sweep(None, {"models": ["vae"], "categories": ["screw"]})
    cells = plan(sweep, {"data.root": str(root)}, ["mvtec_ad", "visa"])
    assert [cell.place for cell in cells] == ["screw (mvtec_ad)", "screw (visa)"]
    assert [cell.config.settings["data"]["root"] for cell in cells] == [str(root / "mvtec_ad"), str(root / "visa")]


def test_one_dataset_lies_where_its_root_says(dry, root, tmp_path):
    shutil.copytree(root / "visa", tmp_path / "anywhere")
    assert dry("--data", "visa", "--categories", "candle", "--data.root", tmp_path / "anywhere") == [("visa", "candle")]
