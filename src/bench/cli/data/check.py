"""`bench data check`: name each deviation from the published dataset."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cli.command import Known, command, option
from bench.cli.completion import FILE, PUBLISHED
from bench.cli.options import data_option, root_option
from bench.config.presets import DEFAULT_DATA, Preset, preset_names, read_preset
from bench.console import is_quiet, say, tell
from bench.data.category_folders import ALL
from bench.errors import RunError, UsageError, unknown


@command(
    "Compare the images with the dataset as it was published: MVTec AD by counts, masks, sizes, modes, and digests "
    "where known; others by the counts of a source, each file being read. Status 0 where nothing deviates, else 1.",
    option("--category", type=PUBLISHED, metavar="NAME", default=ALL, help="one of the categories (default: all)"),
    data_option(),
    root_option(),
    option("--archive", type=FILE, metavar="FILE", help="compare an archive with MVTec's published digests instead"),
    option("--json", is_flag=True, help="print as JSON"),
)
def run(known: Known) -> int:
    """Print each deviation in a line; status 1 where there is one."""
    preset = read_preset("data", DEFAULT_DATA if known.data is None else known.data)
    title, uncounted = "MVTec AD", frozenset[str]()
    if known.archive:
        if known.data not in (None, DEFAULT_DATA):
            raise UsageError(f"only archives of {title} have published digests; leave out --archive or --data")
        found = _of_archive(known.archive)
    elif preset.name == DEFAULT_DATA:
        found = _of_categories(known.root, known.category)
    else:
        published = _published(preset)
        title = published["dataset"]
        uncounted = frozenset(name for name, entry in published["categories"].items() if "train_good" not in entry)
        found = _by_counts(preset, published, known.root, known.category)
    if known.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for name, lines in found.items():
            for line in lines or ["read; no source counts its images" if name in uncounted else "as published"]:
                tell(f"{name}: {line}")
    count = sum(map(len, found.values()))
    if count:
        raise RunError(f"{count} deviation{'' if count == 1 else 's'} from {title} as it was published")
    return 0


def _published(preset: Preset) -> Mapping[str, Any]:
    """What a dataset's makers published; a UsageError for a dataset of which nothing was, or is noted."""
    from bench.data.facts import facts_of_class

    if "page" not in (found := facts_of_class(preset.class_path)):
        others = [
            name for name in preset_names("data") if "page" in facts_of_class(read_preset("data", name).class_path)
        ]
        raise UsageError(
            f"nothing is noted of {preset.name} as it was published, unlike of {', '.join([DEFAULT_DATA, *others])}"
        )
    return found


def _by_counts(
    preset: Preset, published: Mapping[str, Any], typed_root: str | None, category: str
) -> dict[str, list[str]]:
    from bench.cli.early import check_images

    listed = published["categories"]
    if category != ALL and category not in listed:
        raise unknown(f"category of {published['dataset']}", category, [*listed, ALL])
    settings = dict(preset.settings.get("data", {})) | ({"root": typed_root} if typed_root else {})
    check_images(preset, category, settings)
    if not is_quiet():
        say(f"bench: reading {'all categories' if category == ALL else category} ({preset.name})")

    from bench.data.check_counts import count_deviations, total_deviations
    from bench.data.progress_bar import progress

    load = preset.load_class()
    found, read = {}, []
    for name in [*listed] if category == ALL else [category]:
        data = load(name, 0, "model", **settings)
        try:
            category_read = data.full_category
        except UsageError as error:
            found[name] = [str(error)]
            continue
        read.append(category_read)
        with progress(f"reading {name}", len(category_read.train) + len(category_read.test), "images") as advance:
            found[name] = count_deviations(category_read, advance)
    if category == ALL and len(read) == len(listed) and "total" in published:
        found["all categories"] = total_deviations(read, published["total"])
    return found


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
