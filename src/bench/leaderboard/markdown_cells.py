"""The cells of a leaderboard in Markdown."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from bench.escaping import Markdown, markdown
from bench.leaderboard.aggregate import Row, Summary
from bench.leaderboard.collect import Source
from bench.records.published import Figure
from bench.records.published_comparison import describe_figure
from bench.records.record import Record

MIXED = "‡"  # beside the seeds of a row whose runs were computed on different devices


def figure(found: Summary | None, digits: int = 4) -> str:
    """`0.7880 ± 0.0260`."""
    if found is None:
        return "-"
    spread = "" if found.spread is None else f" ± {found.spread:.{digits}f}"
    return f"{found.mean:.{digits}f}{spread}"


def published(found: Figure | None, own: Summary | None, *, comparable: bool) -> str:
    """The published figure, with the difference where the protocol is the same."""
    if found is None:
        return "-"
    return describe_figure(found, own.mean if own else None, comparable=comparable)


def seeds(row: Row, out: Path) -> Markdown:
    """The seeds, each leading to the folder of its record where that lies below the tables (`out`, resolved)."""
    cells = []
    for source in row.sources:
        link, seed = link_to(source, out), source.record.seed
        cells.append(f"[{seed}]({link})" if link else str(seed))
    return Markdown(" ".join([*cells, *([MIXED] if len(row.devices) > 1 else [])]))


def link_to(source: Source, out: Path) -> str | None:
    """The relative path of the record's folder, None where it does not lie below `out`, resolved."""
    folder, start = source.folder.as_posix(), f"{out.as_posix()}/"
    return quote(folder.removeprefix(start)) if folder.startswith(start) else None


def fingerprints(rows: Iterable[Row], out: Path) -> str:
    """The records that no link leads to, by their fingerprints; empty where there are none."""
    lines = []
    for row in rows:
        unlinked = [source.record for source in row.sources if link_to(source, out) is None]
        if unlinked:
            names = ", ".join(f"seed {record.seed} `{record.fingerprint}`" for record in unlinked)
            lines.append(f"{markdown(row.method.label)}: {names}")
    return f"<details><summary>Records</summary>\n\n{'; '.join(lines)}.\n\n</details>\n" if lines else ""


def machine(record: Record) -> str:
    """The GPU, or the processor with the threads it ran."""
    environment = record.environment
    threads = environment.get("threads")
    gpu = environment.get("gpu") if record.device != "cpu" else None  # bench 0.1 named one that only lay there
    return str(gpu or f"{environment.get('processor')}, {threads} thread{'s' * (threads != 1)}")
