"""A study: how each variant of a sweep differs from its baseline, and whether by more than chance."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.decisive_settings import makes_method
from bench.config.moved_classes import present_path
from bench.config.settings import flatten
from bench.console import say
from bench.errors import UsageError
from bench.escaping import markdown, sentence
from bench.leaderboard.collect import Source, collect
from bench.leaderboard.paired import Pair, Predictions, metric_differences, pair, read_predictions, shared_classes
from bench.leaderboard.text import machine
from bench.metrics.bootstrap import Difference
from bench.metrics.catalogue import TRACKS
from bench.records.costs import COSTS
from bench.records.record import PREDICTIONS, Record
from bench.sweep.plan import Planned, Sweep
from bench.writing import write_atomically, writing_to


@dataclass(frozen=True)
class Attempt:
    """One variant on one category with one seed: its record, and its differences from the baseline's."""

    planned: Planned
    record: Record | None
    images: int = 0  # that both predicted; for the baseline, all of its images
    differences: dict[str, Difference] | None = None  # by metric; None for the baseline itself


def write_study(name: str, sweep: Sweep, cells: Sequence[Planned], folders: Iterable[Path], out: Path) -> Path:
    """Write `<name>.md` from the records of the cells below `folders`; the same records give the same bytes."""
    if sweep.baseline is None:
        raise UsageError(f"the sweep {name} names no baseline to compare its variants with")
    attempts = compare_attempts(sweep, cells, _find(list(folders)))
    if not any(attempt.record for attempt in attempts):
        raise UsageError(f"no finished run of the sweep {name} in {', '.join(map(str, folders))}")
    text = render_study(name, sweep, attempts)
    with writing_to(out, "--out FOLDER"):
        out.mkdir(parents=True, exist_ok=True)
        return write_atomically(out / f"{name}.md", text)


def compare_attempts(sweep: Sweep, cells: Sequence[Planned], found: Sequence[Source]) -> list[Attempt]:
    """Each cell's record beside the baseline's of the same model, category and seed."""
    matched = [_source_of(cell, found) for cell in cells]
    baselines = {
        _group(sweep, cell): own for cell, own in zip(cells, matched, strict=True) if cell.variant == sweep.baseline
    }
    attempts = []
    for cell, own in zip(cells, matched, strict=True):
        base = baselines.get(_group(sweep, cell))
        if own is None or base is None or cell.variant == sweep.baseline:
            attempts.append(Attempt(cell, own.record if own else None, _images_of(own) if own else 0))
            continue
        records, shared = (base.record, own.record), _shared(base, own)
        differences = metric_differences(records, shared, TRACKS[own.record.track].study)
        attempts.append(Attempt(cell, own.record, len(shared), differences))
    return attempts


def render_study(name: str, sweep: Sweep, attempts: Sequence[Attempt]) -> str:
    """The attempts as Markdown tables, the baseline first."""
    compared = sum(attempt.differences is not None for attempt in attempts)
    tracks = {attempt.record.track for attempt in attempts if attempt.record}
    unseen = ", each in a fold that had not seen it" if tracks == {"supervised"} else ""
    lines = [
        f"# {markdown(name)}\n",
        f"Each attempt changes the baseline in what its name says. After - before with the 95 % interval of a paired "
        f"bootstrap over the images that both predicted{unseen}. Of {compared} "
        f"comparisons about {compared * 0.05:.0f} may exceed chance by chance; seeds and other training images are not "
        "in the intervals. All choices were made on these images.\n",
    ]
    for group in dict.fromkeys(_group(sweep, attempt.planned) for attempt in attempts):
        model, category, seed = group
        lines.append(f"## {markdown(f'{model} on {category}' if model else category)}, seed {seed}\n")
        lines += _table(sweep, [a for a in attempts if _group(sweep, a.planned) == group])
    return "\n".join(lines)


def _table(sweep: Sweep, attempts: Sequence[Attempt]) -> list[str]:
    """The table of the attempts of one model on one category with one seed."""
    records = [attempt.record for attempt in attempts if attempt.record]
    track = records[0].track if records else attempts[0].planned.config.model.track
    shown = TRACKS[track].study
    first = next(iter(shown))
    titles = ["attempt", f"{shown[first]} (95 %)", *(f"{title}, after - before" for title in shown.values())]
    lines = [
        f"| {' | '.join([*titles, f'verdict on {shown[first]}', 'images', COSTS['fit_seconds'].title, 'run'])} |",
        f"|---|---|{'---|' * len(shown)}---|---:|---:|---|",
    ]
    lines += [_line(attempt, sweep.baseline, list(shown)) for attempt in attempts]
    empty = " |" * (len(shown) + 4)
    lines += [
        f"| {markdown(variant)} | not run here: {sentence(why)} |{empty}" for variant, why in sweep.not_run.items()
    ]
    machines = sorted({machine(record) for record in records})
    return [*lines, f"\nOn {'; '.join(map(markdown, machines))}.\n"]


