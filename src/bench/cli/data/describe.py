"""`bench data describe`: tell what is in a category: classes, sizes, defects, near-duplicates, pictures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.categories import chosen_categories
from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import CATEGORY, FOLDER
from bench.cli.options import data_option, reading_options, root_option
from bench.console import say
from bench.data.category_folders import ALL
from bench.errors import UsageError
from bench.writing import write_together, writing_to

if TYPE_CHECKING:
    from bench.data.datamodule import DefectData
    from bench.data.describe.description import Description


@command(
    "Tell what is in a category: classes and counts, sizes and modes, areas and regions of defects, imbalance, "
    "near-duplicates.",
    Argument("word", required=False, type=CATEGORY, metavar="[CATEGORY]"),
    option("--category", type=CATEGORY, metavar="NAME", help="a folder below the data root, or all of them: all"),
    data_option(),
    root_option(),
    *reading_options(),
    option(
        "--out",
        type=FOLDER,
        metavar="FOLDER",
        help="write description.md, description.json and description.html, a page with pictures, there; of several "
        "categories, each into a folder of its name",
    ),
    option("--json", is_flag=True, help="print as JSON"),
)
def run(known: Known) -> int:
    """Print a category's statistics, or write them as Markdown, JSON and a page with pictures."""
    if known.word is not None:
        if known.category not in (None, known.word):
            raise UsageError(f"'{known.word}' and --category {known.category} name two categories; leave out one")
        known.category = known.word
    chosen = chosen_categories(known, "describing")

    from bench.data.describe.measure import describe_category
    from bench.data.describe.page import summary, to_json, to_markdown
    from bench.data.progress_bar import progress

    pages = []
    for dataset, data in chosen:
        category = data.full_category
        with progress(f"reading {category.name}", len(category.train) + len(category.test), "images") as advance:
            description = describe_category(category, dataset, advance, is_synthetic=data.is_synthetic)
        if known.out:
            folder = known.out / category.name if known.category == ALL else known.out
            paths = _write(data, description, folder)
            for line in summary(description):
                say(f"{category.name}: {line}")
            for path in paths:
                print(path, file=sys.stderr if known.json else sys.stdout)
        if known.json:
            pages.append(to_json(description))
        elif not known.out:
            print(to_markdown(description))
    if known.json:
        print(pages[0] if known.category != ALL else "[" + ",\n".join(pages) + "]")
    return 0


def _write(data: "DefectData", description: "Description", folder: Path) -> list[Path]:
    from bench.data.describe.page import to_json, to_markdown
    from bench.views.dataset_page import render_dataset_page

    contents: dict[Path, str | bytes] = {
        folder / "description.md": to_markdown(description),
        folder / "description.json": to_json(description) + "\n",
        folder / "description.html": render_dataset_page(data.full_category, description, data.notice),
    }
    with writing_to(folder, "--out FOLDER"):
        folder.mkdir(parents=True, exist_ok=True)
        write_together(contents)
    return [*contents]
