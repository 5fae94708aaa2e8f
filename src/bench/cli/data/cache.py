"""`bench data cache`: show the disk space that the decoded images take, or remove them."""

from pathlib import Path

from bench.cli.arguments import Parser
from bench.console import tell
from bench.errors import UsageError, counted

_MEBIBYTE = 2**20


def cache_parser() -> Parser:
    """The options of `bench data cache`."""
    parser = Parser(
        prog="bench data cache",
        description="Show how much the decoded images take on the disk, or remove them: a run makes them again. "
        "Runs that are going on need theirs.",
    )
    parser.add_argument(
        "--data.cache",
        dest="cache",
        type=Path,
        metavar="FOLDER",
        help="default: BENCH_CACHE, or the user's cache",
    )
    parser.add_argument("--clear", action="store_true", help="remove the decoded images")
    return parser


def run(typed: list[str]) -> int:
    """show what the decoded images take on the disk, or remove them"""
    known = cache_parser().parse_all(typed)

    from bench.data.cache import IMAGES, cache_folder, files_of

    folder = (known.cache.expanduser() if known.cache else cache_folder()) / IMAGES
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is no folder; name that of the cache: --data.cache FOLDER")
    files = files_of(folder)
    size = sum(path.stat().st_size for path in files)
    if known.clear:
        for path in files:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UsageError(f"cannot remove {path} ({error.strerror}); remove it by hand") from error
    arrays = sum(path.suffix == ".npy" for path in files)
    done = "removed from" if known.clear else "in"
    tell(f"{counted(arrays, 'array')} of decoded images, {size / _MEBIBYTE:,.0f} MiB, {done} {folder}")
    return 0
