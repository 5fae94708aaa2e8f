"""`bench data import`: make a category of photos as they are: good and bad ones, in folders or by a list."""

import json
import os
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FILE, FOLDER, split
from bench.cli.early import check_place
from bench.cli.options import quiet_option
from bench.config.plain_names import check_name
from bench.console import say, tell
from bench.data.category_folders import ALL, GOOD, name_of_root
from bench.errors import UsageError, counted
from bench.writing import writing_to

if TYPE_CHECKING:  # these import numpy and scipy, which help does not need
    from bench.data.describe.description import Description
    from bench.data.importing.category import Planned, Request
    from bench.data.importing.words import Words
    from bench.data.importing.writing import How

OUT = Path("products")
_METHOD = "padim_mobilenetv2"  # of the printed line: it learns from few images in seconds, and shows where defects lie
_RECUR = 4  # photos of a size, on average, from which on sizes are those of cameras and not of single photos
_ROLES = {
    "fit": "to learn from",
    "calibration": "to set a threshold on; 'bench fit' learns from them as well, 'bench accept' does not",
    "test": "to check on; nothing is learned from them",
}
_WAYS: "dict[How, str]" = {
    "hard link": "{} linked",
    "symbolic link": "{} as symbolic links",
    "copy": "{} copied",
}
_EXAMPLES = """Examples:
  bench data import ~/photos --name tablet           photos in folders good and bad, ok and ng, pass and fail
  bench data import ~/photos --name tablet --labels list.csv
  bench data import ~/photos --name tablet --bad scratch,dent    folders of other names
"""


