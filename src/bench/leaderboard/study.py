"""A study: how each variant or method of a sweep differs from its baseline, and whether by more than chance."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.config.tracks import TRACKS
from bench.console import say
from bench.errors import UsageError
from bench.escaping import markdown, sentence
from bench.leaderboard.aggregate import summary
from bench.leaderboard.attempts import Attempt, Baseline, choose_baseline, compare_attempts, decisive
from bench.leaderboard.collect import Source, collect
from bench.leaderboard.text import SOME, machine, mean_and_std
from bench.metrics.bootstrap import Difference
from bench.metrics.catalogue import column_title
from bench.records.costs import COSTS
from bench.records.record import Record
from bench.sweep.plan import Planned, Sweep
from bench.writing import write_atomically, writing_to

_DIGITS = 3


def write_study(
    name: str, sweep: Sweep, cells: Sequence[Planned], folders: Iterable[Path], out: Path, baseline: str | None = None
) -> Path:
    """Write `<name>.md` from the records of the cells below `folders`; the same records give the same bytes."""
    try:
        chosen = choose_baseline(sweep, cells, baseline)
    except UsageError as error:
        raise UsageError(f"the sweep {name}: {error}") from None
    folders = list(folders)
    found = _find(folders)
    attempts = compare_attempts(chosen, cells, found)
    if not any(attempt.records for attempt in attempts):
        where = ", ".join(map(str, folders))
        raise UsageError(f"no finished run of the sweep {name} in {where}{_what_differs(cells, found)}")
    text = render_study(name, chosen, sweep.not_run, attempts)
    with writing_to(out, "--out FOLDER"):
        out.mkdir(parents=True, exist_ok=True)
        return write_atomically(out / f"{name}.md", text)


def render_study(name: str, baseline: Baseline, not_run: dict[str, str], attempts: Sequence[Attempt]) -> str:
    """The attempts as Markdown tables, a row an attempt; with several seeds, its figures are means over them."""
    compared = sum(attempt.differences is not None for attempt in attempts)
    said = {TRACKS[attempt.track].tested_on for attempt in attempts if attempt.records}
    tested_on = said.pop() if len(said) == 1 else ""
    seeds = sorted({seed for attempt in attempts for seed in attempt.planned})
    several = len(seeds) > 1
    pooled = (
        " With several seeds, an attempt and the baseline are paired seed by seed, the difference is the mean over the "
        "seeds that both have, and each resample draws the same images for all of them."
    )
    about = (
        f"Each method is compared with {markdown(baseline.name)}."
        if baseline.is_method
        else "Each attempt changes the baseline in what its name says."
    )
    lines = [
        f"# {markdown(name)}\n",
        f"{about} After - before with the 95 % interval of a paired "
        f"bootstrap over the images that both predicted{tested_on}.{pooled if several else ''} Of {compared} "
        f"comparisons about {compared * 0.05:.0f} may exceed chance by chance; {'other ' if several else ''}seeds and "
        "other training images are not in the intervals. All choices were made on these images.\n",
    ]
    for group in dict.fromkeys(attempt.group for attempt in attempts):
        of = f"seeds {_numbers(seeds)}" if several else f"seed {_numbers(seeds)}"
        lines.append(f"## {markdown(group.title)}, {of}\n")
        lines += _table([attempt for attempt in attempts if attempt.group == group], not_run, several=several)
    return "\n".join(lines)


def _table(attempts: Sequence[Attempt], not_run: dict[str, str], *, several: bool) -> list[str]:
    """The table of the attempts of one group."""
    track = TRACKS[attempts[0].track]
    shown = {name: column_title(name, track) for name in track.study}
    first, *_ = shown.values()
    titles = ["attempt", f"{first} (mean ± over seeds)" if several else f"{first} (95 %)"]
    titles += [f"{title}, after - before" for title in shown.values()] + [f"verdict on {first}"]
    titles += ["seeds"] if several else []
    titles += ["images", COSTS["fit_seconds"].title, "runs" if several else "run"]
    rule = f"|---|---|{'---|' * len(shown)}---|{'---|' * several}---:|---:|---|"
    lines = [f"| {' | '.join(titles)} |", rule]
    lines += [_line(attempt, list(shown), several=several) for attempt in attempts]
    empty = _empty(titles)
    lines += [f"| {markdown(name)} | not run here: {sentence(why)} |{empty}" for name, why in not_run.items()]
    machines = sorted({machine(record) for attempt in attempts for record in attempt.records.values()})
    remarks = [f"\n{text}" for text in _fewer_seeds(attempts)] if several else []
    return [*lines, *remarks, f"\nOn {'; '.join(map(markdown, machines))}.\n"]


def _empty(titles: Sequence[str]) -> str:
    return " |" * (len(titles) - 2)


def _line(attempt: Attempt, shown: Sequence[str], *, several: bool) -> str:
    records, name = list(attempt.records.values()), attempt.name
    if not records:
        return f"| {markdown(name)} | not run yet |{' |' * (len(shown) + 4 + several)}"
    cells = [_figure(records, shown[0], several=several)]
    if attempt.differences is None:
        cells += ["-"] * len(shown) + ["baseline" if attempt.is_baseline else "no baseline yet"]
    else:
        cells += [_difference(attempt.differences.get(metric)) for metric in shown]
        cells.append(_verdict(attempt.differences.get(shown[0])))
    if several:
        cells.append(_seeds(attempt))
    seconds = [record.cost.fit_seconds for record in records if record.cost]
    cells += [_span(attempt.images), f"{summary(seconds).mean:.0f}" if seconds else "-"]
    runs = ", ".join(f"`{record.fingerprint}`" for record in records)
    return f"| {' | '.join([markdown(name), *cells, runs])} |"


def _figure(records: Sequence[Record], metric: str, *, several: bool) -> str:
    """The figure with its interval; of several seeds, their mean and standard deviation."""
    values = [value for record in records if (value := record.metrics.get(metric)) is not None]
    if several:
        return mean_and_std(summary(values), _DIGITS) if len(values) == len(records) else "-"
    if not values:
        return "-"
    interval = records[0].intervals.get(metric)
    text = f"{values[0]:.{_DIGITS}f}"
    return f"{text} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else text


def _seeds(attempt: Attempt) -> str:
    """`3`, or `2 of 3 †` where some are missing from the attempt or from its baseline."""
    return f"{len(attempt.records)} of {len(attempt.planned)} {SOME}" if _lacks(attempt) else str(len(attempt.records))


def _lacks(attempt: Attempt) -> bool:
    """Whether it has fewer seeds than planned, or its difference has fewer than it has itself."""
    apart = attempt.differences is not None and len(attempt.seeds) < len(attempt.records)
    return len(attempt.records) < len(attempt.planned) or apart


def _fewer_seeds(attempts: Sequence[Attempt]) -> list[str]:
    """What the figures of attempts with fewer seeds are means over."""
    parts = []
    for attempt in attempts:
        if attempt.records and _lacks(attempt):
            text = f"{markdown(attempt.name)} has seeds {_numbers(attempt.records)}"
            if attempt.differences is not None and len(attempt.seeds) < len(attempt.records):
                text += f", its difference is over {_numbers(attempt.seeds)}"
            parts.append(text)
    return [
        f"{SOME} Not all seeds: {'; '.join(parts)}. Means over other seeds compare less well than differences."
    ] * bool(parts)


def _numbers(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))


def _span(counts: Sequence[int]) -> str:
    """`120`, or `118 to 120` where the seeds differ."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


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


def _what_differs(cells: Sequence[Planned], found: Sequence[Source]) -> str:
    """In which settings the nearest run differs from its cell, and how the cell is meant; '' without such a run."""
    nearest: dict[str, Any] | None = None
    for cell in cells:
        wanted = decisive(cell.config.as_dict())
        for source in found:
            ran = decisive(source.record.config)
            apart = {key: ran[key] for key in sorted(ran) if wanted.get(key, ran[key]) != ran[key]}
            same_cell = not {"model.name", "category", "seed"} & apart.keys()
            if same_cell and (nearest is None or len(apart) < len(nearest)):
                nearest = apart
    if not nearest:
        return ""
    words = " ".join(f"--{key} {json.dumps(value)}" for key, value in nearest.items() if not key.endswith(".name"))
    return f"; runs there differ in {', '.join(nearest)}: type the sweep's settings, {words}"
