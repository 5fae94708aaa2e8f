"""`import bench`: the same runs as the command line's, from a class or an instance as well; images in, verdicts out."""

import json
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import bench as interface
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.models.accumulators import Pass, Sum
from bench.models.base import Detector, Prediction
from fake_data import weave

QUICK = {"model.weights": "none", "data.image_size": 64, "trainer.accelerator": "cpu"}


class MeanImage(Detector):
    """The distance from the mean training image."""

    def __init__(self, spec, *, power: float = 2.0):
        super().__init__(spec)
        self.power = power
        self.register_buffer("mean", torch.zeros(spec.channels, spec.size, spec.size))

    def passes(self):
        return [Pass("mean", {"total": Sum(*self.mean.shape)}, self.accumulate, self.finish)]

    def accumulate(self, state, image):
        state.total += image.sum(dim=0)

    def finish(self, state):
        self.mean.copy_(state.total / state.images)

    def forward(self, image):
        anomaly_map = (image - self.mean).abs().pow(self.power).sum(dim=1)
        return Prediction(anomaly_map.amax(dim=(1, 2)), anomaly_map)


@pytest.fixture
def here(data_root):
    return {**QUICK, "data.root": str(data_root)}


@pytest.fixture(scope="module")
def run(data_root, tmp_path_factory):
    """A finished run, for tests that only read it."""
    folder = tmp_path_factory.mktemp("interface")
    settings = {**QUICK, "data.root": str(data_root), "data.cache": str(folder / "cache")}
    return interface.fit("padim_mobilenetv2", "screw", settings=settings, runs=folder / "runs", wandb="disabled")


def test_import_bench_imports_nothing_heavy():
    code = "import sys, bench; dir(bench); print({'torch', 'lightning', 'pandas', 'yaml'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_every_public_name_is_there_with_a_docstring():
    for name in interface.__all__:
        assert getattr(interface, name).__doc__, name
    with pytest.raises(AttributeError, match="module 'bench' has no attribute 'fits'"):
        _ = interface.fits


def test_the_same_words_give_the_record_of_the_command_line(bench, here):
    run = interface.fit("padim_mobilenetv2", "screw", seed=1, settings=here, runs="mine")
    options = [word for name, value in here.items() for word in (f"--{name}", value)]
    outcome = bench("fit", "--model", "padim_mobilenetv2", "--category", "screw", "--seed", 1, *options, "--json")
    record = json.loads(outcome.stdout)
    same = run.record.model_dump(by_alias=True, mode="json")
    for differing in ("cost", "started"):
        del record[differing], same[differing]
    assert record == same


def test_a_finished_run_is_found_again_and_shows_itself(here):
    run = interface.fit("padim_mobilenetv2", "screw", settings=here)
    again = interface.fit("padim_mobilenetv2", "screw", settings=here)
    assert (run.is_new, again.is_new, again.metrics == run.metrics) == (True, False, True)
    assert repr(run).startswith("Run(padim_mobilenetv2 on screw, seed 0: finished, image AUROC ")
    page = run._repr_html_()
    assert "<td>image AUROC</td>" in page
    assert page.count("<img") == 2


def test_predictions_are_a_row_for_each_test_image(run):
    frame = run.predictions
    assert list(frame.columns) == ["path", "sha256", "defect_type", "is_defect", "score"]
    assert frame.path.str.startswith("screw/test/").all()
    assert set(frame.defect_type[~frame.is_defect]) == {"good"}


@pytest.mark.parametrize("given", [MeanImage, MeanImage(interface.DataSpec(32, 3, 1), power=1.0)], ids=type)
def test_a_class_or_an_instance_of_ones_own_is_fitted_loaded_and_scores(given, data_root):
    settings = {"data.root": str(data_root), "data.image_size": 32}
    run = interface.fit(given, "screw", settings=settings)
    assert run.record.model == "MeanImage"
    assert run.record.config["model"]["power"] == (2.0 if isinstance(given, type) else 1.0)
    loaded = interface.load(run.folder, model=MeanImage)
    image = weave(32, "a")
    assert loaded.score(image).score == run.score(image).score


def test_a_run_of_ones_own_class_is_not_loaded_without_it(data_root):
    run = interface.fit(MeanImage, "screw", settings={"data.root": str(data_root), "data.image_size": 32})
    with pytest.raises(interface.UsageError, match="code of one's own runs only where"):
        interface.load(run.folder).score(weave(32, "a"))


def test_a_reader_of_data_is_a_class_or_an_instance(data_root, here):
    reader = MVTecAD("screw", 3, "model", root=str(data_root), image_size=64)
    run = interface.fit("padim_mobilenetv2", data=reader, settings={"model.weights": "none"})
    assert (run.record.seed, run.record.category, run.record.config["data"]["image_size"]) == (3, "screw", 64)
    of_class = interface.fit("padim_mobilenetv2", "screw", data=MVTecAD, seed=3, settings=here)
    assert of_class.metrics == run.metrics


def test_a_file_an_image_and_an_array_of_it_have_the_same_score(run, data_root):
    file = sorted((data_root / "screw/test").rglob("*.png"))[0]
    image = Image.open(file)
    scored = run.score([file, image, np.asarray(image), str(file)])
    assert len({round(each.score, 4) for each in scored}) == 1
    assert [each.image for each in scored] == [str(file), "image 1", "image 2", str(file)]
    own = run.predictions.set_index("path").score[f"screw/{file.relative_to(data_root / 'screw').as_posix()}"]
    assert scored[0].score == pytest.approx(own, rel=1e-5)
    assert all(each.map.shape == image.size[::-1] and each.map.dtype == np.float32 for each in scored)
    assert {each.verdict for each in scored} <= {"good", "anomalous"}
    assert scored[0].verdict == ("anomalous" if scored[0].score > scored[0].threshold else "good")


