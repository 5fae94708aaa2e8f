"""Score the test images of runs, unchanged and under each change, and count what becomes of their verdicts."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bench.data.geometry import Geometry
from bench.data.layout import Category
from bench.data.loading import BatchSampler, TestDataset, make_loader
from bench.errors import RunError, UsageError
from bench.evaluation.evaluation import TestedFold, evaluate
from bench.evaluation.passes import saturated_overlap, test_images
from bench.evaluation.score_figures import defined
from bench.metrics.bootstrap import Interval, share_interval
from bench.metrics.image import image_metrics
from bench.phases import phase, within
from bench.processes import available_cores
from bench.stress.changes import Change, all_changes, as_dict
from bench.stress.tested_runs import TestedRun

PIXEL_FIGURES = ("pixel_auroc", "aupro_0.30")
_UNCHANGED = "unchanged images"


@dataclass(frozen=True)
class Figures:
    """What a run says of the test images in one condition; None where a figure is not defined."""

    good: int
    defective: int
    left_frame: int  # defective images that no longer show their defect: not counted
    image_auroc: float | None
    false_alarms: int
    false_alarm_interval: Interval | None  # of their share of good images, 95 %
    misses: int
    miss_interval: Interval | None  # of their share of defective images, 95 %
    to_anomalous: int  # verdicts that flipped from good to anomalous
    to_good: int
    pixels: Mapping[str, float | None]  # empty without maps or masks

    @property
    def flips(self) -> int:
        """How many verdicts are not those on the unchanged images."""
        return self.to_anomalous + self.to_good


@dataclass(frozen=True)
class Row:
    """One condition (None: unchanged) with the figures of each run, in their order."""

    change: Change | None
    figures: Sequence[Figures]

    @property
    def label(self) -> str:
        """The condition in words."""
        return self.change.label if self.change else "unchanged"


@dataclass(frozen=True)
class Stress:
    """The outcome for all runs: the unchanged row first."""

    runs: Sequence[TestedRun]
    seed: int
    rows: Sequence[Row]

    @property
    def unmasked(self) -> int:
        """Defective images without a mask: whether their defect leaves the frame is not known, so they count."""
        return self.runs[0].data.category.without_masks

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON."""
        runs = [
            {
                "name": one.name,
                "folder": str(one.run.folder),
                "model": one.record.model,
                "category": one.record.category,
                "seed": one.record.seed,
                "fingerprint": one.record.fingerprint,
                "threshold": one.threshold,
                "conditions": [
                    (as_dict(row.change) if row.change else {"change": None, "label": row.label})
                    | asdict(row.figures[place])
                    | {"flips": row.figures[place].flips}
                    for row in self.rows
                ],
            }
            for place, one in enumerate(self.runs)
        ]
        return {"seed": self.seed, "defects_without_mask": self.unmasked, "runs": runs}


class ChangedTest(TestDataset):
    """A run's test with changed photos, and with masks that moved with them under a shift."""

    def __init__(self, run: TestedRun, images: Path, change: Change, keys: Sequence[tuple[int, ...]]) -> None:
        base = run.test_dataset()
        super().__init__(images, base.masks, base.samples, run.data.category.defect_types, base.pose, base.content)
        self.change, self.keys = change, keys
        self.geometry, self.full = run.data.geometry, run.data.protocol == "full"

    def moved(self, index: int) -> NDArray[np.bool_] | None:
        """The moved mask (height, width) in the photo's resolution; None without one."""
        drawn = self.samples[index].read_mask()
        if drawn is None:
            return None
        return self.change.apply(drawn.astype(np.uint8), self.keys[index]).astype(bool)

    def mask(self, index: int) -> Tensor | None:
        """The mask where the pixels are now; None, which judges no pixel, for a defect that left the frame."""
        if not self.change.moves or not self.samples[index].is_defect or not self.has_masks:
            return super().mask(index)
        moved = self.moved(index)
        if moved is None or not moved.any():
            return None
        if self.full:
            return torch.from_numpy(moved)
        fitted = self.geometry.apply(Image.fromarray(moved.astype(np.uint8)), Image.Resampling.NEAREST)
        return torch.from_numpy(np.asarray(fitted).astype(bool))

    def left_frame(self) -> NDArray[np.bool_]:
        """Which images (N,) no longer show a pixel of their defect."""
        if not self.change.moves:
            return np.zeros(len(self.samples), np.bool_)
        masks = [self.moved(i) if one.is_defect and one.mask else None for i, one in enumerate(self.samples)]
        return np.array([mask is not None and not mask.any() for mask in masks], np.bool_)


def put_under_stress(runs: Sequence[TestedRun], *, seed: int, pixels: bool = True) -> Stress:
    """Score all test images of all runs, unchanged and in each change, photos being changed once for runs alike."""
    labels = np.array([sample.is_defect for sample in runs[0].data.category.test])
    before = []
    for run in runs:
        with within(f"{run.name}, {_UNCHANGED}"):
            before.append(_unchanged(run, labels, pixels=pixels))
    rows = [Row(None, [figures for _, figures in before])]
    verdicts = [found for found, _ in before]
    changes = all_changes()
    for number, change in enumerate(changes, 1):
        with within(f"{change.label} ({number} of {len(changes)})"):
            found = dict(_changed(runs, change, seed, verdicts, labels, pixels=pixels))
        rows.append(Row(change, [found[place] for place in range(len(runs))]))
    return Stress(runs, seed, rows)