@command(
    "Make a category of photos as they are. Folders called good and bad, ok and ng, pass and fail say what they show; "
    "folders below bad are types of defects. Or a CSV of path and label says it, or all photos are good.",
    Argument("photos", type=FOLDER, metavar="PHOTOS", about="folder of the photos"),
    option("--name", metavar="NAME", help="of what the photos show, such as tablet: the category's name"),
    option("--out", type=FOLDER, metavar="FOLDER", help=f"folder of all your categories (default: {OUT})"),
    option("--labels", type=FILE, metavar="FILE", help="CSV of path and label (default: one that lies in PHOTOS)"),
    option("--good", type=str, metavar="NAMES", help="more names of folders, or labels, that mean good"),
    option("--bad", type=str, metavar="NAMES", help="more of them that mean bad, each a type of defect"),
    option(
        "--masks", type=FILE, metavar="PATH", help="folder of masks (PNG, LabelMe), or a COCO file (default: a search)"
    ),
    option("--calibration-share", type=float, metavar="S", default=0.25, help="of the good parts (default: 0.25)"),
    option("--test-share", type=float, metavar="S", default=0.25, help="of the good parts (default: 0.25)"),
    option("--seed", type=int, metavar="N", default=0, help="deals the good photos into these roles (default: 0)"),
    option("--each-its-own", is_flag=True, help="photos that look alike show different parts: deal them one by one"),
    option("--copy", is_flag=True, help="copy photos (default: hard links, which take no room)"),
    option("--symlink", is_flag=True, help="symbolic links to the photos"),
    option("--data.mask_threshold", "mask_threshold", type=int, metavar="N", help="least grey value of a defect"),
    option("--data.bits", "bits", type=int, metavar="N", help="that deep grey photos use, 9 to 16"),
    option("--json", is_flag=True, help="print as JSON"),
    quiet_option(),
    epilog=_EXAMPLES,
)
def run(known: Known) -> int:
    """Read the photos, write their category, print what is in it and what to type next."""
    target = _check(known)
    words = _words(known)

    from bench.runs.telling import telling

    with telling(f"importing {known.name}", progress=True):
        from bench.data.importing.category import planned
        from bench.data.importing.writing import write_category

        with planned(_request(known, words)) as plan:
            how: How = "copy" if known.copy else "symbolic link" if known.symlink else "hard link"
            placed = write_category(plan, target, how)
    for line in plan.remarks:
        say(f"bench: {line}")
    if known.json:
        print(json.dumps(_as_json(known, plan, target, placed), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _tell(known, plan, target, placed)
    return 0


def _check(known: Known) -> Path:
    """The folder to write; a UsageError, before any photo is opened, where that cannot be."""
    if not known.name:
        raise UsageError("no name; say what the photos show: --name tablet")
    if check_name("category", known.name) == ALL or known.name.startswith("-"):
        raise UsageError(f"'{known.name}' cannot name a category; give it another name")
    known.out = known.out or OUT
    name_of_root(known.out)
    target: Path = known.out / known.name
    if os.path.lexists(target):
        raise UsageError(
            f"{target} is there already; give another --name or --out, or remove it: the photos that it was made of "
            "stay where they are"
        )
    check_place(known.out, "--out FOLDER")
    for folder in (known.photos, known.masks):
        if folder and folder.is_dir() and target.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{target} would lie in {folder}, among the photos; name a folder elsewhere: --out FOLDER")
    if known.copy and known.symlink:
        raise UsageError("--copy and --symlink are two ways; leave out one")
    if known.seed < 0:
        raise UsageError(f"--seed {known.seed} is negative")
    nearest = next(folder for folder in (known.out, *known.out.absolute().parents) if folder.exists())
    with writing_to(nearest, "--out FOLDER"), NamedTemporaryFile(dir=nearest, suffix=".partial"):
        pass  # a disk that refuses is told before the photos are read
    return target


def _words(known: Known) -> "Words":
    from bench.data.importing.words import Words, same

    good, bad = split(known.good or ""), split(known.bad or "")
    for option_, names, other in (("--good", good, "bad"), ("--bad", bad, "good")):
        if wrong := [name for name in names if Words().meaning(name) == other]:
            raise UsageError(f"{option_} {wrong[0]}: that word means {other}; rename the folder or the label")
    if both := {same(name) for name in good} & {same(name) for name in bad}:
        raise UsageError(f"'{min(both)}' stands in --good and in --bad; leave it out of one")
    return Words(tuple(good), tuple(bad))


def _request(known: Known, words: "Words") -> "Request":
    from bench.data.check_settings import check_reading
    from bench.data.images import BITS
    from bench.data.importing.category import Request
    from bench.data.importing.splitting import check_shares
    from bench.data.layout import Reading

    bits = BITS if known.bits is None else known.bits
    check_reading(bits, known.mask_threshold)
    return Request(
        photos=known.photos,
        name=known.name,
        dataset=name_of_root(known.out),
        shares=check_shares(known.calibration_share, known.test_share),
        words=words,
        labels=known.labels,
        masks=known.masks,
        seed=known.seed,
        each_its_own=known.each_its_own,
        reading=Reading(bits, "optional", known.mask_threshold),
    )


def _next(known: Known, plan: "Planned") -> str:
    """The command that works on these photos as it stands."""
    words = ["bench", "fit", _METHOD, known.name, "--data", "folder", "--data.root", str(known.out)]
    if 0 < len(plan.masks) < plan.bad:
        words += ["--data.masks", "optional"]
    if known.bits is not None:
        words += ["--data.bits", str(known.bits)]
    return shlex.join(words)


def _accept(known: Known, plan: "Planned") -> str:
    """The command that decides on a method and a threshold; '' where no photo is left to set or check one on."""
    roles = {role for (role, label), number in plan.counts.items() if number and label == GOOD}
    if not {"calibration", "test"} <= roles:
        return ""
    words = ["bench", "accept", known.name]
    words += [] if known.out == OUT else ["--data.root", str(known.out)]
    words += [] if known.bits is None else ["--data.bits", str(known.bits)]
    return shlex.join(words)


def _tell(known: Known, plan: "Planned", target: Path, placed: "Counter[How]") -> None:
    from bench.data.importing.roles import SPLIT

    found = plan.description
    labels = Counter(photo.label for _, photo in plan.photos)
    tell(f"{counted(len(plan.photos), 'photo')} in {known.photos}: {_by_label(labels)}")
    tell(f"sizes: {'; '.join(f'{one.name} {_frequencies(one.sizes)}' for one in found.classes if one.images)}")
    tell(f"masks: {len(plan.masks)} of {counted(plan.bad, 'bad photo')}" if plan.bad else "masks: none")
    tell(f"near-duplicates: {_near_duplicates(plan)}")
    if found.giveaways:
        tell(f"giveaways: {_giveaways(found)}")
    tell("")
    for role, about in _ROLES.items():
        own = Counter({label: number for (each, label), number in plan.counts.items() if each == role})
        tell(f"{role:<12}{sum(own.values()):>5}  {about}{f': {_by_label(own)}' if own else ''}")
    tell("")
    ways = " and ".join(_WAYS[way].format(counted(number, "photo")) for way, number in placed.items())
    tell(f"written: {target}, {ways}; {SPLIT} there has the role of each photo")
    if decide := _accept(known, plan):
        tell(f"next, which method with which threshold: {decide}")
        tell(f"or a single fit: {_next(known, plan)}")
    else:
        tell(f"next: {_next(known, plan)}")


def _near_duplicates(plan: "Planned") -> str:
    found = plan.description.near_duplicates
    if not found.count:
        return "none, no two photos show the same picture"
    first = found.pairs[0]
    pairs = f"{counted(found.count, 'pair')} of photos of the same picture, such as {first.first} and {first.second}"
    return f"{pairs}; {counted(plan.groups_of_good, 'different good photo')}"


def _giveaways(found: "Description") -> str:
    """What tells bad photos from good ones without a look at the defect, in words; the rule is that of describe."""
    from bench.data.describe.giveaways import ALL_OF_THEM
    from bench.metrics.catalogue import title_of

    single = [each for each in found.giveaways if each.is_named and each.name != ALL_OF_THEM]
    told = single or [each for each in found.giveaways if each.is_named]
    named = [f"{each.name} ({title_of('image_auroc')} {each.auroc:.3f})" for each in told]
    named += ["the size in pixels"] if _sizes_tell(found) else []
    if not named:
        return "none beyond chance in brightness, contrast, border and file size of the photos to check on"
    tells = "each tell" if len(named) > 1 else "alone tells"
    return f"{', '.join(named)} {tells} bad photos from good ones; a method may see that instead of the defects"


def _sizes_tell(found: "Description") -> bool:
    """Whether no bad photo has the size of a good one, and sizes recur, so that this is no chance."""
    good, bad = Counter[str](), Counter[str]()
    for one in found.classes:
        (good if one.name == GOOD else bad).update(one.sizes)
    recur = all(own.total() >= _RECUR * len(own) > 0 for own in (good, bad))
    return recur and not good.keys() & bad.keys()


def _by_label(labels: "Counter[str]") -> str:
    """`32 good, 6 scratch, 4 dent`."""
    ordered = sorted(labels.items(), key=lambda item: (item[0] != GOOD, item[0]))
    return ", ".join(f"{number} {label}" for label, number in ordered)


def _frequencies(sizes: Any) -> str:
    """The commonest sizes, and how many others there are."""
    common = list(sizes.items())
    shown = ", ".join(size if len(common) == 1 else f"{size} ({number})" for size, number in common[:3])
    return f"{shown} and {counted(len(common) - 3, 'other size')}" if len(common) > 3 else shown


def _as_json(known: Known, plan: "Planned", target: Path, placed: "Counter[How]") -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = {role: {} for role in _ROLES}
    for (role, label), number in sorted(plan.counts.items()):
        counts[role][label] = number
    return {
        "category": known.name,
        "root": str(known.out),
        "folder": str(target),
        "seed": known.seed,
        "counts": counts,
        "different_good": plan.groups_of_good,
        "masks": len(plan.masks),
        "placed": dict(placed),
        "remarks": list(plan.remarks),
        "accept": _accept(known, plan) or None,
        "next": _next(known, plan),
        "description": asdict(plan.description),
    }
