"""`~` is the home folder wherever a path may stand, and a run says where its data lay and how it is made again."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from bench.config.paths import expanded
from bench.config.settings import resolve
from bench.runs.run import Options, fit
from fake_records import make_record, write_record

SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}


@pytest.fixture
def home(own_folder, data_root, finished, monkeypatch) -> Path:
    """A home folder with data, a run and records; the working folder is another one."""
    folder = own_folder / "home"
    folder.mkdir()
    (folder / "data").symlink_to(data_root)
    (folder / "run").symlink_to(finished)
    write_record(folder / "records", make_record("one"), SCORES)
    (folder / "more.yaml").write_text("seed: 3\n")
    (folder / "mine.yaml").write_text(
        "class_path: bench.models.autoencoder.Autoencoder\nmodel: {residual: l2}\ntrainer: {max_epochs: 1}\n"
    )
    monkeypatch.setenv("HOME", str(folder))
    return folder


def record_below(folder: Path) -> dict:
    return json.loads(next(folder.rglob("record.json")).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("command", "made"),
    [
        ("fit {quick} --runs=~/made --data.root=~/data --data.cache=~/cache", "made"),
        ("fit {quick} --runs made --data.root=~/data --data.cache=~/cache", "cache/images"),
        ("fit {quick} --runs=~/made --model ~/mine.yaml --config ~/more.yaml", "made/mine"),
        (
            "sweep --models ~/mine.yaml --categories screw --runs=~/made --launcher.workers=0 --config ~/more.yaml "
            "--set data.root=~/data --data.image_size 32 --trainer.accelerator cpu",
            "made/mine",
        ),
        ("predict ~/data/screw/test/good --run ~/run --out=~/made", "made/predictions.csv"),
        ("report ~/run --no-maps --out=~/made/page.html", "made/page.html"),
        ("leaderboard ~/records --no-bootstrap --out=~/made", "made/mvtec_ad-one-class.md"),
        ("data describe --category screw --data.root=~/data --out=~/made", "made/description.md"),
        ("data export --category screw --format coco --data.root=~/data --out=~/made", "made/export.json"),
        ("data download --from=~/data --accept-licence --data.root=~/made", "made/screw"),
        ("test --run ~/run --data.root=~/data", "run"),
    ],
)
def test_the_home_folder_is_meant_in_every_option(bench, home, quick, command, made):
    words = [each for word in command.split() for each in (quick if word == "{quick}" else [word])]
    outcome = bench(*words)
    assert outcome.status == 0, outcome
    assert (home / made).exists()
    assert not list(Path().glob("~*"))


def test_the_home_folder_is_meant_in_variables(bench, home, quick, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", "~/cache")
    monkeypatch.setenv("BENCH_DATA", "~/data")
    assert bench("fit", *without_root(quick)).status == 0
    assert (home / "cache" / "images").is_dir()
    assert not Path("~").exists()
    assert record_below(Path("runs"))["config"]["data"]["root"] == str(home / "data")


def test_a_tilde_elsewhere_or_of_nobody_stays():
    assert expanded({"a": ["b~", "~nobody-of-that-name/x"], "c": 1.5}) == {
        "a": ["b~", "~nobody-of-that-name/x"],
        "c": 1.5,
    }
    assert expanded(Path("a/~/b")) == Path("a/~/b")


def without_root(words: tuple[str, ...]) -> list[str]:
    place = words.index("--data.root")
    return [*words[:place], *words[place + 2 :]]


def test_a_new_shell_finds_the_data_that_a_variable_named(bench, quick, data_root, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(data_root))
    assert bench("fit", *without_root(quick)).status == 0
    monkeypatch.delenv("BENCH_DATA")
    (run,) = Path("runs").glob("*/*/*")
    outcome = bench("test", "--run", run)
    assert "the same figures as in the record" in outcome.stdout, outcome
    assert f"--data.root {data_root}" in record_below(run)["command"]
    assert bench("report", run).status == 0


def test_another_working_folder_finds_data_that_were_named_from_here(bench, quick, data_root, own_folder, monkeypatch):
    Path("here").symlink_to(data_root)
    assert bench("fit", *without_root(quick), "--data.root", "here").status == 0
    (run,) = Path("runs").glob("*/*/*")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert "the same figures as in the record" in bench("test", "--run", own_folder / run).stdout


def test_data_that_moved_are_found_by_the_variable_and_that_is_said(bench, quick, data_root, own_folder, monkeypatch):
    shutil.copytree(data_root, own_folder / "then")
    assert bench("fit", *without_root(quick), "--data.root", own_folder / "then").status == 0
    (own_folder / "then").rename(own_folder / "now")
    (run,) = Path("runs").glob("*/*/*")
    assert "no data folder at" in bench("test", "--run", run).stderr
    monkeypatch.setenv("BENCH_DATA", str(own_folder / "now"))
    outcome = bench("test", "--run", run)
    assert "the same figures as in the record" in outcome.stdout
    assert outcome.stderr.count(f"they are looked for in BENCH_DATA ({own_folder / 'now'})") == 1


def test_an_interrupted_run_goes_on_with_data_that_moved(bench, quick, data_root, own_folder, monkeypatch):
    shutil.copytree(data_root, own_folder / "then")
    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.run.fit_fold", _interrupt)
        assert bench("fit", *without_root(quick), "--data.root", own_folder / "then").status == 130
    (own_folder / "then").rename(own_folder / "now")
    (run,) = Path("runs").glob("*/*/*")
    monkeypatch.setenv("BENCH_DATA", str(own_folder / "now"))
    outcome = bench("fit", "--resume", run)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr.count(f"they are looked for in BENCH_DATA ({own_folder / 'now'})") == 1


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_made_up_data_are_made_anywhere(bench, own_folder):
    words = (
        "fit",
        "--model",
        "autoencoder_l2",
        "--category",
        "screw",
        "--data",
        "synthetic",
        "--data.image_size",
        "32",
    )
    quick = ("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--data.samples_per_epoch", "null")
    quick = (*quick, "--data.image_size", "32")
    assert bench(*words, *quick).status == 0
    assert record_below(Path("runs"))["config"]["data"]["root"] is None


def test_a_run_from_python_says_the_command_that_makes_it_again(bench, data_root, own_folder):
    options = {"data.root": str(data_root), "data.image_size": "32", "trainer.max_epochs": "1"}
    options |= {"trainer.accelerator": "cpu", "data.samples_per_epoch": "null", "seed": "5"}
    config = resolve(model="autoencoder_l2", data=None, category="screw", files=[], options=options)
    record, folder, _ = fit(config, Options())
    assert record.command.startswith("bench fit --model autoencoder_l2 --category screw --seed 5 ")
    again = bench(*shlex.split(record.command)[1:], "--json")
    assert "finished before" in again.stderr
    assert json.loads(again.stdout)["fingerprint"] == folder.name
