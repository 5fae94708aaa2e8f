"""ELPV: cells by labels.csv, of two kinds, without masks and without a split of its own."""

import json
from pathlib import Path

import pytest

from bench.data.datasets.elpv import Elpv
from bench.data.datasets.elpv_facts import TRAIN
from bench.errors import UsageError
from fake_data import write_elpv

UNSURE = {"0.3333333333333333": 2, "0.6666666666666666": 1}
KINDS = {"mono": {"0.0": 9, **UNSURE, "1.0": 4}, "poly": {"0.0": 3, "1.0": 1}}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_elpv(tmp_path_factory.mktemp("elpv"), KINDS)


def _cells(root: Path, kind: str = "mono", seed: int = 0) -> Elpv:
    return Elpv(kind, seed, "model", root=str(root), image_size=32)


def test_functional_cells_are_good_sure_defects_are_tested_and_others_are_left_out(root):
    category = _cells(root).full_category
    assert category.counts == {"train/good": 6, "test/good": 3, "test/defective": 4}
    assert category.notes == ("3 cells of mono left out: neither surely functional nor surely defective",)


def test_a_kind_is_a_category(root):
    assert _cells(root).category_names() == ["mono", "poly"]
    assert _cells(root, "poly").full_category.counts == {"train/good": 2, "test/good": 1, "test/defective": 1}
    with pytest.raises(UsageError, match="unknown kind of solar cell 'screw'"):
        _ = _cells(root, "screw").full_category


def test_two_hundred_cells_are_learned_from_where_there_are_enough(tmp_path):
    write_elpv(tmp_path, {"mono": {"0.0": TRAIN + 101, "1.0": 1}})
    assert _cells(tmp_path).full_category.counts["train/good"] == TRAIN


def test_the_seed_deals_the_cells_and_the_digest_stays(root):
    first, again, other = (_cells(root, seed=seed).full_category for seed in (0, 0, 1))
    assert first == again
    assert {sample.path for sample in first.train} != {sample.path for sample in other.train}
    assert first.digest == other.digest


def test_a_run_tells_its_images_apart_from_those_that_were_published(root):
    data = _cells(root)
    assert not data.official
    assert data.differences == ["20 cells, not 2624"]


def test_a_cell_may_be_mirrored_and_lies_where_all_do(root):
    data = _cells(root)
    assert data.facts.symmetry.hflip_symmetric
    assert data.spec.aligned


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "no .*labels.csv; name the folder"),
        ("images/cell0001.png 0.0\n", "labels.csv, line 1: not a path, a probability and a kind"),
        ("images/cell0001.png nearly mono\n", "labels.csv, line 1: not a path"),
        ("images/none.png 0.0 mono\n", "no image .*none.png, which labels.csv names"),
        ("images/cell0001.png 1.0 mono\n", "no functional cells of mono"),
    ],
)
def test_a_mistake_in_the_labels_is_named(tmp_path, labels, words):
    root = write_elpv(tmp_path / "elpv", {"mono": {"0.0": 1}})
    (root / "labels.csv").unlink()
    if labels is not None:
        (root / "labels.csv").write_text(labels)
    with pytest.raises(UsageError, match=words):
        _ = _cells(root).full_category


def test_a_method_runs_on_it_without_figures_of_pixels(bench, root, own_folder):
    model = ("--model", "gaussian_mobilenetv2", "--model.weights", "none", "--trainer.accelerator", "cpu")
    place = ("--data", "elpv", "--category", "mono", "--data.root", root, "--data.image_size", "32")
    outcome = bench("fit", *model, *place)
    assert outcome.status == 0, outcome.stderr
    assert "not ZAE Bayern's own data: 20 cells, not 2624" in outcome.stdout
    assert "MVTec" not in outcome.stdout + outcome.stderr
    assert "no masks of mono" in outcome.stderr
    record = json.loads(next(Path("runs").rglob("record.json")).read_text())
    assert record["dataset"] == "elpv"
    assert record["metrics"]["image_auroc"] is not None
    assert record["metrics"].get("pixel_auroc") is None


def test_its_licence_goes_with_an_export(root, tmp_path):
    from bench.data.export.licence import write_licence

    (root / "license.txt").write_text("CC BY-NC-SA 4.0")
    write_licence(tmp_path, _cells(root), "elpv", "1.0")
    assert "ZAE Bayern" in (tmp_path / "LICENSE.txt").read_text()
    assert (tmp_path / "licence" / "license.txt").is_file()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"images/\xff.png 0.0 mono", "is no text in UTF-8"),
        (b"/etc/passwd 0.0 mono", "line 21: /etc/passwd does not lie below"),
        (b"../other.png 0.0 mono", "line 21: ../other.png does not lie below"),
        (b"twice", "stands there twice"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused_in_one_line(tmp_path, line, words):
    root = write_elpv(tmp_path, KINDS)
    labels = root / "labels.csv"
    content = labels.read_bytes().rstrip() + b"\n"
    labels.write_bytes(content + (content.splitlines()[0] if line == b"twice" else line) + b"\n")
    with pytest.raises(UsageError, match=words) as refused:
        _ = _cells(root).full_category
    assert "\n" not in str(refused.value)