def test_one_image_gives_one_result_and_a_folder_in_a_list_all_its_images(run, data_root):
    assert run.score(weave(50, "a")).image == "image 0"
    folder = data_root / "screw/test"
    assert len(run.score([folder])) == len(run.predictions)
    with pytest.raises(interface.UsageError, match="is a folder, not an image; give it in a list"):
        run.score(folder)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((8, 8)), r"an array \(8, 8\) of float64 is no image"),
        (np.zeros((3, 8, 8), np.uint8), r"an array \(3, 8, 8\) of uint8 is no image"),
        (np.zeros((0, 8), np.uint8), r"an array \(0, 8\) of uint8 is no image"),
        (np.zeros((8, 8, 4), np.uint8), "image 0 has transparent pixels"),
        (3, "a int is no image"),
        ("nothing.png", "no image and no folder at nothing.png"),
    ],
)
def test_what_is_no_image_is_one_line(run, image, words):
    with pytest.raises(interface.UsageError, match=words):
        run.score(image)


def test_a_classifier_gives_a_class_and_its_probability(here):
    settings = {"data.root": here["data.root"], "data.image_size": 32, "model.weights": "none", "data.folds": 2}
    run = interface.fit("resnet18", "screw", settings=settings | {"trainer.max_epochs": 1})
    scored = run.score(weave(32, "a"))
    assert scored.verdict in run.record.data.classes
    assert scored.threshold is None
    assert 0 < scored.probability <= 1
    assert "logit good" in run.predictions.columns


@pytest.mark.parametrize(
    ("model", "words"),
    [("padim_mobilenetv9", "did you mean"), (3, "a int is no model; give a name, the path of a YAML file, or a class")],
)
def test_a_mistake_is_a_usage_error_in_one_line(here, model, words):
    with pytest.raises(interface.UsageError, match=words):
        interface.fit(model, "screw", settings=here)


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(interface.UsageError, match="no record at"):
        interface.load(tmp_path)


def test_settings_may_be_as_short_as_on_the_command_line(data_root, here):
    short = {"weights": "none", "image-size": 64, "device": "cpu", "data.root": str(data_root)}
    run = interface.fit("padim_mobilenetv2", "screw", settings=short)
    assert run.record.fingerprint == interface.fit("padim_mobilenetv2", "screw", settings=here).record.fingerprint
    with pytest.raises(interface.UsageError, match="padim_mobilenetv2 does not train: leave out --lr"):
        interface.fit("padim_mobilenetv2", "screw", settings=short | {"lr": 0.1})


def test_the_class_of_a_dataset_is_that_dataset_and_a_method_s_class_is_repeated_by_a_call(data_root):
    run = interface.fit(
        MeanImage, "screw", data=MVTecAD, seed=2, settings={"data.root": str(data_root), "image_size": 32}
    )
    assert run.record.dataset == "mvtec_ad"
    call = run.record.command
    assert call.startswith(f"bench.fit({MeanImage.__module__}.MeanImage, 'screw', data='mvtec_ad', seed=2, settings={{")
    names = {"bench": interface, MeanImage.__module__.partition(".")[0]: ModuleType("x")}
    scope = eval(call.replace(f"{MeanImage.__module__}.MeanImage", "MeanImage"), {**names, "MeanImage": MeanImage})
    assert scope.record.fingerprint == run.record.fingerprint


def test_a_folder_of_an_instance_may_be_a_path(data_root):
    reader = MVTecAD("screw", 0, "model", root=data_root, image_size=64)
    run = interface.fit("padim_mobilenetv2", data=reader, settings={"model.weights": "none"})
    assert run.record.config["data"]["root"] == str(data_root)


def test_a_value_that_no_setting_has_and_a_wrong_argument_are_named(here):
    with pytest.raises(interface.UsageError, match="a ndarray is no value of a setting"):
        interface.fit("padim_mobilenetv2", "screw", settings=here | {"data.image_size": np.zeros(3)})
    with pytest.raises(TypeError, match="unexpected keyword argument 'epochs'"):
        interface.fit("padim_mobilenetv2", "screw", epochs=5)


def test_images_that_a_run_of_several_folds_learned_from_are_scored_with_a_warning(here, data_root):
    settings = {"data.root": here["data.root"], "data.image_size": 32, "model.weights": "none", "data.folds": 2}
    run = interface.fit("resnet18", "screw", settings=settings | {"trainer.max_epochs": 1})
    with pytest.warns(UserWarning, match="1 of these are images that the run learned from") as told:
        run.score(sorted((data_root / "screw/test/good").iterdir())[0])
    assert told[0].filename == __file__


def test_an_image_of_sixteen_bit_colours_is_refused_as_its_file_is(run, tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "deep.png"), np.full((16, 16, 3), 40000, np.uint16))
    with Image.open(tmp_path / "deep.png") as image, pytest.raises(interface.UsageError, match="colours of 16 bits"):
        run.score(image)


def test_a_turned_photo_in_memory_has_the_score_of_its_file(run, tmp_path):
    photo = Image.fromarray(weave(64, "a")[:, :40])
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        in_memory, of_file = run.score([image, tmp_path / "turned.png"])
    assert in_memory.score == pytest.approx(of_file.score, rel=1e-5)
    assert in_memory.map.shape == of_file.map.shape == (40, 64)