def _unchanged(run: TestedRun, labels: NDArray[np.bool_], *, pixels: bool) -> tuple[NDArray[np.bool_], Figures]:
    """Verdicts and figures of the unchanged images; a RunError where they are not the record's to the bit."""
    found = _score(run, run.test_dataset(defects=pixels), pixels=pixels)
    outcome = evaluate([found])
    then = np.array([one.score for one in run.predicted])
    same = [one.sha256 for one in outcome.predictions] == [one.sha256 for one in run.predicted]
    differing = int((then != outcome.scores).sum()) if same else len(then)
    metrics = {
        name: value
        for name, value in run.record.metrics.items()
        if pixels or name == "threshold" or name.startswith("image_")
    }
    wrong = [name for name, value in metrics.items() if outcome.metrics.get(name) != value]
    if differing or wrong:
        what = f"{differing} of {len(then)} scores" if differing else ", ".join(wrong)
        raise RunError(
            f"{run.run.folder} scored again on its unchanged images differs from its record in {what}; stress it on "
            "the kind of device, and with the versions, that its record names, or fit it again here"
        )
    verdicts = outcome.scores > run.threshold
    counted = np.ones(len(labels), np.bool_)
    return verdicts, _figures(found, run.threshold, verdicts, labels, counted)


def _changed(
    runs: Sequence[TestedRun],
    change: Change,
    seed: int,
    before: Sequence[NDArray[np.bool_]],
    labels: NDArray[np.bool_],
    *,
    pixels: bool,
) -> Iterator[tuple[int, Figures]]:
    """The figures of each run, by its place; only one set of changed photos lies on the disk at a time."""
    alike = sorted(range(len(runs)), key=lambda place: str(runs[place].input))
    for (geometry, _), places in groupby(alike, key=lambda place: runs[place].input):
        chosen = list(places)
        category = runs[chosen[0]].data.category
        keys = [(seed, int(category.hashes[sample.path], 16)) for sample in category.test]
        with TemporaryDirectory(prefix="bench-stress-") as folder:
            images = Path(folder) / "images.npy"
            _write_changed(images, category, geometry, change, keys)
            for place in chosen:
                run = runs[place]
                dataset = ChangedTest(run, images, change, keys)
                found = _score(run, dataset, pixels=pixels)
                yield place, _figures(found, run.threshold, before[place], labels, ~dataset.left_frame())


def _write_changed(
    path: Path, category: Category, geometry: Geometry, change: Change, keys: Sequence[tuple[int, ...]]
) -> None:
    """Write the changed photos as the models see them, (N, side, side, channels), one photo a thread at a time."""
    shape = (len(category.test), geometry.output, geometry.output, category.channels)

    def make(index: int) -> NDArray[np.uint8]:
        photo = np.asarray(category.test[index].read_image())
        return geometry.pixels(Image.fromarray(change.apply(photo, keys[index])), category.channels)

    try:
        written = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        with phase("changing photos", shape[0]) as counted, ThreadPoolExecutor(available_cores()) as pool:
            for index, pixels in enumerate(pool.map(make, range(shape[0]))):
                written[index] = pixels
                counted.advance()
        written.flush()
    except OSError as error:
        raise UsageError(f"cannot write changed photos in {path.parent} ({error.strerror}); set TMPDIR") from error


def _score(run: TestedRun, dataset: TestDataset, *, pixels: bool) -> TestedFold:
    """The run's own test on these images: the same batches, passes and metrics."""
    if not pixels:
        dataset.has_masks = False
    count = len(dataset.samples)
    loader = make_loader(dataset, BatchSampler(range(count), run.data.images_at_once), 0)
    saturated = saturated_overlap(run.data) if dataset.saturation else None
    of_pixels = {"": run.record.metrics.get("seg_threshold")}
    found = test_images(run.model, loader, count, run.machine, saturated=saturated, segmentation=of_pixels)
    assert found is not None, "there is one process"
    scored, localised = found
    return TestedFold(run.data, scored, float(run.model.threshold), localised)


def _figures(
    found: TestedFold,
    threshold: float,
    before: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    counted: NDArray[np.bool_],
) -> Figures:
    scores = found.scored.score.double().numpy()
    if not np.isfinite(scores).all():
        worst = found.data.category.test[int(np.argmin(np.isfinite(scores)))]
        raise RunError(f"the score of the changed {worst.relative} is no finite number")
    now, good, defective = scores > threshold, ~labels & counted, labels & counted
    alarms, misses = int((now & good).sum()), int((~now & defective).sum())
    measured = defined(found.localised.overall) if found.localised else {}
    return Figures(
        good=int(good.sum()),
        defective=int(defective.sum()),
        left_frame=int((~counted).sum()),
        image_auroc=defined(image_metrics(scores[counted], labels[counted], None))["image_auroc"],
        false_alarms=alarms,
        false_alarm_interval=share_interval(alarms, int(good.sum())),
        misses=misses,
        miss_interval=share_interval(misses, int(defective.sum())),
        to_anomalous=int((now & ~before & counted).sum()),
        to_good=int((~now & before & counted).sum()),
        pixels={name: measured[name] for name in PIXEL_FIGURES if name in measured},
    )