def _line(attempt: Attempt, baseline: str | None, shown: Sequence[str]) -> str:
    record, name = attempt.record, attempt.planned.variant
    if record is None:
        return f"| {markdown(name)} | not run yet |{' |' * (len(shown) + 4)}"
    value, interval = record.metrics.get(shown[0]), record.intervals.get(shown[0])
    figure = "-" if value is None else f"{value:.3f}"
    cells = [f"{figure} ({interval[0]:.3f} to {interval[1]:.3f})" if value is not None and interval else figure]
    if attempt.differences is None:
        cells += ["-"] * len(shown) + ["baseline" if name == baseline else "no baseline yet"]
    else:
        cells += [_difference(attempt.differences.get(metric)) for metric in shown]
        cells.append(_verdict(attempt.differences.get(shown[0])))
    seconds = f"{record.cost.fit_seconds:.0f}" if record.cost else "-"
    return f"| {' | '.join([markdown(name), *cells, str(attempt.images), seconds, f'`{record.fingerprint}`'])} |"


def _difference(found: Difference | None) -> str:
    if found is None or math.isnan(found.value):
        return "-"
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _verdict(difference: Difference | None) -> str:
    if difference is None or math.isnan(difference.value):
        return "not defined"
    if not difference.larger_than_chance:
        return "within chance"
    return "**better**" if difference.value > 0 else "**worse**"


def _find(folders: Sequence[Path]) -> list[Source]:
    """The finished records; prints a line for each record that is left out."""
    collection = collect(folders)
    for line in [*collection.problems, *collection.notes]:
        say(f"bench: {line}")
    return collection.sources


def _source_of(cell: Planned, found: Sequence[Source]) -> Source | None:
    """The record with the settings of the cell, from any machine; comparing weights is left to the table's reader."""
    matching = [source for source in found if _is_of(source.record, cell)]
    if len(matching) > 1:
        names = ", ".join(source.record.fingerprint for source in matching)
        raise UsageError(
            f"several runs of '{cell.title}' with other data or weights ({names}); name one folder of them"
        )
    return matching[0] if matching else None


def _is_of(record: Record, cell: Planned) -> bool:
    """Whether all settings agree; a setting that is newer than the record counts as its preset's value."""
    ran, wanted = _decisive(record.config), _decisive(cell.config.as_dict())
    newer = wanted.keys() - ran.keys()
    agree = all(wanted.get(key, key) == value for key, value in ran.items())
    return agree and not newer & cell.config.overrides.keys()


def _decisive(config: dict[str, Any]) -> dict[str, Any]:
    settings = {
        key: value for key, value in flatten(config).items() if makes_method(key) or key in ("seed", "category")
    }
    return settings | {key: present_path(settings[key]) for key in settings if key.endswith(".class_path")}


def _group(sweep: Sweep, cell: Planned) -> tuple[str, str, int]:
    """Model, category and seed, which an attempt shares with its baseline; '' for the only model of a sweep."""
    model = cell.config.model.name if len(sweep.models) > 1 else ""
    return model, cell.config.category, cell.config.settings["seed"]


def _images_of(source: Source) -> int:
    """How many test images a run predicted; by its record where its predictions are gone."""
    found = read_predictions(source.folder)
    if found is not None:
        return len(found)
    data = source.record.data
    return sum(data.classes.values() if data.classes else (n for key, n in data.counts.items() if key[:5] == "test/"))


def _predictions(source: Source) -> Predictions:
    found = read_predictions(source.folder)
    if found is None:
        raise UsageError(f"{source.folder} has no {PREDICTIONS}; run it again with --force")
    return found


def _shared(before: Source, after: Source) -> Pair:
    """The images that both predicted."""
    shared = pair(_predictions(before), _predictions(after))
    if not len(shared):
        raise UsageError(f"{before.folder} and {after.folder} predicted no image in common")
    classes = shared_classes((before.record, after.record))
    return shared.by_path(classes) if classes else shared
