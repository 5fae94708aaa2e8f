import pickle
from datetime import timedelta
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn import metrics as sklearn
from torch import Tensor

from bench.metrics import pixel
from bench.metrics.pixel import PixelMetrics

SIZES = {"one size": [(24, 24)], "several sizes": [(24, 24), (17, 31)]}


class Image(NamedTuple):
    map: Tensor
    mask: Tensor
    defect_type: int


def category(sizes, *, tied=False, dtype=torch.float32, count=10):
    """Ten images of types 0, 0, 1, 2, 1, ...: raw scores around 30, two rectangles and a diagonal where defective."""
    rng = np.random.default_rng(11)
    images = []
    for index in range(count):
        height, width = sizes[index * len(sizes) // count]
        defect_type = (0, 0, 1, 2, 1)[index % 5]
        mask = np.zeros((height, width), dtype=bool)
        if defect_type:
            mask[2:7, 3:6] = mask[9 : 10 + index, 10:13] = True
            mask[range(12, 16), range(1, 5)] = True
        scores = 30 + 5 * (rng.standard_normal(mask.shape) + mask * defect_type)
        scores = np.round(scores) if tied else scores
        images.append(Image(torch.from_numpy(scores).to(dtype), torch.from_numpy(mask), defect_type))
    return images


def computed(images, batch_size=1):
    return updated(PixelMetrics(), images, batch_size).compute()


def updated(metrics, images, batch_size=1):
    for _, group in groupby(images, key=lambda image: image.map.shape):
        same_size = list(group)
        for start in range(0, len(same_size), batch_size):
            maps, masks, types = zip(*same_size[start : start + batch_size], strict=True)
            metrics.update(torch.stack(maps), torch.stack(masks), torch.tensor(types))
    return metrics


def pooled(images):
    """All scores, labels and region numbers (0 = normal) of the images, as flat arrays."""
    scores = np.concatenate([image.map.float().numpy().ravel() for image in images])
    regions, seen = [], 0
    for image in images:
        labels, count = ndimage.label(image.mask.numpy(), structure=np.ones((3, 3)))
        regions.append(np.where(labels > 0, labels + seen, 0).ravel())
        seen += count
    region = np.concatenate(regions)
    return scores, region > 0, region


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_overall_figures_are_those_of_scikit_learn_and_of_the_full_curve(sizes, dtype, tied, full_curve_aupro):
    images = category(sizes, tied=tied, dtype=dtype)
    scores, labels, region = pooled(images)
    precision, recall, _ = sklearn.precision_recall_curve(labels, scores)
    regions = (scores[~labels], scores[labels], region[labels])
    expected = {
        "pixel_auroc": sklearn.roc_auc_score(labels, scores),
        "pixel_ap": sklearn.average_precision_score(labels, scores),
        "pixel_f1max": np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300)),
        "aupro_0.30": full_curve_aupro(*regions, 0.30),
        "aupro_0.05": full_curve_aupro(*regions, 0.05),
    }
    assert computed(images).overall == pytest.approx(expected, abs=1e-9)


def test_pixels_that_another_process_saw_are_there_to_be_judged():
    metrics = PixelMetrics()
    assert not metrics.has_pixels
    seen = PixelMetrics()
    seen.update(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool), torch.tensor([0]))
    assert seen.has_pixels
    metrics.normal_of_good = [seen.normal_of_good[1]]  # as `gather` leaves them on a process that updated nothing
    assert not metrics.update_called
    assert metrics.has_pixels


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_figures_by_defect_compare_pixels_of_the_type_with_all_pixels_of_good_images(tied, full_curve_aupro):
    images = category(SIZES["several sizes"], tied=tied)
    normal, _, _ = pooled([image for image in images if image.defect_type == 0])
    result = computed(images).by_defect
    assert list(result) == [1, 2]
    for defect_type, figures in result.items():
        scores, labels, region = pooled([image for image in images if image.defect_type == defect_type])
        values = np.concatenate([normal, scores[labels]])
        truth = np.repeat([0, 1], [normal.size, labels.sum()])
        expected = {
            "pixel_auroc": sklearn.roc_auc_score(truth, values),
            "pixel_ap": sklearn.average_precision_score(truth, values),
            "aupro_0.30": full_curve_aupro(normal, scores[labels], region[labels], 0.30),
        }
        assert figures == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("batch_size", [2, 3, 10])
def test_the_batch_size_changes_no_bit(batch_size, tied):
    images = category(SIZES["several sizes"], tied=tied)
    assert computed(images, batch_size) == computed(images)


def test_the_order_of_the_images_changes_no_bit():
    images = category(SIZES["one size"], tied=True)
    assert computed(images[::-1]) == computed(images)


@pytest.mark.parametrize("block", [7, 600, 1500])
def test_ranking_block_by_block_changes_no_bit(block, monkeypatch):
    images = category(SIZES["one size"], tied=True)
    expected = computed(images)
    monkeypatch.setattr(pixel, "_BLOCK", block)
    assert computed(images) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_maps_of_any_floating_type_are_kept_as_float32(dtype):
    images = category(SIZES["one size"], dtype=dtype)
    assert computed(images) == computed([image._replace(map=image.map.float()) for image in images])


