"""`bench accept`: which method, with which threshold, what it promises; each bad input in one line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

from acceptance.conftest import METHODS, SMALL, product_of
from bench.config.presets import conf_folder
from bench.data.importing.roles import read_roles
from bench.metrics.false_alarm_bound import best_bound, false_alarm_bound
from fake_data import save
from fake_photos import write_photo, write_photos

ONE = ("--methods", "trivial_thumbnail", "--seeds", "0")


def calibration(result: dict) -> list[float]:
    """The scores of the run that is judged, of the photos that it took its threshold from."""
    with (Path(result["run"]) / "normal_scores.csv").open() as file:
        return sorted(float(row["score"]) for row in csv.DictReader(file))


def test_the_threshold_is_set_on_the_photos_that_calibrate_and_a_wish_beyond_them_is_told(accepted, product):
    found = accepted.result
    scores = calibration(found)
    assert len(scores) == sum(photo.role == "calibration" for photo in read_roles(product)) == 4
    threshold = found["threshold"]
    assert threshold["threshold"] == scores[-1]
    assert threshold["obtained"] == "held-out"
    assert threshold["false_alarms"]["bound"] == best_bound(4)
    assert not found["keeps_wish"]
    assert found["calibration_scores_needed"] == 59, "5 % with 95 % confidence"
    assert any("takes 59 calibration photos; these 4 promise at most 52.8 %" in line for line in found["guarantee"])


def test_a_wish_that_they_can_promise_takes_the_lowest_threshold_that_keeps_it(accept, product):
    found = accept(product, *ONE, "--max-false-alarms", 0.9, name="lenient").result
    scores = calibration(found)
    rank = scores.index(found["threshold"]["threshold"]) + 1
    assert found["keeps_wish"]
    assert false_alarm_bound(4, rank).bound <= 0.9 < false_alarm_bound(4, rank - 1).bound


def test_all_methods_and_seeds_are_compared_on_the_same_photos(accepted):
    methods = accepted.result["methods"]
    assert sorted(each["name"] for each in methods) == sorted(METHODS.split(","))
    assert all(list(each["by_seed"]) == ["0", "1"] for each in methods)
    best, other = methods
    assert best["name"] == accepted.result["recommended"]
    assert best["image_auroc"] >= other["image_auroc"]
    assert other["behind_by"]["value"] == pytest.approx(best["image_auroc"] - other["image_auroc"])


def test_what_slips_through_is_told_by_type_with_an_interval_and_what_it_costs(accepted):
    found = accepted.result
    by_type = found["test"]["found_by_type"]
    assert {name: each["of"] for name, each in by_type.items()} == {"dent": 3, "hole": 2}
    assert all(
        low <= each["number"] / each["of"] <= high for each in by_type.values() for low, high in [each["interval"]]
    )
    missed = 5 - found["test"]["found"]["number"]
    stopped, good = found["test"]["stopped"]["number"], found["test"]["stopped"]["of"]
    share = found["cost"]["bad_share"]
    assert share == 5 / 9
    assert found["cost"]["expected"] == pytest.approx(share * 100 * missed / 5 + (1 - share) * stopped / good)
    most = [proportion_confint(count, of, method="wilson")[1] for count, of in ((missed, 5), (stopped, good))]
    assert found["cost"]["at_upper_ends"] == pytest.approx(share * 100 * most[0] + (1 - share) * most[1])
    assert {"PG2", "PB2"} <= found.keys()


def test_robustness_learning_curve_and_time_are_measured(accepted):
    found = accepted.result
    assert {each["change"] for each in found["robustness"]["changes"]} == {"light", "blur", "JPEG", "shift"}
    assert found["robustness"]["stopped"] == found["test"]["stopped"]["number"], "unchanged photos keep their verdicts"
    assert [each["photos"] for each in found["learning_curve"]] == [2, 4, 8]
    assert found["latency_milliseconds"]["median"] <= found["latency_milliseconds"]["p99"]


def test_its_threshold_is_one_that_predict_takes(accepted, product, bench, tmp_path):
    photos = product / "test" / "dent"
    threshold = ("--threshold", accepted.folder / "threshold.json")
    outcome = bench("predict", "--run", accepted.result["run"], *threshold, "--out", tmp_path / "out", photos)
    assert outcome.status == 0, outcome.stderr
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    dents = accepted.result["test"]["found_by_type"]["dent"]
    assert sum(row["anomalous"].lower() in ("true", "1") for row in rows) == dents["number"]


def test_replacing_all_test_photos_changes_no_threshold_and_no_bound(accept, tmp_path):
    product = product_of(tmp_path)
    before = accept(product, *ONE, name="before").result
    for photo in read_roles(product):
        if photo.role == "test":
            (product / photo.path).unlink()  # it is a hard link to the photo
            write_photo(product / photo.path.replace("0", "9", 1), bad=photo.is_good).rename(product / photo.path)
    after = accept(product, *ONE, name="after").result
    assert after["run"] != before["run"], "they are other data"
    assert after["test"] != before["test"]
    for name in ("threshold", "false_alarms", "normal_scores_sha256", "normal_scores"):
        assert after["threshold"][name] == before["threshold"][name]


def test_without_bad_photos_nobody_knows_what_slips_through(accept, tmp_path):
    product = product_of(tmp_path, {"good": 12})
    found = accept(product, *ONE, name="good-only")
    assert found.result["answers"][3]["answer"] == "Nobody knows"
    assert found.result["test"]["found_by_type"] == {}
    assert found.result["PG2"] is None
    assert found.result["cost"] is None
    assert found.result["learning_curve"] == []
    assert "There are no bad photos, so nobody knows what slips through." in found.page.read_text()


def test_a_folder_that_was_not_imported_takes_a_share_to_hold_out(accept, own_category, refuse):
    refusal = refuse("accept", own_category, *ONE, *SMALL)
    assert "nobody knows which photos calibrate; import them" in refusal
    assert "--data.validation_share 0.25" in refusal
    found = accept(own_category, *ONE, "--data.validation_share", 0.25, name="shared").result
    assert found["threshold"]["obtained"] == "held-out"
    assert found["threshold"]["false_alarms"]["bound"] is not None


def test_good_photos_that_nobody_tests_leave_the_promise_alone(accept, tmp_path):
    product = product_of(tmp_path, {"good": 12, "bad": 3}, "--test-share", "0")
    found = accept(product, *ONE, name="bad-only").result
    assert found["answers"][2]["behind"] == "No good photo was tested."
    assert found["threshold"]["false_alarms"]["bound"] == best_bound(len(calibration(found)))
    assert found["robustness"] is None


def test_a_kept_wish_is_no_yes_where_most_bad_parts_pass(accept, tmp_path):
    photos = write_photos(tmp_path / "photos", {"good": 16})
    mean = np.mean([np.asarray(Image.open(path)) for path in photos.rglob("*.png")], axis=0).round()
    for index in range(4):  # bad parts that are nearer to the mean of the good ones than good ones are
        mean[index, index] += 1
        save(mean.astype(np.uint8), photos / "bad" / "dent" / f"{index:03}.png")
    product = product_of(tmp_path, {"good": 16})
    found = accept(product, *ONE, "--max-false-alarms", 0.55, name="blind").result
    assert found["keeps_wish"]
    assert found["answers"][1]["answer"] == "No: at most 55 % of good parts stop, but most bad ones pass"
    stopped = found["PG2"]["right"]["of"] - found["PG2"]["right"]["number"]
    assert f"To miss 2 % at most, {stopped} of 4 good photos would be stopped." in found["answers"][3]["behind"]


def test_a_method_of_one_s_own_is_accepted_by_its_file(accept, product, tmp_path):
    preset = (conf_folder() / "model" / "trivial_thumbnail.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(preset)
    options = ("--methods", f"{tmp_path / 'mine.yaml'},trivial_contrast", "--seeds", "0")
    found = accept(product, *options, name="own").result
    assert {each["name"] for each in found["methods"]} == {"mine", "trivial_contrast"}


def test_a_remark_on_the_photos_is_said_once_for_all_runs(accepted):
    lines = accepted.remarks.splitlines()
    assert "bench: no masks of tablet: there will be no metrics of pixels" in lines
    assert len(lines) == len(set(lines))


def test_the_folder_where_one_stands_is_a_category_too(product, refuse, monkeypatch):
    monkeypatch.chdir(product)
    assert f"{product / 'split.csv'} says which" in refuse("accept", ".", "--data.validation_share", "0.2")


def test_without_json_it_answers_in_sentences_and_says_how_the_model_is_used(accepted, product, bench, tmp_path):
    words = (
        "--methods",
        METHODS,
        "--seeds",
        "0,1",
        "--runs",
        accepted.folder.parent / "runs",
        "--out",
        tmp_path / "out",
    )
    outcome = bench("accept", product, *SMALL, *words)
    assert outcome.status == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[0] == f"{accepted.result['verdict']}."
    for each, line in zip(accepted.result["answers"], lines[1:], strict=False):
        assert line.startswith(f"{each['question']} {each['answer']}. ")
    taken = f"--run {accepted.result['run']} --threshold {tmp_path / 'out' / 'threshold.json'}"
    assert lines[-2].endswith(f"bench predict {taken} PHOTOS")
    assert lines[-1].endswith(f"bench export {taken}")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "acceptance.html", "acceptance.json", "threshold.json",
    }  # fmt: skip


def test_the_result_lies_beside_the_page_as_it_was_printed(accepted):
    assert json.loads((accepted.folder / "acceptance.json").read_text()) == accepted.result
    assert accepted.page.read_text().count("<h1>") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--methods", "padin"), "unknown model 'padin'"),
        (("--methods", "resnet18"), "resnet18 is a classifier"),
        (("--max-false-alarms", "5"), "--max-false-alarms 5 is no share between 0 and 1"),
        (("--max-false-alarms", "0"), "--max-false-alarms 0 is no share between 0 and 1"),
        (("--cost-miss", "3"), "give both --cost-miss and --cost-alarm"),
        (("--cost-miss", "-1", "--cost-alarm", "1"), "--cost-miss -1 is no cost"),
        (("--bad-share", "0.1"), "--bad-share weighs costs"),
        (("--data.validation_share", "0.2"), "says which photos calibrate: leave out --data.validation_share"),
        (("--seeds", "a"), "--seeds expects numbers such as 0,1,2"),
        (("--model.weights", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--image-size", "wide"), "data.image_size"),
        (("--image-sise", "64"), "did you mean '--data.image_size'?"),
    ],
)
def test_a_wish_that_nobody_can_keep_is_one_line(product, refuse, options, told):
    assert told in refuse("accept", product, *options)


def test_a_category_that_is_not_there_is_told_how_to_make_it(refuse, tmp_path):
    assert "bench data import PHOTOS --name tablet" in refuse("accept", "tablet")
    assert "bench data import PHOTOS --name none" in refuse("accept", tmp_path / "none")


def test_photos_of_which_none_calibrates_or_is_tested_are_told_so(refuse, tmp_path):
    bare = product_of(tmp_path, None, "--calibration-share", "0", "--test-share", "0")
    assert "has the role calibration; import the photos again with a --calibration-share" in refuse("accept", bare)


def test_an_imported_category_is_found_by_its_name_where_imports_lie(product, refuse, monkeypatch):
    monkeypatch.chdir(product.parents[1])
    assert "leave out --data.validation_share" in refuse("accept", "tablet", "--data.validation_share", "0.2")
