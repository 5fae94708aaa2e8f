"""AnomalyDINO against numpy, scikit-learn and OpenCV, step by step as its authors' code goes."""

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.decomposition import PCA
from torch import Tensor

from bench.data.datamodule import DataSpec
from bench.data.geometry import Box, Content
from bench.errors import UsageError
from bench.models.anomaly_dino import AnomalyDINO
from bench.models.parts.foreground import holds_object, object_patches, without_holes
from bench.models.parts.rotations import turned
from learning import learn

SIDE, CELLS = 160, 10
IMAGES = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
PROBES = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
SMALL = {"backbone": "test_vit", "weights": "none", "level": 1, "foreground": "never", "top_share": 0.05}


def built(images: int = len(IMAGES), **settings) -> AnomalyDINO:
    torch.manual_seed(0)
    return AnomalyDINO(DataSpec(SIDE, 3, images), **(SMALL | settings)).eval()


def fitted(images: Tensor = IMAGES, **settings) -> AnomalyDINO:
    return learn(built(len(images), **settings), images.split(2))


def score(model: AnomalyDINO, images: Tensor = PROBES) -> Tensor:
    return model.predict(images).score


def test_the_method_is_these_lines_of_numpy():
    model = fitted()
    with torch.inference_mode():
        levels = [model.backbone(part)[0].double().numpy() for part in (IMAGES, PROBES)]
    bank, probes = (np.moveaxis(level, 1, 3).reshape(len(level), CELLS**2, -1) for level in levels)
    bank = bank.reshape(-1, bank.shape[2])
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    found = model.predict(PROBES)
    for patches, own_score, own_map in zip(probes, found.score, found.map, strict=True):
        cosines = patches @ bank.T / np.linalg.norm(patches, axis=1)[:, None]
        distances = 1 - cosines.max(axis=1)
        assert own_score == pytest.approx(np.sort(distances)[-5:].mean(), rel=1e-4)
        enlarged = cv2.resize(distances.reshape(CELLS, CELLS), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(own_map, gaussian_filter(enlarged, sigma=4), rtol=1e-3, atol=1e-7)


def test_one_of_fewer_than_a_hundred_patches_is_the_score():
    distances = torch.rand(2, CELLS, CELLS)
    assert torch.equal(built(top_share=0.009)._score(distances), distances.amax(dim=(1, 2)))
    assert torch.equal(built(top_share=0.01)._score(distances), distances.amax(dim=(1, 2)))


@pytest.mark.parametrize("times", [1, 4, 8])
def test_turned_images_are_scipys(times):
    image = PROBES[:1, :1, :31, :31]
    rows, columns = np.mgrid[:31, :31] - 15.0
    for step, found in enumerate(turned(image, times)):
        angle = 2 * np.pi * step / times
        from_row = np.cos(angle) * rows + np.sin(angle) * columns + 15
        from_column = -np.sin(angle) * rows + np.cos(angle) * columns + 15
        expected = map_coordinates(image[0, 0].numpy(), [from_row, from_column], order=1, mode="mirror")
        np.testing.assert_allclose(found[0, 0], expected, atol=2e-4)


def test_images_turn_as_by_opencv():
    """OpenCV rounds places to a 32nd of a pixel."""
    image = gaussian_filter(np.random.default_rng(0).random((31, 31)).astype(np.float32), 2.0)
    for step, found in enumerate(turned(torch.from_numpy(image)[None, None], 8)):
        matrix = cv2.getRotationMatrix2D((15, 15), 45 * step, 1.0)
        expected = cv2.warpAffine(image, matrix, (31, 31), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_DEFAULT)
        np.testing.assert_allclose(found[0, 0], expected, atol=0.02 * np.ptp(image))


def test_a_bank_of_turned_images_is_that_of_a_folder_with_each_view():
    views = torch.stack(turned(IMAGES[:2], 8), dim=1).flatten(0, 1)
    model, folder = fitted(IMAGES[:2], rotations=8), fitted(views)
    torch.testing.assert_close(model.bank.flatten(0, 1), folder.bank.flatten(0, 1))
    torch.testing.assert_close(score(model), score(folder), rtol=1e-5, atol=1e-7)


def test_a_turned_image_is_known_with_rotations_alone():
    quarter = torch.rot90(IMAGES, 1, dims=(2, 3))
    assert score(fitted(rotations=4), quarter).max() < 1e-6 < score(fitted(), quarter).min()


def scene(size: int, *, rows: int, seed: int = 0) -> Tensor:
    """Features (1, 8, size, size): an object of so many rows in the middle, far from its background."""
    noise = torch.randn(1, 8, size, size, generator=torch.Generator().manual_seed(seed))
    margin = (size - rows) // 2
    noise[:, 0, margin : margin + rows, margin : size - margin] += 40.0
    return noise


def authors_mask(features: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The steps of the authors' compute_background_mask, of (patches, channels)."""
    coordinates = PCA(n_components=1, svd_solver="full").fit_transform(features)
    mask = coordinates > 10
    middle = tuple(slice(int(side * 0.2), int(side * 0.8)) for side in grid)
    if mask.reshape(grid)[middle].mean() <= 0.35:
        mask = -coordinates > 10
    kernel = np.ones((3, 3), np.uint8)
    mask = cv2.dilate(mask.reshape(grid).astype(np.uint8), kernel)
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel).astype(bool)


@pytest.mark.parametrize("rows", [6, 8, 10])
@pytest.mark.parametrize("seed", range(3))
def test_the_mask_is_the_authors(rows, seed):
    features = scene(16, rows=rows, seed=seed)
    found = without_holes(object_patches(features, 10.0))[0]
    assert 0 < found.float().mean() < 1
    assert np.array_equal(found, authors_mask(features[0].flatten(1).mT.numpy(), (16, 16)))


def test_holes_and_borders_are_closed_as_by_opencv():
    masks = torch.rand(20, 9, 13, generator=torch.Generator().manual_seed(0)) > 0.85
    kernel = np.ones((3, 3), np.uint8)
    for mask, found in zip(masks.numpy().astype(np.uint8), without_holes(masks), strict=True):
        expected = cv2.morphologyEx(cv2.dilate(mask, kernel), cv2.MORPH_CLOSE, kernel)
        assert np.array_equal(found, expected.astype(bool))


def test_the_sign_of_a_component_decides_nothing():
    features = scene(16, rows=8)
    assert torch.equal(object_patches(features, 10.0), object_patches(-features, 10.0))


def test_a_thin_object_in_the_middle_is_not_taken_for_the_background():
    """Less than .35 of the middle: the authors' code then takes the other sign."""
    features = scene(20, rows=20)
    features[:, 0] = 0.1
    features[:, 0, :, 9:11] += 60.0
    found = object_patches(features, 5.0)[0]
    assert found[:, 9:11].all()
    assert found.float().mean() < 0.2


@pytest.mark.parametrize(("rows", "holds"), [(4, False), (8, True), (10, True), (12, False), (16, False)])
def test_a_mask_that_fills_the_middle_and_half_of_the_image_at_most_may_be_an_objects(rows, holds):
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    margin = (16 - rows) // 2
    mask[:, margin : margin + rows, margin : 16 - margin] = True
    assert holds_object(mask).tolist() == [holds]


def with_votes(monkeypatch, votes: list[bool], images: Tensor = IMAGES) -> AnomalyDINO:
    """A bank of images of which so many seem to hold an object."""
    waiting = iter(votes)
    monkeypatch.setattr(
        "bench.models.anomaly_dino.holds_object", lambda masks: torch.tensor([next(waiting) for _ in masks])
    )
    return fitted(images, foreground="auto")


@pytest.mark.parametrize(("votes", "leaves_out"), [([1, 1, 1, 0, 0], True), ([1, 1, 0, 0], False), ([1], True)])
def test_most_images_decide_whether_the_background_is_left_out(votes, leaves_out, monkeypatch, capsys):
    model = with_votes(monkeypatch, list(map(bool, votes)), IMAGES[: len(votes)])
    assert model.leaves_out() is leaves_out
    assert f"in {sum(votes)} of {len(votes)} image" in capsys.readouterr().err
    fresh = built(len(votes), foreground="auto")
    fresh.load_state_dict(model.state_dict())
    assert fresh.leaves_out() is leaves_out
    assert fitted(foreground="always").leaves_out()
    assert not fitted(foreground="never").leaves_out()


def test_patches_outside_the_object_have_no_distance(monkeypatch):
    mask = torch.zeros(1, CELLS, CELLS, dtype=torch.bool)
    mask[:, 4:6, 4:6] = True
    monkeypatch.setattr("bench.models.anomaly_dino.object_patches", lambda *_: mask)
    model, whole = fitted(foreground="always", sigma=0.0), fitted(sigma=0.0)
    found, all_patches = model.predict(PROBES), whole.predict(PROBES)
    inside = slice(3 * 16, 7 * 16)  # enlarged by one patch
    assert not found.map[:, : 2 * 16].any()
    middle = found.map[:, inside, inside][:, 8:-8, 8:-8]
    torch.testing.assert_close(middle, all_patches.map[:, inside, inside][:, 8:-8, 8:-8])
    assert (found.score < all_patches.score).all()


def test_an_image_in_which_no_object_is_found_keeps_its_patches():
    model = fitted(foreground="always", foreground_threshold=1e9)
    assert torch.equal(score(model), score(fitted()))
    assert (score(model) > 0).all()


@pytest.mark.parametrize("settings", [{}, {"rotations": 3}], ids=str)
def test_a_left_out_score_is_that_of_a_bank_without_the_image(settings):
    left_out = fitted(**settings).predict_leave_one_out(IMAGES)
    for place in range(len(IMAGES)):
        kept = torch.arange(len(IMAGES)) != place
        expected = score(fitted(IMAGES[kept], **settings), IMAGES[place, None])
        torch.testing.assert_close(left_out[place, None], expected, rtol=1e-4, atol=1e-7)


def test_an_image_that_is_left_out_has_no_vote(monkeypatch):
    model = with_votes(monkeypatch, [True, True, True, False, False])
    assert [model.leaves_out(index) for index in range(5)] == [False, False, False, True, True]


def test_padding_does_not_count_for_the_score():
    model, half = fitted(), Content(Box(0, 0, SIDE, SIDE // 2))
    found = model.predict(PROBES, [half] * 2).score
    with torch.inference_mode():
        patches = model._features(PROBES)
    upper = score_of(model, patches[:, :, : CELLS // 2])
    torch.testing.assert_close(found, upper, rtol=1e-4, atol=1e-7)


def score_of(model: AnomalyDINO, features: Tensor) -> Tensor:
    """The mean distance of the most distant twentieth of these patches (B, C, h, w)."""
    own = torch.nn.functional.normalize(features.flatten(2).mT, dim=2)
    distances = 1 - (own @ model.bank.flatten(0, 1).mT).amax(dim=2)
    return distances.sort(dim=1, descending=True).values[:, : int(0.05 * distances.shape[1])].mean(dim=1)


def test_a_smaller_refit_forgets_the_images_before():
    model = learn(fitted(), IMAGES[:2].split(1))
    assert int(model.count) == 2
    assert not model.bank[2:].any()
    assert torch.equal(score(model), score(fitted(IMAGES[:2])))


def test_a_bank_over_the_limit_is_refused_before_it_is_made():
    with pytest.raises(UsageError, match=r"a bank of 4,000 patches \(0\.00 GB\) exceeds --model\.memory_limit 0\.0001"):
        built(rotations=8, memory_limit=1e-4)
    assert built(rotations=8).memory == "a bank of 4,000 patches (0.00 GB)"


def test_sides_that_patches_do_not_divide_are_refused():
    with pytest.raises(UsageError, match="multiple of 16 pixels"):
        AnomalyDINO(DataSpec(150, 3, 1), **SMALL)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_that_means_nothing_is_refused(share, refuse):
    words = ("fit", "--model", "anomaly_dino", "--category", "screw", "--data", "synthetic", "--model.weights", "none")
    assert "--model.top_share" in refuse(*words, "--model.top_share", share)


def test_grey_images_are_learned():
    grey = IMAGES[:, :1]
    torch.manual_seed(0)
    model = learn(AnomalyDINO(DataSpec(SIDE, 1, 5), **SMALL).eval(), grey.split(2))
    torch.testing.assert_close(score(model, PROBES[:, :1]), score(fitted(grey.expand(-1, 3, -1, -1)), PROBES[:, :1]))
