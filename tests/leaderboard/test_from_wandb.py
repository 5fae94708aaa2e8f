"""`bench leaderboard --from-wandb`, against a stand-in for `wandb.Api`: the service itself is never met."""

import inspect
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import wandb
from wandb.apis.public import File, Run

from fake_records import change_record, make_record, write_record

PROJECT = "someone/defects"
SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}


@dataclass
class StoredFile:
    """A file of a run, as `wandb.apis.public.File`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def download(self, root: str = ".", replace: bool = False) -> None:
        Path(root).mkdir(parents=True, exist_ok=True)
        shutil.copy(self.path, root)


@dataclass
class StoredRun:
    """A run of a project, as `wandb.apis.public.Run`."""

    folder: Path | None
    state: str = "finished"
    name: str = "one-screw-s0"
    id: str = field(default="")
    tags: tuple[str, ...] = ("one-class", "mvtec_ad", "model")

    def __post_init__(self) -> None:
        self.id = self.folder.name if self.folder else "0123456789abcdef"

    def files(self, names: list[str] | None = None) -> list[StoredFile]:
        if self.folder is None:
            return []
        return [StoredFile(path) for path in self.folder.iterdir() if names is None or path.name in names]


class Service:
    """What `wandb.Api` shows of one project."""

    def __init__(self, runs: list[StoredRun]) -> None:
        self.stored = runs

    def runs(self, path: str, filters: dict[str, str]) -> list[StoredRun]:
        if path != PROJECT:
            raise ValueError(f"Could not find project {path}")
        return [run for run in self.stored if all(getattr(run, key) == value for key, value in filters.items())]


@pytest.fixture
def service(monkeypatch):
    """Stand in for the service, with these runs."""

    def stand_in(*runs: StoredRun) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr("bench.tracking.leaderboard.silence", lambda: None)
        monkeypatch.setattr(wandb, "Api", lambda: Service(list(runs)))

    return stand_in


@pytest.mark.parametrize(
    ("method", "arguments"),
    [(wandb.Api.runs, {"path", "filters"}), (Run.files, {"names"}), (File.download, {"root", "replace"})],
    ids=["runs", "files", "download"],
)
def test_the_stand_in_takes_what_the_real_client_takes(method, arguments):
    assert arguments <= set(inspect.signature(method).parameters)


def test_the_table_of_a_project_is_the_table_of_its_runs(bench, service, own_folder):
    folders = [write_record(own_folder / "there", make_record(model), SCORES) for model in ("one", "other")]
    service(*map(StoredRun, folders))
    assert bench("leaderboard", "--from-wandb", PROJECT, "--out", "first").status == 0
    assert bench("leaderboard", "there", "--out", "second").status == 0
    tables = [{path.name: path.read_bytes() for path in Path(out).iterdir()} for out in ("first", "second")]
    assert tables[0] == tables[1]
    assert "| best |" in tables[0]["mvtec_ad-one-class.md"].decode(), "predictions came along"


def test_runs_that_are_not_finished_are_left_alone(bench, service, own_folder):
    folders = [write_record(own_folder / "there", make_record(model)) for model in ("one", "crashed")]
    service(StoredRun(folders[0]), StoredRun(folders[1], state="crashed"))
    outcome = bench("leaderboard", "--from-wandb", PROJECT)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "crashed" not in Path("leaderboards/mvtec_ad-one-class.md").read_text()


def test_runs_that_log_leaderboards_are_no_runs_of_methods(bench, service, own_folder):
    folder = write_record(own_folder / "there", make_record("one"))
    service(StoredRun(folder), StoredRun(None, name="leaderboard", tags=("leaderboard",)))
    outcome = bench("leaderboard", "--from-wandb", PROJECT)
    assert (outcome.status, outcome.stderr) == (0, "")


def test_own_records_are_folded_in_beside_those_of_the_project(bench, service, own_folder):
    write_record(own_folder / "runs", make_record("own"))
    service(StoredRun(write_record(own_folder / "there", make_record("theirs"))))
    assert bench("leaderboard", "runs", "--from-wandb", PROJECT).status == 0
    text = Path("leaderboards/mvtec_ad-one-class.md").read_text()
    assert "| own |" in text
    assert "| theirs |" in text


def test_runs_without_a_record_or_with_a_changed_one_are_named(bench, service, own_folder):
    folders = [write_record(own_folder / "there", make_record(model)) for model in ("one", "changed")]
    change_record(folders[1], seed=5, config=make_record(seed=5).config)
    service(*map(StoredRun, folders), StoredRun(None, name="old-screw-s0"))
    outcome = bench("leaderboard", "--from-wandb", PROJECT)
    assert outcome.status == 1
    assert f"{PROJECT}/0123456789abcdef (old-screw-s0) holds no record.json" in outcome.stderr
    assert f"{folders[1].name}/record.json was changed" in outcome.stderr
    assert "2 record(s) left out" in outcome.stderr
    assert "| one |" in Path("leaderboards/mvtec_ad-one-class.md").read_text()


def test_a_project_that_is_not_there_is_one_line(bench, service, own_folder):
    service()
    outcome = bench("leaderboard", "--from-wandb", "someone/else")
    assert (outcome.status, outcome.stderr) == (1, "bench: W&B: Could not find project someone/else\n")


@pytest.mark.parametrize("name", ["defects", "a/b/c", "/defects", "someone/"])
def test_a_project_needs_its_entity(name, service, refuse):
    service()
    assert "write --from-wandb ENTITY/PROJECT" in refuse("leaderboard", "--from-wandb", name)


def test_without_a_key_nothing_is_asked(refuse, monkeypatch, own_folder):
    monkeypatch.setenv("NETRC", str(own_folder / "none"))
    assert "needs a key; run 'wandb login'" in refuse("leaderboard", "--from-wandb", PROJECT)
