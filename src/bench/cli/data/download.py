"""`bench data download`: get MVTec AD from its maker, or from an archive at hand."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cli.command import Known, command, option
from bench.cli.completion import FILE, PUBLISHED
from bench.cli.options import root_option
from bench.console import say, tell
from bench.data.category_folders import ALL
from bench.errors import UsageError, unknown
from bench.writing import writing_to

_UNPACKED = 1.1  # size of an archive's files over its own size: PNG images do not compress further
_LARGEST = 1_000_000_000  # bytes; above every category's archive, for archives of unknown length
_DOWNLOADS = ".download"  # folder in the data root


@dataclass(frozen=True)
class _Request:
    """The typed options: the target, the categories (None: all), and the file, folder or address to read from."""

    root: Path
    wanted: Sequence[str] | None
    source: Path | None
    url: str | None
    link: bool
    keep: bool

    @property
    def missing(self) -> list[str] | None:
        """The wanted categories that are not in the root yet; None where the contents of the source are not known."""
        from bench.data.datasets.mvtec_ad_facts import mvtec_categories

        if self.wanted is None and self.source is not None:
            return None
        return [name for name in self.wanted or mvtec_categories() if not (self.root / name).exists()]


@command(
    "Get MVTec AD (CC BY-NC-SA 4.0) from its maker, or unpack what is at hand. Archives are compared with the "
    "published SHA-256; what was interrupted goes on; categories that are there are left alone.",
    option("--category", type=PUBLISHED, metavar="NAME", help="one of the 15 (0.1 to 0.7 GB), or all (5.3 GB)"),
    root_option("folder of the categories to be (default: BENCH_DATA)"),
    option(
        "--from",
        "source",
        type=FILE,
        metavar="PATH",
        help="an archive of MVTec's, Kaggle's zip or an unpacked folder, instead of the network",
    ),
    option("--accept-licence", is_flag=True, help="do not ask whether the licence is accepted"),
    option("--url", metavar="ADDRESS", help="another address of the same archive"),
    option("--link", is_flag=True, help="link to the folder of --from instead of copying it"),
    option("--keep-archive", is_flag=True, help="do not remove the archive once it is unpacked"),
)
def run(known: Known) -> int:
    """Ask for the licence, fetch the archive, check its digest, unpack it, compare the result."""
    request = _read(known)
    if request.missing == []:
        say(f"bench: {', '.join(request.wanted or ['all categories'])}: there already, in {request.root}")
        return 0
    with writing_to(request.root, "--data.root FOLDER"), _locked(request.root):
        if request.source is None:
            names = _fetched(request)
        elif request.link:
            from bench.data.download.link import link

            names = link(request.source, request.root, request.wanted)
        else:
            names = _unpacked(request.source, request)
    if not names:
        say(f"bench: all categories of {request.source} are in {request.root} already")
    for name in names:
        tell(request.root / name)
    _compare(request.root, names)
    return 0


def _read(known: Known) -> _Request:
    from bench.data.category_folders import named_root
    from bench.data.datasets.mvtec_ad_facts import mvtec_categories
    from bench.data.download.fetch import check_address
    from bench.data.download.licence import obtain_consent

    if known.source is None and not known.category:
        raise UsageError("no category; name one: --category screw, or all of them (5.3 GB): --category all")
    if known.category and known.category not in (ALL, *mvtec_categories()):
        raise unknown("category of MVTec AD", known.category, [*mvtec_categories(), ALL])
    if known.link and not (known.source and known.source.is_dir()):
        raise UsageError("--link needs an unpacked folder: --from FOLDER")
    if known.source and known.url:
        raise UsageError("--from and --url are two sources; leave out one")
    if known.source and not (known.source.is_file() or known.source.is_dir()):  # reading a named pipe would block
        raise UsageError(f"no archive or folder {known.source}")
    if known.url:
        check_address(known.url)
    wanted = None if known.category in (None, ALL) else [known.category]
    request = _Request(named_root(known.root), wanted, known.source, known.url, known.link, known.keep_archive)
    if request.missing != []:
        obtain_consent(known.accept_licence)
    return request


def _fetched(request: _Request) -> list[str]:
    """Fetch the archive and unpack it; return the categories that were not there before."""
    from bench.data.download.archives import PAGE, category_archive, whole_archive
    from bench.data.download.fetch import fetch, part_of
    from bench.data.progress_bar import progress

    archive = category_archive(request.wanted[0]) if request.wanted else whole_archive()
    folder = request.root / _DOWNLOADS
    folder.mkdir(exist_ok=True)
    target = folder / archive.file
    there = next((path.stat().st_size for path in (target, part_of(target)) if path.exists()), 0)
    size = archive.bytes or _LARGEST
    _require_room(request.root, size - there + _UNPACKED * size)
    if not target.exists():
        with progress(archive.file, archive.bytes, "bytes") as moved:
            moved(there)
            urls = [request.url] if request.url else archive.urls
            fetch(urls, target, archive.sha256, archive.bytes, page=PAGE, moved=moved)
    names = _unpacked(target, request)
    if not request.keep:
        target.unlink()
        folder.rmdir()
    return names


def _unpacked(source: Path, request: _Request) -> list[str]:
    """Unpack an archive or copy a folder; return the categories that were not there before."""
    from bench.data.download.archives import archive_of
    from bench.data.download.extract import extract
    from bench.data.download.members import uncompressed_bytes
    from bench.data.progress_bar import progress

    origin = None
    if source.is_file():
        official = archive_of(_digest(source))
        origin = f"{official.file} of MVTec AD, SHA-256 {official.sha256}" if official else None
        if origin is None:
            say(f"bench: {source} is to the byte no archive of MVTec's; its images are compared by count and size")
    _require_room(request.root, _UNPACKED * uncompressed_bytes(source))
    total = source.stat().st_size if source.is_file() else uncompressed_bytes(source)
    with progress(f"unpacking {source.name}", total, "bytes") as read:
        return extract(source, request.root, request.wanted, origin=origin, read=read)


def _digest(source: Path) -> str:
    from bench.data.digests import file_sha256

    return file_sha256(source)


def _require_room(root: Path, needed: float) -> None:
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UsageError(f"{root} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed; make room there")


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Lock the folder for one download, remove what a killed one left, and at the end remove the lock."""
    from filelock import FileLock, Timeout

    from bench.data.download.extract import remove_leftovers

    root.mkdir(parents=True, exist_ok=True)
    file = root / ".download.lock"
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
        while not file.exists():  # another download removed the file after it was opened here and before it was locked
            lock.release()
            lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another 'bench data download' works in {root}; wait for it") from None
    try:
        remove_leftovers(root)
        yield
    finally:
        file.unlink(missing_ok=True)
        lock.release()


def _compare(root: Path, names: Sequence[str]) -> None:
    """Print how new categories deviate from MVTec's publication; those from MVTec's own archives do not."""
    from bench.data.check_official import deviations, image_files
    from bench.data.datasets.mvtec_ad_facts import mvtec_published
    from bench.data.digests import DIGESTS
    from bench.data.progress_bar import progress

    published = mvtec_published()
    for name in names:
        folder = root / name
        if name not in published:
            say(f"bench: {name} is no category of MVTec AD; runs on it will be marked")
        elif not (folder / DIGESTS).is_file():
            with progress(f"comparing {name}", len(image_files(folder)), "files") as advance:
                found = deviations(folder, published[name], seen_one=advance)
            if found:
                more = f" and {len(found) - 1} more" if len(found) > 1 else ""
                say(f"bench: {name} is not as MVTec published it: {found[0]}{more}; 'bench data check' names each")