def test_images_added_after_a_computation_count_in_the_next():
    images = category(SIZES["one size"])
    metrics = updated(PixelMetrics(), images[:6])
    assert metrics.compute() == computed(images[:6])
    assert updated(metrics, images[6:]).compute() == computed(images)


def test_a_call_returns_the_figures_of_its_batch_and_adds_it():
    first, second = (category(SIZES["one size"])[half] for half in (slice(0, 5), slice(5, 10)))
    metrics = updated(PixelMetrics(), first)
    batch = [torch.stack([image.map for image in second]), torch.stack([image.mask for image in second])]
    assert metrics(*batch, torch.tensor([image.defect_type for image in second])) == computed(second)
    assert metrics.compute() == computed(first + second)


def test_a_reset_forgets_all_pixels():
    images = category(SIZES["one size"])
    metrics = updated(PixelMetrics(), images[:5])
    metrics.reset()
    assert updated(metrics, images[5:]).compute() == computed(images[5:])


def test_maps_changed_or_differentiated_afterwards_change_nothing():
    images = category(SIZES["one size"])
    expected = computed(images)
    metrics = PixelMetrics()
    for image in images:
        scores = image.map.clone()[None].requires_grad_()
        metrics.update(scores, image.mask[None], torch.tensor([image.defect_type]))
        with torch.no_grad():
            scores.zero_()
    assert metrics.compute() == expected


def test_a_normal_pixel_is_kept_as_one_float32():
    metrics = updated(PixelMetrics(), category(SIZES["one size"]))
    kept = [*metrics.normal_of_good, *metrics.normal_of_defective]
    normals = sum(int((~image.mask).sum()) for image in category(SIZES["one size"]))
    assert sum(state.untyped_storage().nbytes() for state in kept) == 4 * normals


def test_only_good_images_give_nan_and_no_defect_type():
    result = computed([image for image in category(SIZES["one size"]) if image.defect_type == 0])
    assert np.isnan(list(result.overall.values())).all()
    assert result.by_defect == {}


def test_without_good_images_only_the_figures_by_defect_are_nan():
    result = computed([image for image in category(SIZES["one size"]) if image.defect_type])
    assert np.isfinite(list(result.overall.values())).all()
    assert all(np.isnan(list(figures.values())).all() for figures in result.by_defect.values())


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric PixelMetrics was called before")
def test_no_image_at_all_gives_nan():
    result = PixelMetrics().compute()
    assert np.isnan(list(result.overall.values())).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("index", "row"), [(0, 0), (2, 0), (2, 3)], ids=["good image", "normal pixel", "anomalous pixel"]
)
def test_a_score_that_is_not_finite_is_refused(bad, index, row):
    images = category(SIZES["one size"])
    images[index].map[row, 4] = bad
    with pytest.raises(ValueError, match="finite"):
        computed(images)


@pytest.mark.parametrize(
    ("maps", "masks", "types", "message"),
    [
        (torch.zeros(2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8), torch.zeros(2), "torch.uint8"),
        (torch.zeros(2, 8, 8), torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2), r"\(2, 4, 4\)"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.bool), torch.zeros(2), r"\(2, 1, 8, 8\)"),
        (torch.zeros(2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool), torch.zeros(3), r"\(3,\)"),
        (torch.zeros(1, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool), torch.zeros(1), "good image"),
    ],
    ids=["integer masks", "masks of another size", "maps with channels", "types of other images", "good with a defect"],
)
def test_a_batch_that_does_not_fit_is_refused(maps, masks, types, message):
    with pytest.raises(ValueError, match=message):
        PixelMetrics().update(maps, masks, types.long())


def shares(images):
    """What two processes see: rank 1 some images of every kind; only good ones; none."""
    good = [image for image in images if image.defect_type == 0]
    defective = [image for image in images if image.defect_type]
    return {
        "uneven": (images[:7], images[7:]),
        "only good on one": (defective, good),
        "nothing on one": (images, []),
    }


def computed_on(rank, folder):
    """The results of every share, as this one of two processes computes them."""
    meeting = {"init_method": f"file://{folder}/meeting", "timeout": timedelta(minutes=2)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, **meeting)
    try:
        images = category(SIZES["several sizes"], tied=True)
        metrics = {name: updated(PixelMetrics(), share[rank], 2) for name, share in shares(images).items()}
        return {name: metric.compute() for name, metric in metrics.items()}
    finally:
        torch.distributed.destroy_process_group()


def second_process(_, folder):
    (folder / "results.pickle").write_bytes(pickle.dumps(computed_on(1, folder)))


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric PixelMetrics was called before")
def test_two_processes_give_the_figures_of_one_to_the_bit(tmp_path):
    second = torch.multiprocessing.spawn(second_process, args=(tmp_path,), nprocs=1, join=False)
    results = computed_on(0, tmp_path)
    assert second.join(timeout=60)
    expected = dict.fromkeys(results, computed(category(SIZES["several sizes"], tied=True)))
    assert results == expected
    assert pickle.loads((tmp_path / "results.pickle").read_bytes()) == expected
