"""`bench data describe`: print a category's statistics, or write them as a page and JSON, with a contact sheet."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.arguments import Parser
from bench.cli.category_options import add_data_options, chosen_categories
from bench.data.layout import ALL
from bench.writing import encode, write_together, writing_to

if TYPE_CHECKING:
    from bench.data.describe.description import Description
    from bench.data.layout import Category


def describe_parser() -> Parser:
    """The options of `bench data describe`."""
    parser = Parser(
        prog="bench data describe",
        description="Tell what is in a category: classes and counts, sizes and modes, areas and regions of defects, "
        "imbalance, near-duplicates.",
    )
    add_data_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="write description.md, description.json and contact_sheet.png there; of several categories, each into a "
        "folder of its name",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    return parser


def run(typed: list[str]) -> int:
    """tell what is in a category: classes, sizes, defects, near-duplicates, a contact sheet"""
    known = describe_parser().parse_all(typed)
    chosen = chosen_categories(known)

    from bench.data.describe.measure import describe_category
    from bench.data.describe.page import to_json, to_markdown
    from bench.data.progress_bar import progress

    pages = []
    for dataset, data in chosen:
        category = data.whole
        with progress(f"reading {category.name}", len(category.train) + len(category.test), "images") as advance:
            description = describe_category(category, dataset, advance, is_synthetic=data.is_synthetic)
        if known.out:
            folder = known.out / category.name if known.category == ALL else known.out
            for path in _write(category, description, folder):
                print(path, file=sys.stderr if known.json else sys.stdout)
        if known.json:
            pages.append(to_json(description))
        elif not known.out:
            print(to_markdown(description, with_sheet=False))
    if known.json:
        print(pages[0] if known.category != ALL else "[" + ",\n".join(pages) + "]")
    return 0


def _write(category: "Category", description: "Description", folder: Path) -> list[Path]:
    from bench.data.describe.contact_sheet import draw_contact_sheet
    from bench.data.describe.page import SHEET, to_json, to_markdown

    contents: dict[Path, str | bytes] = {
        folder / "description.md": to_markdown(description),
        folder / "description.json": to_json(description) + "\n",
        folder / SHEET: encode(draw_contact_sheet(category, description), "PNG"),
    }
    with writing_to(folder, "--out FOLDER"):
        folder.mkdir(parents=True, exist_ok=True)
        write_together(contents)
    return [*contents]
