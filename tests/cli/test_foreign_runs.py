"""A run folder, a settings file or a sweep file of another's is data: it leads to no code but that of `bench`."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

EVIL = """
from pathlib import Path
Path("ran").write_text("foreign code")
from bench.models.autoencoder import Autoencoder as Evil
from bench.data.datamodule import DefectData as Data
"""
NAMES = {
    "a method by the path of a file": {"model.name": "run/evil.yaml", "model.class_path": None},
    "a method by path and class": {"model.name": "run/evil.yaml", "model.class_path": "evil.Evil"},
    "another class for a known method": {"model.class_path": "evil.Evil"},
    "a class of Python's for a known method": {"model.class_path": "antigravity.webbrowser"},
    "no text for a class": {"model.class_path": ["evil.Evil"]},
    "data by the path of a file": {"data.name": "run/evil.yaml", "data.class_path": None},
    "data by path and class": {"data.name": "run/evil.yaml", "data.class_path": "evil.Data"},
    "another class for known data": {"data.class_path": "evil.Data"},
    "a class in the place of a profiler": {"trainer.profiler": "evil.Evil"},
    "a class with settings in the place of a profiler": {"trainer.profiler": {"class_path": "evil.Evil"}},
    "a class in the place of a strategy": {"trainer.strategy": {"class_path": "evil.Evil", "init_args": {}}},
    "a class in the place of a number": {"data.image_size": {"class_path": "evil.Evil"}},
}


@pytest.fixture
def foreign(finished, tmp_path, monkeypatch) -> Path:
    """A run folder of another's, with code beside the record, from where Python would import it."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for place in (folder, tmp_path):
        (place / "evil.py").write_text(EVIL)
    (folder / "evil.yaml").write_text("class_path: evil.Evil\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return folder


def change(tree: dict[str, Any], names: dict[str, Any]) -> None:
    for name, value in names.items():
        section, key = name.split(".")
        tree[section][key] = value
        if value is None:
            del tree[section][key]


@pytest.fixture(params=NAMES.values(), ids=NAMES.keys())
def named(request, foreign) -> Path:
    """The same, with such names in its record and its settings."""
    record = json.loads((foreign / "record.json").read_text())
    change(record["config"], request.param)
    (foreign / "record.json").write_text(json.dumps(record))
    settings = yaml.safe_load((foreign / "config.yaml").read_text())
    change(settings, request.param)
    (foreign / "config.yaml").write_text(yaml.safe_dump(settings))
    return foreign


def test_no_command_runs_code_that_a_run_folder_names(bench, refuse, named):
    (image,) = list(Path(json.loads((named / "record.json").read_text())["config"]["data"]["root"]).rglob("000.png"))[
        :1
    ]
    commands = [("test", "--run", named), ("predict", image, "--run", named), ("report", named)]
    commands += [("fit", "--resume", named), ("fit", "--config", named / "config.yaml", "--print_config")]
    for command in commands:
        outcome = bench(*command)
        assert "Traceback" not in outcome.stderr
        if outcome.status:  # a word that Lightning does not know stands in no one's way that builds no Trainer
            assert (outcome.status, outcome.stderr.count("\n")) == (2, 1), (command, outcome)
    assert "evil" not in sys.modules
    assert not Path("ran").exists()


def test_a_sweep_file_names_methods_and_data_and_no_files(refuse, foreign):
    for line in ("models: [run/evil.yaml]", "models: [padim]\ndata: run/evil.yaml", "models: run/evil.yaml"):
        Path("sweep.yaml").write_text(f"{line}\ncategories: [screw]\n")
        assert "code of one's own runs only where it is typed" in refuse("sweep", "sweep.yaml", "--dry-run")
    assert "evil" not in sys.modules


def test_a_folder_that_a_record_names_for_its_cache_is_not_written_to(bench, foreign, tmp_path):
    record = json.loads((foreign / "record.json").read_text())
    record["config"]["data"]["cache"] = str(tmp_path / "elsewhere")
    (foreign / "record.json").write_text(json.dumps(record))
    assert bench("test", "--run", foreign).status == 0
    assert not (tmp_path / "elsewhere").exists()
