"""A record in a sentence that anybody reads, and the remarks without which its figures mislead.

Counts are whole numbers: a recall is a ratio of two counts of which the record has one, so the other follows exactly.
Where a record does not tell enough, the sentence leaves it out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.config.tracks import TRACKS
from bench.errors import counted
from bench.metrics.catalogue import metric_text, title_of
from bench.records.record import Record

_GOOD = "good"
# With fewer, a single image moves a rate by more than two points, and an interval is some ten points wide.
_FEW = 50
# From here on a ranking is one that people expect to decide well; most published methods reach it.
_GOOD_RANKING = 0.9
# Below, three defects in ten pass: with a good ranking it is the threshold that lets them.
_LOW_RECALL = 0.7
# Above, one good part in five is stopped: with a good ranking it is the threshold that stops them.
_MANY_ALARMS = 0.2
# Categories of one object an image, by its plural. All others, textures too, are spoken of as images.
_PLURALS = {
    "bottle": "bottles",
    "cable": "cables",
    "capsule": "capsules",
    "hazelnut": "hazelnuts",
    "metal_nut": "metal nuts",
    "pill": "pills",
    "screw": "screws",
    "toothbrush": "toothbrushes",
    "transistor": "transistors",
    "zipper": "zippers",
}


@dataclass(frozen=True)
class Counts:
    """The test images of a run and what became of them."""

    defects: int
    found: int  # of the defects: called defective, whatever their type
    good: int
    stopped: int  # of the good ones: called defective
    named: int = 0  # of all, by a classifier: given the right class

    @property
    def alarms(self) -> float:
        """The share of the good ones that is called defective."""
        return self.stopped / self.good if self.good else 0.0


def summary(record: Record) -> str:
    """What a finished run found, in one sentence; '' for one that has not finished, or of an unusual record."""
    counts = count(record)
    if record.status == "finished" and record.data.shots and record.metrics.get("threshold") is None:
        images = counted(len(record.data.shots), "image")
        return f"{record.model} learned from {images}, too few to choose a threshold: it ranks, and decides nothing"
    if counts is None:
        return ""
    if not counts.defects + counts.good:
        return f"{record.model} was tested on no image: there are a model and a threshold, and no figures"
    parts = parts_of(record)
    if TRACKS[record.track].learns_from_defects:
        headline = TRACKS[record.track].headline
        clauses = [f"it names {counts.named} of {counts.good + counts.defects} images rightly"]
        if counts.defects:
            clauses.append(f"misses {counts.defects - counts.found} of {counted(counts.defects, 'defect')}")
        if counts.good:
            clauses.append(f"stops {counts.stopped} of {counts.good} good {parts}")
        value = metric_text(record.metrics.get(headline))
        return f"{record.model} has a {title_of(headline)} of {value}: {', '.join(clauses)}"
    clauses = []
    if counts.defects:
        clauses.append(f"finds {counts.found} of {counted(counts.defects, 'defect')}")
    if counts.good:
        clauses.append(f"calls {counts.stopped} of {counts.good} good {parts} defective")
    at = "a threshold from normal images" if record.products is None else "one threshold for all products"
    return f"{record.model} {', '.join(clauses)}, at {at}"


def remarks(record: Record) -> list[str]:
    """What a reader of the figures must know, a line each; none where all is as one expects."""
    counts = count(record)
    if counts is None or not counts.defects + counts.good:
        return []
    return [*_few(record, counts), *_ranking(record), *_threshold(record, counts), *_classes(record)]


def count(record: Record) -> Counts | None:
    """The counts of a finished run; None where the record does not tell them."""
    if record.status != "finished":
        return None
    if TRACKS[record.track].learns_from_defects:
        return _count_classes(record)
    return _count_decisions(record)


def parts_of(record: Record) -> str:
    """The word for several parts of a category."""
    return _PLURALS.get(record.category, "images")


def _count_decisions(record: Record) -> Counts | None:
    types, good = record.metrics_by_defect.values(), record.data.counts.get(f"test/{_GOOD}", 0)
    total = sum(count for name, count in record.data.counts.items() if name.startswith("test/"))
    total -= len(record.data.contamination or ())
    pairs = [(values.get("count"), values.get("image_recall")) for values in types]
    known = [(round(number), share) for number, share in pairs if number is not None and share is not None]
    defects, found = sum(number for number, _ in known), sum(round(number * share) for number, share in known)
    if not record.data.counts or len(known) < len(pairs) or defects + good != total:
        return None
    if not total:
        return Counts(0, 0, 0, 0)
    accuracy = record.metrics.get("image_accuracy")
    if accuracy is None:
        return None
    stopped = good + found - round(accuracy * total)
    return Counts(defects, found, good, stopped) if 0 <= stopped <= good else None


def _count_classes(record: Record) -> Counts | None:
    if record.confusion is None:
        return None
    classes, rows = record.confusion.classes, record.confusion.counts
    if _GOOD not in classes:
        return None
    place = classes.index(_GOOD)
    defects = sum(sum(row) for index, row in enumerate(rows) if index != place)
    missed = sum(row[place] for index, row in enumerate(rows) if index != place)
    good = sum(rows[place])
    named = sum(row[index] for index, row in enumerate(rows))
    return Counts(defects, defects - missed, good, good - rows[place][place], named)


def _few(record: Record, counts: Counts) -> Iterator[str]:
    kinds = ((counts.good, "good"), (counts.defects, "defective"))
    small = [(number, kind) for number, kind in kinds if 0 < number < _FEW]
    if small:
        words = " and ".join(f"{number} {kind}" for number, kind in small)
        moves = " and ".join(f"{100 / number:.2g}" for number, _ in small)
        images = "image" if [number for number, _ in small] == [1] else "images"
        yield f"few test images: with {words} {images} a single one moves a rate by {moves} points; intervals are wide"


def _ranking(record: Record) -> Iterator[str]:
    auroc, interval = record.metrics.get("image_auroc"), record.intervals.get("image_auroc")
    if auroc is None:
        return
    if auroc < 0.5:
        yield f"image AUROC {metric_text(auroc)} lies below one half: scores rank good images above defective ones"
    elif interval and interval[0] < 0.5:
        yield f"the interval of image AUROC begins at {interval[0]:.3f}, below one half: the ranking may be chance"


def _threshold(record: Record, counts: Counts) -> Iterator[str]:
    if TRACKS[record.track].learns_from_defects:
        return
    auroc = record.metrics.get("image_auroc") or 0.0
    if counts.defects and counts.good and counts.found + counts.stopped in (0, counts.defects + counts.good):
        side, verdict = ("above", "good") if not counts.found else ("below", "defective")
        yield f"the threshold lies {side} all scores of the test: every image is called {verdict}"
    elif auroc >= _GOOD_RANKING and counts.found < _LOW_RECALL * counts.defects:
        yield (
            f"the ranking is good (image AUROC {metric_text(auroc)}) but the threshold lies too high: it misses "
            f"{counts.defects - counts.found} of {counted(counts.defects, 'defect')}; a lower --threshold_quantile "
            "finds more"
        )
    elif auroc >= _GOOD_RANKING and counts.alarms > _MANY_ALARMS:
        yield (
            f"the ranking is good (image AUROC {metric_text(auroc)}) but the threshold lies too low: it stops "
            f"{counts.stopped} of {counts.good} good {parts_of(record)}; a higher --threshold_quantile stops fewer"
        )
    yield from _largest_score(record)


def _largest_score(record: Record) -> Iterator[str]:
    """Say so where the quantile of so few scores is the largest of them."""
    quantile = record.config.get("threshold_quantile")
    learned = len(record.data.shots) if record.data.shots else record.data.counts.get(f"train/{_GOOD}", 0)
    scores = record.data.validation_images or learned
    if not isinstance(quantile, float) or not 0 < quantile < 1 or not scores:
        return
    if (scores - 1) * quantile > scores - 2:
        yield (
            f"the threshold is the largest of {counted(scores, 'normal score')}, whose quantile {quantile:g} it is: "
            "one unusual image decides it"
        )


def _classes(record: Record) -> Iterator[str]:
    if record.confusion is None:
        return
    rows = zip(record.confusion.classes, record.confusion.counts, strict=True)
    never = [name for index, (name, row) in enumerate(rows) if sum(row) and not row[index]]
    if never:
        yield f"never named rightly: {', '.join(never)}"
    sizes = [sum(row) for row in record.confusion.counts]
    right = sum(row[index] for index, row in enumerate(record.confusion.counts))
    if right <= max(sizes):
        name = record.confusion.classes[sizes.index(max(sizes))]
        yield f"no better than naming every image '{name}', which is right for {max(sizes)} of {sum(sizes)}"
