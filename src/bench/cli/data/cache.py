"""`bench data cache`: show what decoded images and features of backbones take on the disk, or remove them."""

from bench.cli.command import Known, command, option
from bench.cli.completion import FOLDER
from bench.console import tell
from bench.errors import UsageError, counted

_MEBIBYTE = 2**20


@command(
    "Show how much decoded images and features of backbones take on the disk, or remove them: a run makes them again. "
    "Runs that are going on need their images.",
    option("--data.cache", "cache", type=FOLDER, metavar="FOLDER", help="default: BENCH_CACHE, or the user's cache"),
    option("--clear", is_flag=True, help="remove them"),
)
def run(known: Known) -> int:
    """Print how much they take, or took."""
    from bench.data.cache import FEATURES, IMAGES, cache_folder, files_of

    base = known.cache.expanduser() if known.cache else cache_folder()
    folder = base / IMAGES
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is no folder; name that of the cache: --data.cache FOLDER")
    images, features = files_of(folder), sorted((base / FEATURES).glob("??/*"))
    sizes = [sum(path.stat().st_size for path in files) for files in (images, features)]
    if known.clear:
        for path in (*images, *features):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UsageError(f"cannot remove {path} ({error.strerror}); remove it by hand") from error
    arrays = sum(path.suffix == ".npy" for path in images)
    done = "removed from" if known.clear else "in"
    tell(f"{counted(arrays, 'array')} of decoded images, {sizes[0] / _MEBIBYTE:,.0f} MiB, {done} {folder}")
    tell(f"{counted(len(features), 'file')} of features, {sizes[1] / _MEBIBYTE:,.0f} MiB, {done} {base / FEATURES}")
    return 0
