"""`bench threshold`: another threshold for a finished run, what it promises, and who uses it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.metrics.false_alarm_bound import best_bound
from fake_records import change_record, keep_run, make_record, write_record


def chosen(bench, *words: object) -> dict:
    outcome = bench("threshold", *words, "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_of_59_held_out_images_the_largest_score_promises_5_percent(bench):
    run = keep_run(range(1, 60))
    found = chosen(bench, "--run", run, "--max-false-alarms", "0.05")
    assert (found["threshold"], found["pixel_threshold"]) == (59.0, 5.9)
    alarms = found["false_alarms"]
    assert (alarms["rank"], alarms["confidence"], alarms["expected"]) == (59, 0.95, 1 / 60)
    assert alarms["bound"] == pytest.approx(0.0495, abs=1e-4)
    assert "independent and identically distributed" in alarms["assumes"]
    assert found["with_bad_images"] is False


def test_more_images_allow_a_lower_threshold_and_less_confidence_a_lower_one_still(bench):
    run = keep_run(range(1, 101))
    assert chosen(bench, "--run", run, "--max-false-alarms", ".05")["threshold"] == 99
    assert chosen(bench, "--run", run, "--max-false-alarms", ".05", "--confidence", "0.5")["threshold"] == 96


def test_the_sentences_say_what_is_promised_and_under_which_assumption(bench):
    run = keep_run(range(1, 101))
    lines = bench("threshold", "--run", run, "--max-false-alarms", "0.05").stdout.splitlines()
    assert lines[0] == "one on screw: threshold 99 (the record's: 100), with 1 of 100 held-out normal scores above it"
    assert lines[1] == "false alarms: at most 4.66 % of good parts, with 95 % confidence; expected 1.98 %"
    assert lines[2] == "this holds if these images and those of the line are independent and identically distributed"
    assert lines[3] == "pixel threshold 9.9: the same promise for the largest value of a map"
    assert "stops 2 of 3 good, finds 5 of 5 defective (the record's threshold: stops 2 of 3" in lines[4]
    assert lines[5] == (
        f"{run}/threshold.json; to use it: bench predict --run {run} --threshold {run}/threshold.json PHOTOS"
    )
    assert len(lines) == 6


def test_a_wish_that_so_few_images_cannot_keep_is_told_with_how_many_it_takes_and_what_these_can_promise(refuse):
    run = keep_run(range(12))
    line = refuse("threshold", "--run", run, "--max-false-alarms", "0.01")
    assert line == (
        "bench: 1 % false alarms with 95 % confidence take 299 held-out good images; 12 can promise 22.1 %: "
        "--max-false-alarms 0.221, or add good images, or hold out more of them (bench fit --data.validation_share)"
    )


@pytest.mark.parametrize("count", [1, 2, 7, 12, 58, 233])
@pytest.mark.parametrize("obtained", ["held-out", "left-out"])
def test_what_these_images_are_said_to_promise_is_then_granted(bench, refuse, count, obtained):
    run = keep_run(range(count), obtained)
    line = refuse("threshold", "--run", run, "--max-false-alarms", "0.0001")
    wish = line.partition("--max-false-alarms ")[2].partition(",")[0]
    assert chosen(bench, "--run", run, "--max-false-alarms", wish)["false_alarms"]["rank"] == count
    least = best_bound(count) if obtained == "held-out" else 1 / (count + 1)
    assert least <= float(wish) <= 1.01 * least


@pytest.mark.parametrize(("obtained", "why"), [("left-out", "left out one by one"), ("out-of-fold", "of refits")])
def test_scores_of_other_models_than_the_one_that_decides_have_no_bound(bench, refuse, obtained, why):
    run = keep_run(range(1, 200), obtained, maxima=[None] * 199)
    found = chosen(bench, "--run", run, "--max-false-alarms", "0.01")
    assert (found["threshold"], found["false_alarms"]["bound"], found["false_alarms"]["expected"]) == (198, None, 0.01)
    assert why in found["no_bound"]
    outcome = bench("threshold", "--run", run, "--max-false-alarms", "0.01")
    assert "confidence" not in outcome.stdout
    assert f"no bound of false alarms: these scores are of {'images' if 'one' in why else 'refits'}" in outcome.stdout
    assert "--data.validation_share" in outcome.stdout
    line = refuse("threshold", "--run", run, "--max-false-alarms", "0.01", "--confidence", "0.9")
    assert why in line


@pytest.mark.parametrize(
    ("obtained", "why"), [("left-out", "left out come without maps"), ("held-out", "the method has no maps")]
)
def test_without_maps_there_is_no_pixel_threshold_and_the_command_says_why(bench, obtained, why):
    run = keep_run(range(1, 200), obtained, maxima=[None] * 199)
    found = chosen(bench, "--run", run, "--max-false-alarms", "0.05")
    assert found["pixel_threshold"] is None
    assert why in found["no_pixel_threshold"]
    assert (
        f"no pixel threshold: {found['no_pixel_threshold']}"
        in bench("threshold", "--run", run, "--max-false-alarms", "0.05").stdout
    )
    shutil.rmtree("runs")
    assert chosen(bench, "--run", keep_run(range(1, 200)), "--max-false-alarms", "0.05")["no_pixel_threshold"] == ""


def test_fewer_scores_than_even_an_expectation_takes_are_told(refuse):
    line = refuse("threshold", "--run", keep_run(range(50), "left-out"), "--max-false-alarms", "0.01")
    assert "take 99 good images even as an expectation; here are 50 scores" in line
    assert "lets 1.96 % be expected: --max-false-alarms 0.0197" in line


def test_images_that_stopped_the_training_promise_nothing(bench):
    run = keep_run(range(100), config={"patience": 3})
    found = chosen(bench, "--run", run, "--max-false-alarms", "0.05")
    assert found["false_alarms"]["bound"] is None
    assert "training was stopped by these very images" in found["no_bound"]


def test_images_that_may_be_defective_promise_nothing(bench):
    run = keep_run(range(100))
    record = json.loads((run / "record.json").read_text())
    change_record(run, data=record["data"] | {"contamination": ["screw/test/bent/000.png"]})
    assert (
        "some of the training images are defective"
        in chosen(bench, "--run", run, "--max-false-alarms", "0.05")["no_bound"]
    )


def test_near_duplicates_count_once_and_those_of_learned_images_not_at_all(bench, refuse):
    run = keep_run(range(1, 61), groups=[*range(59), 58])
    found = chosen(bench, "--run", run, "--max-false-alarms", "0.05")
    assert (found["normal_images"], found["normal_scores"], found["threshold"]) == (60, 59, 60.0)
    assert (
        "of 60 normal images near-duplicates count once"
        in bench("threshold", "--run", run, "--max-false-alarms", "0.05").stdout
    )
    shutil.rmtree("runs")
    run = keep_run(range(1, 61), groups=[*range(59), -1])
    found = chosen(bench, "--run", run, "--max-false-alarms", "0.05")
    assert (found["normal_images"], found["nearly_learned"], found["threshold"]) == (59, 1, 59.0)
    told = bench("threshold", "--run", run, "--max-false-alarms", "0.05").stdout
    assert "1 held-out image did not count: the method learned from near-duplicates" in told
    shutil.rmtree("runs")
    run = keep_run(range(3), groups=[-1, -1, -2])
    assert "so none counts" in refuse("threshold", "--run", run, "--max-false-alarms", "0.5")


def test_other_test_images_change_no_threshold_and_no_bound(bench):
    """The canary: what is chosen depends on the normal scores alone."""
    run = keep_run(range(1, 101))
    before = chosen(bench, "--run", run, "--max-false-alarms", "0.05")
    (run / "predictions.csv").unlink()
    after = chosen(bench, "--run", run, "--max-false-alarms", "0.05")
    assert before.pop("test") is not None
    assert after.pop("test") is None
    assert before == after


def test_the_record_stays_as_it_is_and_the_same_wish_gives_the_same_file(bench):
    run = keep_run(range(1, 101))
    kept = {path.name: path.read_bytes() for path in run.iterdir()}
    assert bench("threshold", "--run", run, "--max-false-alarms", "0.05").status == 0
    first = (run / "threshold.json").read_bytes()
    assert bench("threshold", "--run", run, "--max-false-alarms", "0.05").status == 0
    assert (run / "threshold.json").read_bytes() == first
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name != "threshold.json"} == kept
    assert not list(run.glob("*.partial"))


def test_no_model_is_loaded_for_it(bench):
    run = keep_run(range(1, 101))
    words = ["threshold", "--run", str(run), "--max-false-alarms", "0.05"]
    code = f"import sys; from bench.cli.main import main; main({words}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False", done


WRONG = {
    "nothing is wished": ((), "say what is wished"),
    "one per cent as a number": (("--max-false-alarms", "1"), "--max-false-alarms 1 is no share between 0 and 1"),
    "none": (("--max-false-alarms", "0"), "no share between 0 and 1"),
    "no number": (("--max-false-alarms", "nan"), "no share between 0 and 1"),
    "a word": (("--max-false-alarms", "5%"), "'5%' is not a valid float"),
    "certainty": (("--max-false-alarms", "0.1", "--confidence", "1"), "--confidence 1 is no share"),
    "costs without photos": (("--cost-miss", "3"), "--cost-miss needs photos of bad parts: --from FOLDER"),
    "photos without costs": (("--from", "bad", "--cost-miss", "3"), "give both --cost-miss and --cost-alarm"),
    "both wishes": (("--from", "bad", "--max-false-alarms", "0.1"), "leave one of them out"),
    "a cost below 0": (("--from", "bad", "--cost-miss", "-3", "--cost-alarm", "1"), "--cost-miss -3 is no cost"),
    "a cost that is none": (("--from", "bad", "--cost-miss", "nan", "--cost-alarm", "1"), "nan is no cost"),
    "no cost at all": (("--from", "bad", "--cost-miss", "0", "--cost-alarm", "0"), "every threshold is as good"),
    "no such photos": (("--from", "bad", "--cost-miss", "3", "--cost-alarm", "1"), "no image and no folder at bad"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wish_that_is_none_is_refused_in_a_line(refuse, wrong):
    words, about = WRONG[wrong]
    assert about in refuse("threshold", "--run", keep_run(range(1, 101)), *words)


def damage(old: str, new: str):
    def change(run: Path) -> None:
        file = run / "normal_scores.csv"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


DAMAGED = {
    "there is none": (
        lambda run: (run / "normal_scores.csv").unlink(),
        "an earlier version made the run and kept no normal scores",
    ),
    "it is empty": (lambda run: (run / "normal_scores.csv").write_bytes(b""), "its columns are not"),
    "no text": (lambda run: (run / "normal_scores.csv").write_bytes(b"\xff\xfe\x00"), "is no file of normal scores"),
    "no rows": (lambda run: damage((run / "normal_scores.csv").read_text().partition("\n")[2], "")(run), "no score"),
    "text for a score": (damage(",5.0,", ",five,"), "line 6: could not convert"),
    "an infinite score": (damage(",5.0,", ",inf,"), "line 6: its score or the largest"),
    "an unknown origin": (damage("held-out", "guessed"), "line 2: 'guessed' is no way to obtain a score"),
    "two origins": (damage("held-out", "left-out"), "its scores are held-out and left-out"),
    "a field too few": (damage(",5.0,0.5", ",5.0"), "line 6: it has 5 fields, not 6"),
    "another score": (damage(",100.0,", ",101.0,"), "was changed: the threshold of record.json is not that of"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_scores_that_are_damaged_or_are_not_the_record_s_are_refused_by_their_file(refuse, kind):
    run = keep_run(range(1, 101))
    change, about = DAMAGED[kind]
    change(run)
    line = refuse("threshold", "--run", run, "--max-false-alarms", "0.05")
    assert about in line
    assert run.name in line


def test_a_run_that_has_not_finished_or_is_none_is_refused(refuse):
    run = keep_run(range(1, 101))
    change_record(run, status="failed", error="it broke")
    assert "is no finished run, it failed" in refuse("threshold", "--run", run, "--max-false-alarms", "0.05")
    assert "no record at" in refuse("threshold", "--run", "elsewhere", "--max-false-alarms", "0.05")


def test_a_classifier_has_no_threshold_to_choose(refuse):
    confusion = {"classes": ["good", "bent"], "counts": [[1, 0], [0, 1]]}
    record = make_record(track="supervised", fold=0, confusion=confusion)
    classes = record.data.model_copy(update={"classes": {"good": 1, "bent": 1}})
    run = write_record(Path("runs"), record.model_copy(update={"data": classes}))
    line = refuse("threshold", "--run", run, "--max-false-alarms", "0.05")
    assert "is a classifier's: the largest logit decides" in line
    assert "is a classifier's" in refuse("predict", "--run", run, "photos", "--threshold", "0.5")
