"""A study: what each variant of a sweep changed against its baseline, and whether that is more than chance."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.decisive import makes_method
from bench.config.moved_classes import present_path
from bench.config.settings import flatten
from bench.console import say
from bench.errors import UsageError
from bench.escaping import markdown, sentence
from bench.leaderboard.collect import collect
from bench.leaderboard.markdown_cells import machine
from bench.metrics.bootstrap import CLASSIFICATION_STATISTICS, Difference, paired_difference
from bench.records.predictions import parse_predictions
from bench.records.record import PREDICTIONS, Record
from bench.sweep.plan import Planned, Sweep
from bench.writing import write_atomically, writing_to

_SHOWN = {"accuracy": "accuracy", "macro_f1": "macro-F1", "image_auroc": "AUROC good/defect"}


@dataclass(frozen=True)
class Attempt:
    """One variant on one category with one seed: its record, and its differences from the baseline's."""

    planned: Planned
    record: Record | None
    images: int = 0  # that both predicted
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


def compare_attempts(sweep: Sweep, cells: Sequence[Planned], found: Sequence[tuple[Record, Path]]) -> list[Attempt]:
    """Each cell's record beside that of the baseline on the same category with the same seed."""
    matched = [_record_of(cell, found) for cell in cells]
    attempts = []
    for cell, own in zip(cells, matched, strict=True):
        place = (cell.config.category, cell.config.settings["seed"])
        others = zip(cells, matched, strict=True)
        base = next((m for c, m in others if c.variant == sweep.baseline and _place(c) == place), None)
        if own is None or base is None or cell.variant == sweep.baseline:
            attempts.append(Attempt(cell, own[0] if own else None))
            continue
        before, after, targets = _shared(base[1], own[1], own[0])
        differences = {
            name: paired_difference(before, after, CLASSIFICATION_STATISTICS[name], targets) for name in _SHOWN
        }
        attempts.append(Attempt(cell, own[0], len(targets), differences))
    return attempts


def render_study(name: str, sweep: Sweep, attempts: Sequence[Attempt]) -> str:
    """The attempts as a Markdown table, the baseline first."""
    compared = sum(attempt.differences is not None for attempt in attempts)
    lines = [
        f"# {markdown(name)}\n",
        f"Each attempt changes the baseline in what its name says. After - before with the 95 % interval of a paired "
        f"bootstrap over the images that both predicted, each in a fold that had not seen it. Of {compared} "
        f"comparisons about {compared * 0.05:.0f} may exceed chance by chance; seeds and other training images are not "
        "in the intervals. All choices were made on these images.\n",
    ]
    for category, seed in dict.fromkeys(_place(attempt.planned) for attempt in attempts):
        lines.append(f"## {markdown(category)}, seed {seed}\n")
        titles = ["attempt", "accuracy (95 %)", *(f"{title}, after - before" for title in _SHOWN.values())]
        lines.append(f"| {' | '.join([*titles, 'verdict on accuracy', 'images', 'fit (s)', 'run'])} |")
        lines.append(f"|---|---|{'---|' * len(_SHOWN)}---|---:|---:|---|")
        lines += [_line(a, sweep) for a in attempts if _place(a.planned) == (category, seed)]
        lines += [
            f"| {markdown(variant)} | not run here: {sentence(why)} |{' |' * (len(_SHOWN) + 4)}"
            for variant, why in sweep.not_run.items()
        ]
        machines = sorted({machine(a.record) for a in attempts if a.record})
        lines.append(f"\nOn {'; '.join(map(markdown, machines))}.\n")
    return "\n".join(lines)


def _line(attempt: Attempt, sweep: Sweep) -> str:
    record, name = attempt.record, attempt.planned.variant
    if record is None:
        return f"| {markdown(name)} | not run yet |{' |' * (len(_SHOWN) + 4)}"
    interval = record.intervals.get("accuracy")
    accuracy = record.metrics.get("accuracy")
    cells = [
        "-"
        if accuracy is None
        else f"{accuracy:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
    ]
    if attempt.differences is None:
        cells += ["-"] * len(_SHOWN) + ["baseline" if name == sweep.baseline else "no baseline yet"]
        images = sum((record.data.classes or {}).values())
    else:
        cells += [f"{d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})" for d in attempt.differences.values()]
        cells.append(_verdict(attempt.differences["accuracy"]))
        images = attempt.images
    seconds = f"{record.cost.fit_seconds:.0f}" if record.cost else "-"
    return f"| {' | '.join([markdown(name), *cells, str(images), seconds, f'`{record.fingerprint}`'])} |"


def _verdict(difference: Difference) -> str:
    if not difference.larger_than_chance:
        return "within chance"
    return "**better**" if difference.value > 0 else "**worse**"


def _find(folders: Sequence[Path]) -> list[tuple[Record, Path]]:
    """Finished records of classifiers with the folder that each lies in; a line for each that is left out."""
    collection = collect(folders)
    for line in [*collection.problems, *collection.notes]:
        say(f"bench: {line}")
    return [(s.record, s.folder) for s in collection.sources if s.record.track == "supervised"]


def _record_of(cell: Planned, found: Sequence[tuple[Record, Path]]) -> tuple[Record, Path] | None:
    """The record whose settings are the cell's, wherever it ran; weights are compared by the table's reader."""
    matching = [(record, folder) for record, folder in found if _is_of(record, cell)]
    if len(matching) > 1:
        names = ", ".join(record.fingerprint for record, _ in matching)
        raise UsageError(
            f"several runs of '{cell.title}' with other data or weights ({names}); name one folder of them"
        )
    return matching[0] if matching else None


def _is_of(record: Record, cell: Planned) -> bool:
    """Whether all settings agree; one that did not exist when the record was made had its preset's value."""
    ran, wanted = _decisive(record.config), _decisive(cell.config.as_dict())
    newer = wanted.keys() - ran.keys()
    agree = all(wanted.get(key, key) == value for key, value in ran.items())
    return agree and not newer & cell.config.overrides.keys()


def _decisive(config: dict[str, Any]) -> dict[str, Any]:
    settings = {
        key: value for key, value in flatten(config).items() if makes_method(key) or key in ("seed", "category")
    }
    return settings | {key: present_path(settings[key]) for key in settings if key.endswith(".class_path")}


def _place(cell: Planned) -> tuple[str, int]:
    return cell.config.category, cell.config.settings["seed"]


def _shared(before: Path, after: Path, record: Record) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Logits of both and the true classes of the images that both predicted, found again by their content."""
    first, second = _read_logits(before), _read_logits(after)
    both = sorted(first.keys() & second.keys())
    if not both:
        raise UsageError(f"{before} and {after} predicted no image in common")
    classes = list(record.data.classes or {})
    if missing := {second[key][0] for key in both} - set(classes):
        raise UsageError(f"{after} predicted images of the class '{min(missing)}', which its record has not")
    targets = np.array([classes.index(second[key][0]) for key in both])
    return np.array([first[key][1] for key in both]), np.array([second[key][1] for key in both]), targets


def _read_logits(folder: Path) -> dict[tuple[str, str], tuple[str, tuple[float, ...]]]:
    file = folder / PREDICTIONS
    if not file.is_file():
        raise UsageError(f"{folder} has no {PREDICTIONS}; run it again with --force")
    rows = parse_predictions(file.read_bytes(), file)
    return {(row.path, row.sha256): (row.defect_type, row.logits) for row in rows}
