"""`--data folder`: a folder of one's own is called by its own name, and nothing of MVTec's is said of it."""

import json
from pathlib import Path

import pytest

from bench.config.fit_command import fit_arguments
from bench.config.settings import resolve
from bench.data.datasets.folder import Folder
from bench.errors import UsageError
from fake_data import write_category

MODEL = ("--model", "gaussian_mobilenetv2", "--model.weights", "none", "--trainer.accelerator", "cpu")


@pytest.fixture(scope="module")
def bottles(tmp_path_factory) -> Path:
    """A folder `bottles` with a category of a name that MVTec AD has as well."""
    root = tmp_path_factory.mktemp("own") / "bottles"
    write_category(root, "screw")
    write_category(root, "cap")
    return root


def _config(root: Path | None, files: tuple = (), data: str | None = "folder"):
    options = {} if root is None else {"data.root": str(root)}
    model = None if files else "gaussian_mobilenetv2"
    return resolve(model=model, data=data, category="cap", files=list(files), options=options)


def test_the_dataset_has_the_name_of_its_root(bottles, monkeypatch):
    assert _config(bottles).dataset == "bottles"
    monkeypatch.setenv("BENCH_DATA", str(bottles))
    assert _config(None).dataset == "bottles"
    monkeypatch.chdir(bottles / "cap")
    assert _config(Path("..")).dataset == "bottles"


def test_nothing_is_known_of_its_categories_whatever_they_are_called(bottles):
    data = Folder("screw", 0, "model", root=str(bottles), image_size=32)
    assert data.facts is None
    assert data.differences == []
    assert not data.official
    assert data.licence is None


def test_another_root_of_another_name_is_another_dataset(bottles, tmp_path):
    other = tmp_path / "jars"
    other.symlink_to(bottles)
    assert _config(other).as_dict()["data"]["name"] == "jars"


@pytest.mark.parametrize("name", ["mvtec_ad", "ELPV", "folder"])
def test_a_folder_with_the_name_of_a_dataset_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=f"use --data {name.lower()}, or rename the folder"):
        _config(tmp_path / name)


@pytest.mark.parametrize("name", [".hidden", "two\nlines", "/"])
def test_a_folder_whose_name_cannot_be_one_is_refused_in_a_line(tmp_path, name):
    with pytest.raises(UsageError, match=r"cannot name a dataset: .*; rename the folder") as refused:
        _config(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_printed_settings_keep_the_name_and_the_command_leads_to_the_same_run(bottles):
    config = _config(bottles)
    again = _config(None, files=(config.as_dict(),), data=None)
    assert again.as_dict() == config.as_dict()
    for each in (config, again):
        words = fit_arguments(each)
        assert words[words.index("--data") + 1] == "folder"


def test_record_titles_and_tables_bear_the_folders_name(bench, bottles, own_folder):
    outcome = bench("fit", *MODEL, "--data", "folder", "--category", "cap", "--data.root", bottles)
    assert outcome.status == 0, outcome.stderr
    assert "(bottles)" in outcome.stdout
    assert "MVTec" not in outcome.stdout + outcome.stderr
    record = json.loads(next(Path("runs").rglob("record.json")).read_text())
    assert (record["dataset"], record["official"], record["data"]["differences"]) == ("bottles", False, [])
    assert "--data folder" in record["command"]
    assert bench("leaderboard", "runs", "--out", "tables").status == 0
    text = Path("tables/bottles-one-class.md").read_text()
    assert "Images of bottles" in text
    assert "MVTec" not in text
    assert "MVTec" not in Path("tables/bottles-one-class.html").read_text()
    run = next(Path("runs").rglob("record.json")).parent
    assert bench("test", "--run", run).status == 0
    again = bench("test", "--run", run, "--data", "folder", "--data.root", bottles)
    assert again.status == 0, again.stderr
    assert "is a run of bottles" in bench("test", "--run", run, "--data", "synthetic").stderr
    assert bench("report", run).status == 0
    page = (run / "report.html").read_text()
    assert "no category of MVTec AD" not in page
    assert "The images are those of your data" in page
    record["reference"] = "cutpaste/3way/paper"  # a method whose figures on MVTec AD were published
    (run / "record.json").write_text(json.dumps(record))
    assert bench("report", run, "--no-maps").status == 0
    assert "MVTec" not in (run / "report.html").read_text()


def test_a_foreign_category_of_mvtec_ad_is_told_of_this_way(bench, bottles):
    outcome = bench("data", "describe", "--category", "cap", "--data.root", bottles)
    assert "'cap' is no category of MVTec AD (a folder of your own is --data folder)" in outcome.stdout
    assert outcome.stderr == ""
    outcome = bench("data", "describe", "--data", "folder", "--category", "cap", "--data.root", bottles)
    assert "# cap (bottles)" in outcome.stdout
    assert "MVTec" not in outcome.stdout + outcome.stderr
