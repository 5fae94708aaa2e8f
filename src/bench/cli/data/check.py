"""`bench data check`: name each deviation from the published dataset."""

import json
from pathlib import Path

from bench.cli.command import Known, command, option
from bench.cli.completion import FILE, PUBLISHED
from bench.cli.options import root_option
from bench.console import say, tell
from bench.data.category_folders import ALL
from bench.errors import RunError, UsageError, unknown


@command(
    "Compare the images with MVTec AD as it was published: counts, masks, sizes, modes, and digests where known. "
    "Status 0 where nothing deviates, else 1.",
    option("--category", type=PUBLISHED, metavar="NAME", default=ALL, help="one of the 15 categories (default: all)"),
    root_option(),
    option("--archive", type=FILE, metavar="FILE", help="compare an archive with the published digests instead"),
    option("--json", is_flag=True, help="print as JSON"),
)
def run(known: Known) -> int:
    """Print each deviation in a line; status 1 where there is one."""
    found = _of_archive(known.archive) if known.archive else _of_categories(known.root, known.category)
    if known.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for name, lines in found.items():
            for line in lines or ["as published"]:
                tell(f"{name}: {line}")
    count = sum(map(len, found.values()))
    if count:
        raise RunError(f"{count} deviation{'' if count == 1 else 's'} from MVTec AD as it was published")
    return 0


def _of_categories(typed_root: str | None, category: str) -> dict[str, list[str]]:
    from bench.data.category_folders import named_root
    from bench.data.check_official import deviations, image_files
    from bench.data.datasets.mvtec_ad_facts import mvtec_published
    from bench.data.digests import DIGESTS
    from bench.data.progress_bar import progress

    published = mvtec_published()
    if category != ALL and category not in published:
        raise unknown("category of MVTec AD", category, [*published, ALL])
    root = named_root(typed_root)
    if not root.is_dir():
        raise UsageError(f"no data folder at {root}; name the one that holds the categories: --data.root or BENCH_DATA")
    names = list(published) if category == ALL else [category]
    found = {}
    for name in names:
        with progress(f"reading {name}", len(image_files(root / name)), "files") as advance:
            found[name] = deviations(root / name, published[name], seen_one=advance)
    without = [name for name in names if (root / name).is_dir() and not (root / name / DIGESTS).is_file()]
    if without:
        say(f"bench: no {DIGESTS} in {', '.join(without)}: contents compared by counts, sizes and modes alone")
    return found


def _of_archive(archive: Path) -> dict[str, list[str]]:
    from bench.data.digests import file_sha256
    from bench.data.download.archives import archive_of

    if not archive.is_file():
        raise UsageError(f"no file {archive}")
    digest = file_sha256(archive)
    official = archive_of(digest)
    title = f"{archive} ({official.file})" if official else str(archive)
    return {title: [] if official else [f"SHA-256 {digest} is that of no archive of MVTec AD"]}
