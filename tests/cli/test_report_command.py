"""`bench report`: a run as one page that needs nothing but itself."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.test_predict_command import fit
from csv_rows import csv_rows
from fake_data import save, weave, write_category
from fake_records import change_record, make_record, write_record
from runs.test_supervised import QUICK

DEFECTS = {"blob": 9, "scratch & <b>": 7}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Data whose folders have a space, Chinese characters and what HTML must not take for its own."""
    root = tmp_path_factory.mktemp("data") / "数据 root"
    write_category(root, "螺丝 part", train=12, good=12, defects=DEFECTS, contrast=0.12)
    return root


@pytest.fixture(scope="module")
def run(bench, quick_padim, root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("padim") / "运行 runs"
    return fit(bench, folder, *quick_padim, "--category", "螺丝 part", "--data.root", root)


@pytest.fixture(scope="module")
def page(bench, run) -> str:
    outcome = bench("report", run)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout == f"{run / 'report.html'}\n"
    return (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def classifier(bench, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    write_category(root, train=14, good=5, defects={"blob": 9, "scratch": 7})
    return fit(bench, tmp_path_factory.mktemp("classifier"), *QUICK, "--data.root", root)


class Reader(HTMLParser):
    """Collects what a page loads, its words, its headings and its open elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        self.sources += [values[name] for name in ("src", "href", "action", "data") if values.get(name)]
        if tag == "img":
            self.alts.append(values["alt"])

    def handle_data(self, data):
        self.words.append(data.strip())


def record_of(run: Path) -> dict:
    return json.loads((run / "record.json").read_text(encoding="utf-8"))


def predictions_of(run: Path) -> list[dict[str, str]]:
    return csv_rows(run / "predictions.csv")


def cards_of(page: str, title: str) -> list[str]:
    """The names of the images under a heading, in their order."""
    part = page[page.index(f"<h3>{title} (") :].split("<h3>")[1]
    return re.findall(r"<strong>(.*?)</strong>", part)


def picture(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def test_a_page_loads_nothing(page):
    sources = Reader(page).sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert sum(source.startswith("data:image/jpeg") for source in sources) > 6
    assert "default-src 'none'" in page
    assert "url(" not in page.replace("url(#", "")


def test_a_page_shows_the_figures_of_the_record_with_their_intervals(page, run):
    record, words = record_of(run), Reader(page).words
    for value in (f"{record['metrics']['image_auroc']:.4f}", f"{record['metrics']['aupro_0.30']:.4f}"):
        assert value in words
    low, high = record["intervals"]["image_auroc"]
    assert f"{low:.3f} to {high:.3f}" in words
    assert record["fingerprint"] in words
    assert any(record["command"] in word for word in words)
    assert f"{record['cost']['fit_seconds']:.1f} s" in words


def test_false_positives_and_negatives_are_those_of_the_threshold_the_worst_first(page, run):
    threshold, rows = record_of(run)["metrics"]["threshold"], predictions_of(run)
    scored = sorted((float(row["score"]), row["label"], "/".join(row["path"].split("/")[-2:])) for row in rows)
    alarms = [name for score, label, name in reversed(scored) if label == "0" and score > threshold]
    missed = [name for score, label, name in scored if label == "1" and score <= threshold]
    assert missed, "the contrast of the data is too high for this test"
    escaped = [name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for name in missed]
    assert cards_of(page, "False positives") == alarms[:8]
    assert cards_of(page, "False negatives") == escaped[:8]
    assert f"False negatives ({len(missed)})" in page


def test_the_typical_image_of_each_type_is_the_median_one(page, run):
    rows = predictions_of(run)
    expected = []
    for kind in ("good", *sorted(DEFECTS)):
        own = sorted((float(row["score"]), row["path"]) for row in rows if row["defect_type"] == kind)
        expected.append(own[(len(own) - 1) // 2][1].rsplit("/", 1)[1])
    assert [name.rsplit("/", 1)[1] for name in cards_of(page, "Typical images")] == expected


def test_a_defect_is_shown_as_it_is_with_its_mask_and_as_a_heat_map(page):
    reader = Reader(page)
    what = [alt.split(" of ")[0] for alt in reader.alts if "blob" in alt][:3]
    assert what == ["image", "mask", "heat map"]
    sources = [source for source in reader.sources if source.startswith("data:image/jpeg")]
    shown = dict(zip(reader.alts, sources, strict=True))
    name = next(alt.removeprefix("mask of ") for alt in reader.alts if alt.startswith("mask of blob"))
    image, mask, heat = (picture(shown[f"{kind} of {name}"]).astype(int) for kind in ("image", "mask", "heat map"))
    assert image.shape == mask.shape == heat.shape == (320, 320, 3)
    changed = np.abs(image - mask).max(axis=2) > 60
    assert 0 < changed.mean() < 0.1, "an outline, not an area"


def test_a_good_image_has_no_mask(page):
    assert not [alt for alt in Reader(page).alts if alt.startswith("mask of good")]


def test_names_are_escaped(page):
    assert "b" not in Reader(page).tags
    assert "scratch &amp; &lt;b&gt;" in page
    assert "螺丝 part" in page


def test_curves_have_titles_units_and_the_areas_of_the_record(page, run):
    metrics = record_of(run)["metrics"]
    for title in ("ROC curve", "Precision and recall", "PRO curve", "Image scores by type", "Colours of the heat maps"):
        assert f">{title}</title>" in page
    for label in ("false positive rate", "recall", "mean overlap of regions", "image score (raw, no unit)"):
        assert label in page
    assert f"PRO, normalised area {metrics['aupro_0.30']:.4f}" in page
    assert f"threshold {metrics['threshold']:.4g}" in page


def test_the_scale_of_the_heat_maps_is_the_record_s(page, run):
    low, high = record_of(run)["map_range"]
    assert f"From {low:.4g}, grey, to {high:.4g}, yellow." in page


def test_the_same_run_gives_the_same_bytes(bench, run, page, tmp_path):
    bench("report", run, "--out", tmp_path / "again and 再.html")
    assert (tmp_path / "again and 再.html").read_text(encoding="utf-8") == page


def test_without_pictures_neither_data_nor_checkpoint_are_needed(bench, run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "moved")
    (moved / "model.ckpt").unlink()
    record = record_of(moved)
    record["config"]["data"]["root"] = "/nowhere"
    (moved / "record.json").write_text(json.dumps(record))
    assert bench("report", moved, "--no-maps").status == 0
    page = (moved / "report.html").read_text(encoding="utf-8")
    assert "Made with --no-maps" in page
    assert "<img" not in page
    assert "PRO curve</title>" not in page
    assert cards_of(page, "False negatives")


@pytest.mark.parametrize("missing", ["data", "checkpoint", "other data"])
def test_what_is_missing_is_told_in_one_line_and_nothing_is_written(refuse, run, root, tmp_path, missing):
    moved = shutil.copytree(run, tmp_path / "runs" / "moved", ignore=shutil.ignore_patterns("report.html"))
    arguments = ()
    if missing == "checkpoint":
        (moved / "model.ckpt").unlink()
    else:
        arguments = ("--data.root", tmp_path / "other")
    if missing == "other data":
        write_category(tmp_path / "other", "螺丝 part", train=11)
    line = refuse("report", moved, *arguments)
    assert "--no-maps" in line
    words = {"data": "no data folder", "checkpoint": "no checkpoint", "other data": "these are not the images"}
    assert words[missing] in line


@pytest.mark.slow
def test_the_data_may_have_moved(bench, run, root, page, tmp_path):
    shutil.copytree(root, tmp_path / "elsewhere")
    assert bench("report", run, "--data.root", tmp_path / "elsewhere", "--out", "x.html").status == 0
    assert Path("x.html").read_text(encoding="utf-8") == page


def test_changed_predictions_are_refused(refuse, run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "moved")
    text = (moved / "predictions.csv").read_text(encoding="utf-8")
    (moved / "predictions.csv").write_text(text.replace(",1,", ",0,", 1), encoding="utf-8")
    assert "was changed" in refuse("report", moved)


def test_a_run_that_did_not_end_has_no_report(refuse, tmp_path):
    folder = write_record(tmp_path / "records", make_record(), {"good": [0.0], "blob": [1.0]})
    change_record(folder, status="failed")
    assert "is no finished run, it failed" in refuse("report", folder)


def test_a_classifier_s_page_has_its_confusion_matrix_and_its_surest_mistakes(bench, classifier):
    outcome = bench("report", classifier)
    assert (outcome.status, outcome.stderr) == (0, "")
    page = (classifier / "report.html").read_text(encoding="utf-8")
    record, rows = record_of(classifier), predictions_of(classifier)
    table = page[page.index('<table class="heat">') :].split("</table>")[0]
    counts = [int(text) for text in re.findall(r"<td[^>]*>(\d+)</td>", table)]
    assert counts == np.ravel(record["confusion"]["counts"]).tolist()
    classes, wrong = record["confusion"]["classes"], []
    for row in rows:
        logits = np.array([float(value) for value in row["logits"].split()])
        share = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        if classes[int(logits.argmax())] != row["defect_type"]:
            wrong.append((-share.max(), "/".join(row["path"].split("/")[-2:])))
    assert cards_of(page, "Most confident mistakes") == [name for _, name in sorted(wrong)[:8]]
    assert "heat map" not in page.partition("<main")[2]
    assert sum(alt.startswith("image of") for alt in Reader(page).alts) == len(Reader(page).alts) > 3


@pytest.mark.slow
def test_a_method_without_maps_shows_its_images_alone(bench, quick, tmp_path):
    options = ("--model", "deep_svdd", "--trainer.max_epochs", "1", "--model.pretrain_epochs", "0")
    run = fit(bench, tmp_path, *quick, *options)
    assert bench("report", run).status == 0
    reader = Reader((run / "report.html").read_text(encoding="utf-8"))
    assert {alt.split(" of ")[0] for alt in reader.alts} == {"image", "mask"}
    assert "deep_svdd makes no anomaly maps: its images are shown without." in reader.words


@pytest.mark.slow
def test_mvtec_s_licence_stands_on_a_page_with_its_images(bench, quick_padim, data_root, tmp_path, page):
    run = fit(bench, tmp_path, *quick_padim)  # `screw` is a category of MVTec AD
    bench("report", run)
    assert "CC BY-NC-SA 4.0" in (run / "report.html").read_text(encoding="utf-8")
    assert "CC BY-NC-SA 4.0" not in page
    bench("report", run, "--no-maps")
    assert "CC BY-NC-SA 4.0" not in (run / "report.html").read_text(encoding="utf-8")


def test_a_test_split_of_another_shape_of_scores_is_drawn(bench, tmp_path):
    scores = {"good": [0.0, 0.1, 0.2, 0.3] * 5, "blob": [1.0, 1.1] * 8 + [1000.0]}
    folder = write_record(tmp_path / "records", make_record(metrics={"threshold": 0.5}), scores)
    assert bench("report", folder, "--no-maps").status == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "the last holds those to 1000" in page
    assert "the tallest" in page


def test_unknown_options_are_told_in_one_line(refuse, run):
    save(weave(8, "x"), Path("x.png"))
    assert "did you mean '--no-maps'?" in refuse("report", run, "--no-map")
