"""A method of one's own: a YAML file and a class beside it, outside the package."""

import sys
from pathlib import Path

import pytest

CLASS = '''
from bench.models.base import Detector, Prediction


class Brightest(Detector):
    """The brighter, the more anomalous."""

    def __init__(self, spec, *, gain: float = 1.0) -> None:
        super().__init__(spec)
        self.gain = gain

    def forward(self, image):
        brightness = self.gain * image.mean(dim=1)
        return Prediction(brightness.amax(dim=(1, 2)), brightness)
'''
YAML = """
class_path: mine.Brightest
about: brightness alone
track: one-class
model:
  gain: 2.0
data:
  image_size: 32
  validation_share: 0.25
"""


@pytest.fixture
def mine(data_root, tmp_path, monkeypatch) -> tuple[str, ...]:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "mine.py").write_text(CLASS)
    (folder / "mine.yaml").write_text(YAML)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    place = ("--category", "screw", "--data.root", str(data_root), "--trainer.accelerator", "cpu")
    return ("--model", "elsewhere/mine.yaml", *place)


def test_a_class_beside_its_yaml_file_is_run_like_any_other(bench, mine):
    outcome = bench("fit", *mine)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr == ""
    (run,) = Path("runs").glob("mine/screw/*")
    assert (run / "record.json").is_file()


def test_its_settings_are_typed_and_listed_like_any_other_s(bench, refuse, mine):
    assert "(type: float, default: 2.0)" in bench("fit", *mine, "--help-all").stdout
    assert "  --model.gain 2.0  " in bench("fit", *mine, "--help").stdout
    assert "--model.gain expects float, not 'loud'" in refuse("fit", *mine, "--model.gain", "loud")
    assert "did you mean '--model.gain'?" in refuse("fit", *mine, "--model.gian", "3")


def test_it_names_its_published_figures_like_any_other(bench, refuse, mine):
    Path("elsewhere/mine.yaml").write_text(YAML + "reference: cutpaste/3way/papier\n")
    assert "did you mean 'cutpaste/3way/paper'?" in refuse("fit", *mine)
    Path("elsewhere/mine.yaml").write_text(YAML + "reference: cutpaste/3way/paper\nprotocol_differs: no learning\n")
    shown = bench("fit", *mine).stdout
    assert "0.863*" in shown
    assert "no learning" in shown


def test_its_run_can_be_tested_again_where_its_file_is_named(bench, refuse, mine, monkeypatch):
    assert bench("fit", *mine).status == 0
    (run,) = Path("runs").glob("mine/screw/*")
    _forget(monkeypatch)
    line = refuse("test", "--run", run)
    assert "cannot import class_path 'mine.Brightest'" in line
    assert "only where its file is typed: --model FILE" in line
    outcome = bench("test", "--run", run, "--model", "elsewhere/mine.yaml")
    assert outcome.status == 0, outcome.stderr
    assert "the same figures as in the record" in outcome.stdout


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("class_path: mine.Brightest", "differs: nothing", "names no class_path"),
        ("mine.Brightest", "mine.Brigthest", "cannot import class_path 'mine.Brigthest'"),
        ("mine.Brightest", "yours.Brightest", "cannot import class_path 'yours.Brightest'"),
        ("mine.Brightest", "Brightest", "cannot import class_path 'Brightest'"),
        ("mine.Brightest", "json.dumps", "is no class"),
        ("mine.Brightest", "pathlib.Path", "is no bench.models.base.Detector"),
        ("gain: 2.0", "gain: [2", "mine.yaml is no valid YAML in line"),
        ("gain: 2.0", "gian: 2.0", "gian"),
        ("gain: 2.0", "gain: loud", "loud"),
    ],
)
def test_a_mistake_in_its_file_is_refused(refuse, mine, old, new, words):
    Path("elsewhere/mine.yaml").write_text(YAML.replace(old, new))
    assert words in refuse("fit", *mine)


def test_a_mistake_in_its_class_is_named_with_file_and_line(refuse, mine):
    Path("elsewhere/mine.py").write_text(CLASS.replace("def forward(self, image):", "def forward(self, image)"))
    line = refuse("fit", *mine)
    assert "cannot import class_path 'mine.Brightest'" in line
    assert "mine.py, line 12" in line


def test_a_module_that_ends_python_is_named(refuse, mine):
    Path("elsewhere/mine.py").write_text("import sys\nsys.exit(7)\n")
    assert "cannot import class_path 'mine.Brightest' of 'mine': it ends Python with sys.exit(7)" in refuse(
        "fit", *mine
    )


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process would begin: without the module and the folder it came from."""
    monkeypatch.delitem(sys.modules, "mine")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not place.endswith("elsewhere")])


def test_a_class_without_settings_is_run_as_well(bench, mine):
    setting = ", *, gain: float = 1.0"
    source = CLASS.replace(setting, "").replace("self.gain = gain", "self.gain = 1.0")
    assert setting not in source
    Path("elsewhere/mine.py").write_text(source)
    Path("elsewhere/mine.yaml").write_text(YAML.replace("model:\n  gain: 2.0\n", ""))
    outcome = bench("fit", *mine)
    assert (outcome.status, outcome.stderr) == (0, "")
    (run,) = Path("runs").glob("mine/screw/*")
    assert bench("test", "--run", run, "--model", "elsewhere/mine.yaml").status == 0
    assert bench("sweep", *mine, "--seeds", "0,1", "--launcher.workers", "0").status == 0


def test_a_method_that_names_its_left_out_scores_as_earlier_releases_did_is_refused():
    from bench.errors import UsageError
    from bench.models.autoencoder import Autoencoder

    with pytest.raises(UsageError, match="'scores_left_out', which is called supports_leave_one_out now"):
        type("Former", (Autoencoder,), {"scores_left_out": True})
