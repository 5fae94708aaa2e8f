"""`bench verify`: maps in any form that people have, claims, the record, and what cannot be verified."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data.datasets.elpv import Elpv
from bench.records.record import Record
from fake_data import write_category, write_elpv
from maps_of_others import Test, make_maps, write_tiffs

PIXELS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "aupro_0.30", "aupro_0.05")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """The folder of the category `bottle`."""
    write_category(tmp_path / "parts", "bottle", side=24, good=4, defects={"blob": 3, "scratch": 3})
    return tmp_path / "parts"


@pytest.fixture
def test(parts: Path) -> Test:
    """Maps of its test images, half of their size."""

    def make(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        small = mask[::2, ::2]
        return rng.gamma(2, 1, small.shape) + 2 * small

    return make_maps(parts, "bottle", make)


@pytest.fixture
def verify(bench: Any, parts: Path) -> Callable[..., dict[str, Any]]:
    """Verify maps, and read what is printed as JSON."""

    def run(*arguments: object) -> dict[str, Any]:
        done = bench("verify", *arguments, *of(parts), "--json")
        assert done.status == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def of(parts: Path) -> tuple[object, ...]:
    return ("--category", "bottle", "--data", "folder", "--data.root", parts)


def test_maps_of_a_finished_run_give_the_figures_of_its_record(bench: Any, quick: tuple[str, ...], data_root: Path):
    assert bench("fit", *quick, "--protocol", "full").status == 0
    folder = next(Path("runs").rglob("record.json")).parent
    assert bench("predict", "--run", folder, data_root / "screw/test", "--maps").status == 0
    own = Record.read(folder)
    options = ("--scores", "predictions/predictions.csv", "--threshold", repr(own.metrics["threshold"]))
    done = bench("verify", "predictions", "--category", "screw", "--data.root", data_root, *options, "--json")
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    of_validation = {"seg_f1", "seg_threshold"}  # of maps of normal images, which nobody else has
    assert found["metrics"] == {name: value for name, value in own.metrics.items() if name not in of_validation}
    assert found["metrics_by_defect"] == own.metrics_by_defect
    assert found["intervals"] == {name: list(each) for name, each in own.intervals.items() if each}


def test_maps_may_be_tiff_or_npy_or_an_archive_of_one_array_an_image_or_of_one_for_all(test: Test, verify: Any):
    tiff = verify(write_tiffs(test, Path("tiff")), "--name", "tiff")
    for name, values in zip(test.names, test.maps, strict=True):
        path = Path("npy", f"{name}.npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
    np.savez("each.npz", **dict(zip(test.names, test.maps, strict=True)))
    backwards = [f"{name}.png" for name in test.names[::-1]]
    np.savez("all.npz", maps=np.stack(test.maps[::-1]), paths=np.array(backwards))
    for form in ("npy", "each.npz", "all.npz"):
        assert verify(form, "--name", Path(form).stem)["metrics"] == tiff["metrics"], form


@pytest.mark.parametrize("below", ["anomaly_images", "anomaly_images/bottle", "anomaly_images/bottle/test"])
def test_the_folder_may_be_named_at_any_level(below: str, test: Test, verify: Any):
    write_tiffs(test, Path("maps/anomaly_images"))
    assert verify(Path("maps") / below, "--name", "part")["metrics"] == verify("maps", "--name", "whole")["metrics"]


def test_half_precision_is_read_as_it_is(test: Test, verify: Any):
    rounded = test.changed(lambda values: values.astype(np.float16).astype(np.float32))
    np.savez("half.npz", **{n: v.astype(np.float16) for n, v in zip(rounded.names, rounded.maps, strict=True)})
    assert verify("half.npz")["metrics"] == verify(write_tiffs(rounded, Path("whole")), "--name", "whole")["metrics"]


def test_maps_of_other_categories_and_other_files_are_left_out_aloud(test: Test, parts: Path, bench: Any):
    maps = write_tiffs(test, Path("maps"))
    other = maps / "cable/test/good/000.tiff"
    other.parent.mkdir(parents=True)
    other.write_bytes((maps / f"{test.names[0]}.tiff").read_bytes())
    (maps / "notes.txt").write_text("mine", encoding="utf-8")
    done = bench("verify", maps, *of(parts))
    assert done.status == 0
    assert "1 map of other categories in maps left out" in done.stderr
    assert "1 file below maps left out, such as maps/notes.txt" in done.stderr


def test_a_claim_is_met_to_half_a_thousandth_or_to_its_own_digits_the_exact_figure_first(test: Test, verify: Any):
    maps = write_tiffs(test, Path("maps"))
    exact = verify(maps)["metrics"]["pixel_auroc"]
    words = (f"{exact + 0.0004:.5f}", f"{exact + 0.0006:.5f}", f"{100 * (exact + 0.0004):.3f}%", f"{exact:.1f}")
    claims = verify(maps, *[word for each in words for word in ("--claimed", f"pixel_auroc={each}")])["claims"]
    met = [[each["protocol"] for each in claim["reproduced_by"]] for claim in claims]
    assert [protocols[:1] == ["exact"] for protocols in met] == [True, False, True, True]
    assert [round(claim["tolerance"], 7) for claim in claims] == [0.0005, 0.0005, 0.0005, 0.05]
    assert claims[2]["claimed"] == pytest.approx(exact + 0.0004, abs=1e-5)


def test_protocols_that_reproduce_all_claims_at_once_are_named(test: Test, parts: Path, bench: Any):
    maps = write_tiffs(test, Path("maps"))
    found = json.loads(bench("verify", maps, *of(parts), "--json").stdout)
    own = next(each for each in found["protocols"] if each["name"] == "aupro_not_cut")["metrics"]
    claims = [f"aupro_0.30={own['aupro_0.30']:.5f}", f"image_auroc={found['metrics']['image_auroc']:.5f}"]
    options = [word for claim in claims for word in ("--claimed", claim)]
    done = bench("verify", maps, *of(parts), *options)
    line = next(line for line in done.stdout.splitlines() if line.startswith("all 2 claims at once: "))
    assert "aupro_not_cut" in line.partition(": ")[2].split(", ")
    assert "exact" not in line
    none = bench("verify", maps, *of(parts), *options, "--claimed", "pixel_auroc=.0123")
    assert "all 3 claims at once: no protocol" in none.stdout


def test_a_claim_that_nothing_reproduces_is_said_so(test: Test, parts: Path, bench: Any):
    maps = write_tiffs(test, Path("maps"))
    done = bench("verify", maps, *of(parts), "--claimed", "aupro_0.30=.0123", "--claimed", "aupro_0.30=1.21")
    assert done.status == 0
    assert "AUPRO@0.30 0.0123 claimed: no protocol reproduces it to 0.0005; the exact figure is" in done.stdout
    assert "AUPRO@0.30 1.21 claimed: no protocol" in done.stdout


def test_each_protocol_that_meets_a_claim_says_how_far_it_is_from_the_exact_figure(test: Test, parts: Path, bench: Any):
    maps = write_tiffs(test, Path("maps"))
    report = bench("verify", maps, *of(parts), "--json").stdout
    own = next(each for each in json.loads(report)["protocols"] if each["name"] == "aupro_not_cut")
    done = bench("verify", maps, *of(parts), "--claimed", f"aupro_0.30={own['metrics']['aupro_0.30']:.5f}")
    line = next(line for line in done.stdout.splitlines() if line.startswith("  aupro_not_cut "))
    assert f"({own['differences']['aupro_0.30']:+.4f})" in line
    assert "The whole area" in line


def test_the_record_lies_among_those_of_runs_and_holds_the_digests_of_the_maps(test: Test, verify: Any):
    found = verify(write_tiffs(test, Path("maps")), "--name", "simplenet", "--seed", "3")
    folder = Path(found["record"])
    record = Record.read(folder)
    assert (record.model, record.track, record.seed, record.category) == ("simplenet", "verified", 3, "bottle")
    assert folder == Path("runs/simplenet/bottle", record.fingerprint)
    assert record.config["maps"]["sha256"] == found["maps"]["sha256"]
    assert len(found["maps"]["files"]) == len(test.names)
    kept = json.loads((folder / "verification.json").read_text(encoding="utf-8"))
    assert kept["protocols"] == found["protocols"]
    assert str(found["record"]) in record.command or "--name simplenet --seed 3" in record.command


def test_other_maps_give_another_record_and_one_name_and_seed_holds_one(
    test: Test, parts: Path, verify: Any, bench: Any
):
    first = verify(write_tiffs(test, Path("maps")))
    assert verify("maps")["record"] == first["record"]
    write_tiffs(test.changed(np.sqrt), Path("roots"))
    done = bench("verify", "roots", *of(parts))
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert "holds other maps of maps on bottle, seed 0; give these another --name or --seed" in done.stderr
    assert verify("roots", "--seed", "1")["record"] != first["record"]


def test_a_leaderboard_keeps_verified_maps_in_a_table_of_their_own(
    test: Test, verify: Any, quick: tuple[str, ...], parts: Path, bench: Any
):
    where = ("--category", "bottle", "--data", "folder", "--data.root", parts)
    assert bench("fit", *quick, *where).status == 0
    for seed in (0, 1):
        changed = test.changed(lambda values, seed=seed: values + seed * values**2)
        verify(write_tiffs(changed, Path(f"maps{seed}")), "--name", "simplenet", "--seed", seed)
    done = bench("leaderboard", "runs")
    assert done.status == 0, done.stderr
    fitted, verified = (Path(f"leaderboards/parts-{track}.md").read_text() for track in ("one-class", "verified"))
    assert "simplenet" not in fitted
    assert "autoencoder" not in verified
    assert verified.count("| simplenet |") >= 1
    assert "No figure here compares with one of a fitted method" in verified
    assert bench("leaderboard", "runs", "--check").status == 0
    assert bench("leaderboard", "runs", "--publish").status == 0


@pytest.mark.parametrize("command", ["test", "predict", "report", "threshold", "export", "stress"])
def test_commands_that_need_a_model_say_that_maps_have_none(
    command: str, test: Test, verify: Any, refuse: Any, parts: Path
):
    folder = verify(write_tiffs(test, Path("maps")))["record"]
    arguments = {
        "predict": ("--run", folder, parts / "bottle/test"),
        "threshold": ("--run", folder, "--max-false-alarms", "0.1"),
        "report": (folder,),
        "stress": (folder,),
        "export": ("--run", folder, "--out", "out"),
    }
    line = refuse(command, *arguments.get(command, ("--run", folder)))
    assert f"{folder} holds figures of maps that others made, and no model; name a run of bench fit" in line


BROKEN: dict[str, tuple[Callable[[Path, Test], Any], str]] = {
    "one is missing": (
        lambda maps, test: (maps / f"{test.names[4]}.tiff").unlink(),
        "no map of 1 of 10 test images in maps, such as bottle/test/",
    ),
    "one is superfluous": (
        lambda maps, test: Image.fromarray(test.maps[0]).save(maps / "bottle/test/good/999.tiff"),
        "1 map in maps of no test image, such as bottle/test/good/999",
    ),
    "one is there twice": (
        lambda maps, test: np.save(maps / f"{test.names[0]}.npy", test.maps[0]),
        "are two maps of bottle/test/",
    ),
    "one holds NaN": (
        lambda maps, test: Image.fromarray(test.maps[0] * np.nan).save(maps / f"{test.names[0]}.tiff"),
        "is not finite in 144 pixels",
    ),
    "one holds infinity": (
        lambda maps, test: Image.fromarray(np.where(np.eye(12) > 0, np.inf, 0).astype(np.float32)).save(
            maps / f"{test.names[0]}.tiff"
        ),
        "is not finite in 12 pixels",
    ),
    "one is coloured": (
        lambda maps, test: Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(maps / f"{test.names[0]}.tiff"),
        "is 12 x 12 x 3; expected a map of height x width",
    ),
    "one is damaged": (
        lambda maps, test: (maps / f"{test.names[0]}.tiff").write_bytes(b"II*\0 nothing"),
        "000.tiff is no readable map (",
    ),
    "there is none": (
        lambda maps, test: [path.unlink() for path in maps.rglob("*.tiff")],
        "no maps below maps; known are .tif, .tiff, .npy, or one .npz",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_maps_that_do_not_fit_end_in_one_line(what: str, test: Test, parts: Path, refuse: Any):
    damage, said = BROKEN[what]
    damage(write_tiffs(test, Path("maps")), test)
    assert said in refuse("verify", "maps", *of(parts))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--claimed", "pixel_aurok=.9"), "unknown metric 'pixel_aurok'; did you mean 'pixel_auroc'?"),
        (("--claimed", "pixel_auroc"), "names no figure; write it as --claimed pixel_auroc=.981"),
        (("--claimed", "pixel_auroc=98.1"), "98.1 is above 1; if it is a percentage, write pixel_auroc=98.1%"),
        (("--claimed", "pixel_auroc=-.5"), "'-.5' is no figure"),
        (("--claimed", "pixel_auroc=nan"), "'nan' is no figure"),
        (("--claimed", "pixel_auroc=981%"), "981% is more than any implementation gives"),
        (("--threshold", "nan"), "--threshold nan is no finite number"),
        (("--scores", "none.csv"), "--scores: there is no none.csv"),
        (("--name", "a/b"), "the method's name 'a/b' cannot name a folder: it holds a slash"),
        (("--seed", "-1"), "--seed"),
        (("--category", "cap"), "unknown category 'cap'"),
        (("--category", "all"), "maps are verified one category at a time"),
    ],
)
def test_what_cannot_be_meant_ends_in_one_line(words: Any, said: str, test: Test, parts: Path, refuse: Any):
    write_tiffs(test, Path("maps"))
    assert said in refuse("verify", "maps", *of(parts), *words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,score\n", "has no column path"),
        ("path,score\nbottle/test/good/000.png,high\n", "line 2: its score 'high' is no number"),
        ("path,score\nbottle/test/good/000.png,inf\n", "line 2: its score 'inf' is no finite number"),
        ("path,score\nbottle/test/good/000.png\n", "line 2: it has 1 field"),
        ("path,score\nbottle/test/good/000.png,1\n", "no score of 9 of 10 test images in scores.csv"),
        ("path,score\nbottle/test/good/000.png,1\ngood/000.png,2\n", "are two scores of bottle/test/good/000.png"),
        ('path,score\n"open,1\n', "is no CSV"),
    ],
)
def test_scores_that_do_not_fit_end_in_one_line(text: str, said: str, test: Test, parts: Path, refuse: Any):
    Path("scores.csv").write_text(text, encoding="utf-8")
    assert said in refuse("verify", write_tiffs(test, Path("maps")), *of(parts), "--scores", "scores.csv")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("broken.npz", b"nothing", "broken.npz is no .npz of named arrays"),
        ("maps.tiff", b"nothing", "maps.tiff is no folder and no .npz"),
    ],
)
def test_a_file_that_holds_no_maps_ends_in_one_line(name: str, content: bytes, said: str, parts: Path, refuse: Any):
    Path(name).write_bytes(content)
    assert said in refuse("verify", name, *of(parts))


def test_an_archive_whose_maps_and_paths_differ_in_number_ends_in_one_line(test: Test, parts: Path, refuse: Any):
    np.savez("all.npz", maps=np.stack(test.maps), paths=np.array(test.names[1:]))
    assert "holds maps of 10 x 12 x 12 for 9 paths" in refuse("verify", "all.npz", *of(parts))


def test_scores_are_found_by_paths_in_full_or_in_part(test: Test, parts: Path, verify: Any):
    maps = write_tiffs(test, Path("maps"))
    scores = [float(values.mean()) for values in test.maps]
    found = []
    for number, start in enumerate((f"{parts}/", "./", "")):
        with Path("scores.csv").open("w", encoding="utf-8", newline="") as file:
            rows = zip(test.names, scores, strict=True)
            csv.writer(file).writerows([("score", "path"), *((score, f"{start}{name}.png") for name, score in rows)])
        found.append(verify(maps, "--scores", "scores.csv", "--name", f"by{number}")["metrics"]["image_auroc"])
    assert found[0] == found[1] == found[2]
    assert found[0] == verify(maps, "--name", "no")["protocols"][0]["metrics"]["image_auroc"]


def test_without_masks_there_are_figures_of_images_alone(test: Test, parts: Path, bench: Any, refuse: Any):
    maps = write_tiffs(test, Path("maps"))
    for path in (parts / "bottle/ground_truth").rglob("*.png"):
        path.unlink()
    assert "no masks of bottle, so no pixel can be judged" in refuse(
        "verify", maps, *of(parts), "--claimed", "pixel_auroc=.9"
    )
    found = json.loads(bench("verify", maps, *of(parts), "--json").stdout)
    assert "image_auroc" in found["metrics"]
    assert not set(PIXELS) & found["metrics"].keys()


def test_defect_images_without_a_mask_are_judged_as_images_alone(test: Test, parts: Path, bench: Any):
    maps = write_tiffs(test, Path("maps"))
    (parts / "bottle/ground_truth/blob/000_mask.png").unlink()
    done = bench("verify", maps, *of(parts), "--data.masks", "optional", "--json")
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["pixel_auroc"] is not None


def test_images_of_a_dataset_without_masks_and_split_are_those_of_the_seed(bench: Any):
    write_elpv(Path("elpv"), {"mono": {"0.0": 10, "1.0": 5}})
    options = ("--category", "mono", "--data", "elpv", "--data.root", "elpv")
    data = Elpv("mono", 1, "full", root="elpv")
    for sample in data.full_category.test:
        path = Path("maps", sample.relative).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((3, 3), 1.0 + sample.is_defect))
    done = bench("verify", "maps", *options, "--seed", 1, "--json")
    assert json.loads(done.stdout)["metrics"]["image_auroc"] == 1
    assert bench("verify", "maps", *options, "--seed", 2).status == 2


def test_a_mistake_is_told_before_torch_is_imported_and_so_is_help(own_folder: Path):
    import subprocess
    import sys

    code = "import sys; from bench.cli.main import main; main({!r}); sys.exit('torch' in sys.modules)"
    for words in (["verify", "--help"], ["verify", ".", "--category", "bottle", "--claimed", "nothing=1"]):
        assert subprocess.run([sys.executable, "-c", code.format(words)], capture_output=True).returncode == 0
