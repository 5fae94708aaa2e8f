"""EfficientAD: its networks, losses and normalisations against small independent computations; whole runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import conv2d, interpolate
from torchvision.transforms import functional as reference_colours

import bench as bench_package
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.evaluation.passes import Machine, learn_statistics
from bench.models.efficient_ad import EfficientAD
from bench.models.parts.efficient_ad_loss import hardest, jitter
from bench.models.parts.efficient_ad_network import Autoencoder, PatchDescription, load_teacher, positions_per_side
from bench.models.parts.image_folder import ImageFolder, identify_images
from stopped_runs import checkpoint, expect_the_same_bits_after_a_stop

SPEC = DataSpec(64, 3, 12)
CPU = Machine(torch.device("cpu"))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(**settings) -> EfficientAD:
    return EfficientAD(SPEC, **{"weights": "none", "penalty": "none"} | settings)


def images(count: int = 3, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def loaded(count: int = 6) -> list[Batch]:
    pixels = (255 * images(count)).to(torch.uint8)
    return [Batch(part, torch.arange(len(part))) for part in torch.split(pixels, 2)]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Natural images: two in the folder, one below it, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name in ("a.png", "b.png", "more/c.png"):
        Image.fromarray(draw.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(folder / name)
    (folder / "read.me").write_text("no image")
    return folder


# Networks


@pytest.mark.parametrize(("size", "outputs", "millions"), [("small", 384, 2.69), ("medium", 384, 8.03)])
def test_the_teachers_have_as_many_parameters_as_the_card_says(size, outputs, millions):
    with torch.device("meta"):
        network = PatchDescription(size, outputs)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("side", [64, 96, 128, 160, 256, 320])
def test_teacher_student_and_autoencoder_describe_the_same_positions(side):
    with torch.no_grad(), torch.device("meta"):
        image = torch.empty(1, 3, side, side)
        found = {PatchDescription(size, 5)(image).shape[2:] for size in ("small", "medium")}
        found.add(Autoencoder(side, 5, 0.2)(image).shape[2:])
        padded = PatchDescription("small", 5, padding=True)(image).shape[2:]
    assert found == {(positions_per_side(side),) * 2}
    assert padded == (side // 4, side // 4), "as large networks' features of stride 8 have it at twice the side"


@torch.no_grad()
def test_a_position_is_described_by_33_pixels_around_it_and_by_no_other():
    teacher = PatchDescription("small", 3)
    image = images(1, 96).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(teacher(image)[0, 0, 4, 6], image)
    seen = gradient[0].abs().sum(dim=0) > 0
    rows, columns = seen.any(dim=1).nonzero(), seen.any(dim=0).nonzero()
    assert (int(rows.min()), int(rows.max())) == (16, 48)
    assert (int(columns.min()), int(columns.max())) == (24, 56)


def test_files_of_the_unofficial_reference_and_of_anomalib_fit_the_teacher(tmp_path):
    theirs, ours = PatchDescription("small", 384, padding=True), PatchDescription("small", 384)
    state = theirs.state_dict()
    torch.save(state, tmp_path / "teacher_small.pth")
    names = [f"conv{number}.{part}" for number in (1, 2, 3, 4) for part in ("weight", "bias")]
    save_file(dict(zip(names, state.values(), strict=True)), tmp_path / "anomalib.safetensors")
    for file in ("teacher_small.pth", "anomalib.safetensors"):
        fresh = PatchDescription("small", 384)
        load_teacher(fresh, str(tmp_path / file))
        assert all(torch.equal(value, state[name]) for name, value in fresh.state_dict().items()), file
    with pytest.raises(UsageError, match="does not fit the teacher"):
        load_teacher(PatchDescription("medium", 384), str(tmp_path / "teacher_small.pth"))
    with pytest.raises(UsageError, match="'bench teacher' writes"):
        load_teacher(ours, "tv_in1k")


# Losses


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 0.999])
def test_the_hard_loss_is_the_mean_of_what_is_at_least_the_quantile(quantile):
    differences = torch.rand(2, 5, 7, 11)
    least = np.quantile(differences.numpy(), quantile)
    expected = np.mean([value for value in differences.flatten().tolist() if value >= least])
    assert hardest(differences, quantile).item() == pytest.approx(expected, rel=1e-6)


def test_equal_differences_are_all_hard():
    assert hardest(torch.tensor([1.0, 2.0, 2.0, 2.0]), 0.5).item() == 2
    assert hardest(torch.tensor([3.0]), 0.999).item() == 3


def test_one_of_three_colours_changes_by_up_to_a_fifth_as_in_torchvision():
    image, kinds = images(1), set()
    changes = {
        "brightness": reference_colours.adjust_brightness,
        "contrast": reference_colours.adjust_contrast,
        "saturation": reference_colours.adjust_saturation,
    }
    for draw in range(12):
        torch.manual_seed(draw)
        kind, factor = int(torch.randint(3, (1, 1, 1, 1))), 1 + 0.2 * (2 * torch.rand(1, 1, 1, 1).item() - 1)
        assert 0.8 <= factor <= 1.2
        name = list(changes)[kind]
        torch.manual_seed(draw)
        torch.testing.assert_close(jitter(image), changes[name](image, factor), rtol=0, atol=2e-4, msg=name)
        kinds.add(name)
    assert kinds == set(changes)


def test_the_terms_are_those_of_the_paper():
    model = make(dropout=0.0)
    model.channel_mean.copy_(torch.rand(384, 1, 1))
    model.channel_deviation.copy_(torch.rand(384, 1, 1) + 0.5)
    image, changed, natural = images(2), images(2).flip(2), images(2).flip(3)
    mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        found = model.terms(image, changed, natural)
        teach = [(model.teacher((x - mean) / deviation) - model.channel_mean) / model.channel_deviation
                 for x in (image, changed)]  # fmt: skip
        student = [model.student((x - mean) / deviation) for x in (image, changed, natural)]
        whole = model.autoencoder((changed - mean) / deviation)
    distance = ((teach[0] - student[0][:, :384]) ** 2).numpy()
    expected = {
        "hard": distance[distance >= np.quantile(distance, 0.999)].mean(),
        "penalty": (student[2][:, :384] ** 2).mean().item(),
        "autoencoder": ((teach[1] - whole) ** 2).mean().item(),
        "agreement": ((whole - student[1][:, 384:]) ** 2).mean().item(),
    }
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-4), name
    assert found["loss"].item() == pytest.approx(sum(expected.values()), rel=1e-4)


def test_without_the_penalty_its_term_is_not_there_and_each_learned_number_gets_a_gradient():
    model = make().train()
    found = model.loss(Batch(images(2), torch.arange(2)))
    assert found.keys() == {"loss", "hard", "autoencoder", "agreement"}
    found["loss"].backward()
    untaught = {name.split(".")[0] for name, each in model.named_parameters() if each.grad is None}
    assert untaught == {"teacher"}
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())


def test_the_penalty_is_of_images_of_the_folder_drawn_by_the_seed(photos):
    model, batch = make(penalty="natural", image_folder=str(photos)).eval(), Batch(images(2), torch.arange(2))
    found = []
    for draw in (0, 0, 1):
        torch.manual_seed(draw)
        found.append(model.loss(batch)["penalty"].item())
    assert found[0] == found[1] != found[2]


# Statistics


def test_each_channel_of_the_teacher_has_mean_0_and_deviation_1_over_the_training_images():
    model = make().eval()
    channels = model.passes()[0]
    assert channels.epoch == 0
    assert not channels.held_out
    learn_statistics(model, [channels], lambda: loaded(), 6, CPU)
    described = torch.cat([model.taught(batch.image.float() / 255) for batch in loaded()])
    torch.testing.assert_close(described.mean(dim=(0, 2, 3)), torch.zeros(384), rtol=0, atol=1e-4)
    torch.testing.assert_close(described.var(dim=(0, 2, 3), correction=0), torch.ones(384), rtol=1e-3, atol=0)


def test_the_quantiles_of_normal_maps_become_0_and_a_tenth():
    model = make().eval()
    before = torch.cat([model.maps_of(batch.image.float() / 255) for batch in loaded()]).detach()
    quantiles = model.passes()[1]
    assert quantiles.held_out
    learn_statistics(model, [quantiles], lambda: loaded(), 6, CPU)
    for each in range(2):
        values = before[:, each].double().numpy()
        normalised = 0.1 * (values - model.low[each].item()) / (model.high[each].item() - model.low[each].item())
        assert np.quantile(normalised, 0.9) == pytest.approx(0, abs=1e-6)
        assert np.quantile(normalised, 0.995) == pytest.approx(0.1, abs=1e-6)


@torch.no_grad()
def test_the_map_is_the_mean_of_both_normalised_maps_with_0_around_and_the_score_its_maximum():
    model = make().eval()
    model.low.copy_(torch.tensor([0.01, 0.02]))
    model.high.copy_(torch.tensor([0.05, 0.03]))
    local, whole = model.maps_of(images()).unbind(dim=1)
    combined = 0.5 * 0.1 * (local - 0.01) / 0.04 + 0.5 * 0.1 * (whole - 0.02) / 0.01
    padded = torch.zeros(3, 16, 16)
    padded[:, 4:12, 4:12] = combined
    expected = interpolate(padded[:, None], size=64, mode="bilinear", align_corners=False)[:, 0]
    score, anomaly_map, _ = model(images())
    torch.testing.assert_close(anomaly_map, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(score, anomaly_map.amax(dim=(1, 2)))


@torch.no_grad()
def test_grey_images_are_described_as_colour_ones_that_are_grey():
    grey = images()[:, :1]
    one = EfficientAD(SPEC._replace(channels=1), weights="none", penalty="none").eval()
    torch.testing.assert_close(one.maps_of(grey), one.maps_of(grey.expand(-1, 3, -1, -1)))


@torch.no_grad()
def test_an_image_is_scored_alike_alone_and_in_a_batch():
    model = make().eval()
    together = model(images()).score
    alone = torch.cat([model(each[None]).score for each in images()])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-6)


# The folder of images


def test_images_are_resized_antialiased_and_their_middle_is_cropped(photos):
    whole, middle = ImageFolder(str(photos), 16), ImageFolder(str(photos), 16, crop=2)
    image = Image.open(photos / "a.png")
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    cropped = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))[8:24, 8:24]
    for found, reference in ((whole, expected), (middle, cropped)):
        torch.testing.assert_close(found.read([0])[0].permute(1, 2, 0) * 255, torch.tensor(reference).float())


def test_images_below_the_folder_are_drawn_too_and_files_of_other_kinds_are_not(photos):
    folder = ImageFolder(str(photos), 8)
    assert folder.draw(50).unique(dim=0).shape == (3, 3, 8, 8)


def test_a_folder_is_what_is_in_it_wherever_it_lies(photos, tmp_path):
    before = identify_images(str(photos))
    assert before["images"] == "photos (3 images)"
    moved = tmp_path / "elsewhere" / "photos"
    moved.parent.mkdir()
    subprocess.run(["cp", "-r", photos, moved], check=True)
    assert identify_images(str(moved)) == before
    Image.new("RGB", (70, 90)).save(moved / "a.png")
    from bench.models.parts.image_folder import listed

    listed.cache_clear()
    assert identify_images(str(moved))["images_sha256"] != before["images_sha256"]
    assert identify_images(None) == {}


def test_a_model_is_loaded_and_scores_where_the_folder_is_gone():
    model = make(penalty="natural", image_folder="gone").eval()
    assert model.predict(images()).score.isfinite().all()
    with pytest.raises(UsageError, match="no folder of images at gone"):
        model.loss(Batch(images(), torch.arange(3)))


# Refusals


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        (DataSpec(64, 3, 12, patch=32), {}, "--data.texture_patch null"),
        (DataSpec(48, 3, 12), {}, "--data.image_size"),
        (DataSpec(72, 3, 12), {}, "--data.image_size"),
        (SPEC, {"penalty": "natural"}, "--model.penalty none"),
        (SPEC, {"image_folder": "photos"}, "--model.image_folder"),
    ],
)
def test_settings_that_mean_nothing_are_refused(spec, settings, named):
    with pytest.raises(UsageError, match=named):
        EfficientAD(spec, **{"weights": "none", "penalty": "none"} | settings)


def test_a_missing_teacher_and_a_missing_folder_are_one_line_each(refuse, data_root):
    words = ("fit", "--model", "efficient_ad", "--category", "screw", "--data.root", data_root)
    assert "no teacher at pdn_small.safetensors: 'bench teacher" in refuse(*words)
    words += ("--model.weights", "none")
    assert "--model.image_folder FOLDER" in refuse(*words)
    assert "no folder of images at gone" in refuse(*words, "--model.image_folder", "gone")


# Runs


@pytest.fixture
def cell(data_root, photos) -> tuple[str, ...]:
    """Eight images to learn from, of which each epoch takes two, and four to hold out."""
    model = ("--model", "efficient_ad_cpu", "--model.weights", "none", "--model.penalty", "natural")
    model += ("--model.image_folder", str(photos), "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu")
    data = ("--category", "screw", "--data.root", str(data_root), "--data.batch_size", "2")
    return (*model, *data, "--data.validation_share", "0.34", "--data.samples_per_epoch", "2")


def test_a_run_names_its_natural_images_and_takes_quantiles_of_held_out_ones(bench, cell, photos, monkeypatch):
    seen = []
    plain = EfficientAD.accumulate_maps

    def watched(self, state, image):
        seen.append(len(image))
        plain(self, state, image)

    monkeypatch.setattr(EfficientAD, "accumulate_maps", watched)
    outcome = bench("fit", *cell, "--runs", "first", "--json")
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    assert sum(seen) == 4
    assert record["weights"]["images"] == "photos (3 images)"
    assert record["config"]["model"]["penalty"] == "natural"
    moved = photos.with_name("moved") / "photos"
    moved.parent.mkdir()
    photos.rename(moved)
    again = bench("fit", *cell, "--model.image_folder", str(moved), "--runs", "first", "--json")
    assert json.loads(again.stdout)["fingerprint"] == record["fingerprint"], "the content counts, not the place"
    without = (*cell, "--model.penalty", "none", "--model.image_folder", "null")
    other = bench("fit", *without, "--runs", "second", "--json")
    assert json.loads(other.stdout)["fingerprint"] != record["fingerprint"]


def test_a_run_that_is_stopped_is_resumed_to_the_same_bits(bench, cell, monkeypatch):
    expect_the_same_bits_after_a_stop(bench, cell, monkeypatch, epoch=1)


def test_a_finished_run_is_loaded_and_scores_images(bench, cell):
    outcome = bench("fit", *cell, "--json")
    assert outcome.status == 0, outcome.stderr
    (run,) = Path("runs").glob("*/*/*")
    scored = bench_package.load(run).score([np.zeros((64, 64, 3), np.uint8)])
    assert len(list(scored)) == 1


@pytest.mark.slow
def test_two_processes_learn_and_agree(cell):
    """They draw natural images and colours of their own, so that only the statistics of the start are the same."""
    found = []
    for count in (1, 2):
        command = [sys.executable, "-m", "bench", "fit", *cell, "--runs", f"on {count}", "--json"]
        command += ["--trainer.devices", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        found.append((json.loads(done.stdout), checkpoint(f"on {count}")))
    (_, one), (together, two) = found
    assert together["cost"]["processes"] == 2
    for name in ("channel_mean", "channel_deviation"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)
    assert all(torch.isfinite(value).all() for name, value in two.items() if name != "threshold")


# The teacher


TINY = ("--backbone", "test_resnet", "--weights", "none", "--side", "32", "--steps", "3", "--batch-size", "2")


def test_a_teacher_is_distilled_into_a_file_that_fits(bench, photos):
    words = ("teacher", "--images", photos, *TINY, "--out", "mine.safetensors")
    outcome = bench(*words, "--json")
    assert outcome.status == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert (found["path"], found["images"]) == ("mine.safetensors", "photos (3 images)")
    model = make(weights="mine.safetensors")
    assert not torch.equal(model.teacher[0].weight, make().teacher[0].weight)
    Path("mine.safetensors").rename("first.safetensors")
    assert bench(*words).status == 0
    first, again = load_file("first.safetensors"), load_file("mine.safetensors")
    assert all(torch.equal(again[name], value) for name, value in first.items()), "by its seed"


def test_the_distillation_learns_the_features(bench, photos):
    words = ("teacher", "--images", photos, *TINY, "--steps", "30", "--json")
    found = json.loads(bench(*words).stdout)
    assert found["last_loss"] < found["first_loss"]


def test_a_teacher_is_refused_in_one_line(refuse, photos):
    assert "--images" in refuse("teacher", "--images", "gone", *TINY)
    assert "name a level of stride 8" in refuse("teacher", "--images", photos, *TINY, "--levels", "1,2")
    assert "are no numbers" in refuse("teacher", "--images", photos, *TINY, "--levels", "a")
    assert "end in .safetensors" in refuse("teacher", "--images", photos, *TINY, "--out", "teacher.bin")
    Path("there.safetensors").write_text("something")
    assert "is there already" in refuse("teacher", "--images", photos, *TINY, "--out", "there.safetensors")


def test_the_paper_s_features_are_those_of_patchcore_pooled_to_384_numbers():
    from bench.models.efficient_ad_teacher import Plan, _Source

    source = _Source(Plan(".", backbone="test_resnet", weights="none", side=32), torch.device("cpu"))
    image = images(2)
    levels = source.network.backbone(image)
    found = source.features(image)
    assert found.shape == (2, 384, 8, 8)
    averaged = [conv2d(level, torch.ones(level.shape[1], 1, 3, 3) / 9, padding=1, groups=level.shape[1])
                for level in levels]  # fmt: skip
    # Pooling keeps the mean over all numbers of a neighbourhood, and so does the mean of two levels.
    sizes = [interpolate(level, size=(8, 8), mode="bilinear") for level in averaged]
    expected = torch.stack([level.mean(dim=1) for level in sizes]).mean(dim=0)
    torch.testing.assert_close(found.mean(dim=1), expected, rtol=0.05, atol=0.05)
