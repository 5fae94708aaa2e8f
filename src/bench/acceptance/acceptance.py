"""The whole of an acceptance, from the fits to everything that the page shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.acceptance.candidates import fit_candidates
from bench.acceptance.comparison import Standing, compare
from bench.acceptance.latency import Latency, measure_latency
from bench.acceptance.learning_curve import Point, measure_curve
from bench.acceptance.operating_point import OperatingPoint, operating_point
from bench.acceptance.pictures import Shown, deciding, movable, take_pictures
from bench.acceptance.robustness import Robustness, measure_robustness
from bench.config.settings import Config
from bench.html_report.test_images import PicturedImages
from bench.metrics.decision_cost import Costs
from bench.phases import phase
from bench.records.record import Record
from bench.runs.chosen_threshold import TakenThreshold
from bench.runs.run_data import data_of_run
from bench.runs.scoring.scorer import Device, load_run


@dataclass(frozen=True)
class Asked:
    """What is asked of the methods, and where their runs lie."""

    max_false_alarms: float
    runs: Path
    miss: float | None = None  # what mistakes cost, in one unit; None: nobody said
    alarm: float | None = None
    bad_share: float | None = None  # of parts at the line; None: that of the test photos
    force: bool = False
    thorough: bool = False  # a learning curve of methods that train as well
    own: Mapping[str, str] = field(default_factory=dict)  # the files of methods of one's own, by name


@dataclass(frozen=True)
class Acceptance:
    """What was found, for the page, the terminal and JSON."""

    asked: Asked
    standing: Standing
    point: OperatingPoint
    costs: Costs | None
    learned: int  # good photos that the methods learned from
    alike: int  # test photos that are near-duplicates of another one
    robustness: Robustness | None
    latency: Latency
    curve: Sequence[Point]  # empty: none was measured, or there are no bad photos
    deciding: Sequence[Shown]
    movable: Sequence[int]
    pictures: PicturedImages

    @property
    def record(self) -> Record:
        """The record of the run that is judged."""
        return self.standing.best.first.record

    @property
    def folder(self) -> Path:
        """The folder of the run that is judged."""
        return self.standing.best.first.folder


def accept(configs: Sequence[Config], asked: Asked) -> Acceptance:
    """Fit all methods with all seeds, choose one, and find out what its model promises and lets through."""
    standing = compare(fit_candidates(configs, asked.runs, force=asked.force))
    best = standing.best
    run = best.first
    point = operating_point(run, asked.max_false_alarms)
    own = [config for config in configs if config.model.name == best.name]
    file = asked.own.get(best.name)  # a record never names it
    data = data_of_run(run.folder, run.record, model=file)
    learned = len(data.training_indices)
    trains = bool(own[0].model.load_class().is_trained())  # type: ignore[attr-defined] # a Detector
    has_both = point.good.size and point.bad.size
    curve = []
    if has_both and (asked.thorough or not trains):
        curve = measure_curve(best, own, asked.runs, learned)
    scorer = load_run(
        run.folder,
        model=file,
        device=_device(own[0]),
        threshold=TakenThreshold(point.threshold, point.chosen.pixel_threshold),
    )
    groups, moving = deciding(run, point.threshold), movable(run, point.threshold)
    shown = {*moving, *(index for group in groups for index in group.indices)}
    with phase("pictures of the photos that decide"):
        pictures = take_pictures(scorer, data, sorted(shown))
    test = data.category.test
    return Acceptance(
        asked=asked,
        standing=standing,
        point=point,
        costs=_costs(asked, point),
        learned=learned,
        alike=_alike([row.sha256 for row in run.rows], data.find_root() / run.record.category),
        robustness=measure_robustness(scorer, test, point.good, point.threshold),
        latency=measure_latency(scorer, test),
        curve=curve,
        deciding=groups,
        movable=moving,
        pictures=pictures,
    )


def _device(config: Config) -> Device:
    """The device that the method was fitted on, so that its scores are those of the record."""
    accelerator = config.settings["trainer"]["accelerator"]
    return "gpu" if accelerator == "cuda" else accelerator


def _costs(asked: Asked, point: OperatingPoint) -> Costs | None:
    if asked.miss is None or asked.alarm is None or not (point.good.size and point.bad.size):
        return None
    share = asked.bad_share or point.bad.size / (point.bad.size + point.good.size)
    return Costs(asked.miss, asked.alarm, share)


def _alike(hashes: Sequence[str], category: Path) -> int:
    """How many test photos show the same part as another one, as `split.csv` has it; 0 without one."""
    from bench.data.importing.roles import SPLIT, read_roles

    if not (category / SPLIT).is_file():
        return len(hashes) - len(set(hashes))
    groups = Counter(photo.group for photo in read_roles(category) if photo.role == "test")
    return sum(groups.values()) - len(groups)
