"""Writing of all files that a command leaves: whole or not at all; an error in one line names a disk that refuses."""

import errno
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

from bench.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,  # for example a folder below /proc
    errno.ENAMETOOLONG,
    errno.EFBIG,
    errno.EBUSY,  # a mount point cannot be replaced
)
_LONGEST = 1000  # characters of a path in a message: Linux accepts paths of 4,096 bytes
_THREADS_TO_SYNC = 16  # the disk serves many concurrent syncs at once


@contextmanager
def writing_to(folder: Path, option: str = "--runs FOLDER") -> Iterator[None]:
    """Turn an error of the disk into a UsageError of one line, with the option that names another folder."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UsageError(f"the disk of {folder} is full; free some space or name another: {option}") from error
        if error.errno in _REFUSED and (error.errno == errno.EROFS or _concerns(error, folder)):
            raise UsageError(f"cannot write to {folder} ({error.strerror}); name another folder: {option}") from error
        raise


def check_folder(folder: Path, option: str = "--runs FOLDER") -> None:
    """Refuse a folder that cannot be made or written to, before anything is computed for it."""
    with writing_to(folder, option):
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, suffix=".partial"):
            pass


def check_free(out: Path) -> None:
    """Refuse a folder that holds anything: nothing is ever overwritten."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} is there already; name another folder with --out, or remove it")


def describe_refusal(error: OSError) -> tuple[str, int]:
    """The line and the exit status of an error that no command foresaw, such as output to a full disk."""
    line = f"{error.strerror or error}{f': {shortened(error.filename)}' if error.filename else ''}"
    if error.errno in FULL:
        return f"{line}; free some space on the disk that is written to", 2
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{line}; see who may read or write it, or name another", 2
    return line, 2 if error.errno in (*NO_PATH, errno.ENOTDIR) else 1


def shortened(path: object) -> str:
    """A path, its middle left out where it is too long for a line."""
    text = str(path)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 2 :]}"


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether an error concerns the folder: one of a file that is read from elsewhere has another remedy."""
    if not isinstance(error.filename, str | os.PathLike):
        return error.errno != errno.ENOENT
    named, own = Path(error.filename).absolute(), folder.absolute()
    return named.is_relative_to(own.parent) or own.is_relative_to(named)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a temporary file, then rename it: a reader sees the old content or the new, never half of one."""
    with NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        partial = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.chmod(0o644)  # temporary files are private, results are not
            partial.replace(path)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write a file whole or not at all."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def write_together(contents: Mapping[Path, str | bytes]) -> None:
    """Write several files of one folder: all of them are new, or all are as they were, whatever is raised.

    All are on the disk under other names before the first is renamed. No system renames several files at once: a
    SIGKILL or a power cut between two renames leaves new files beside old ones, and a folder `.*.partial` with the
    former ones. Running the same command again repairs that.
    """
    with ExitStack() as stack:
        stage = {
            folder: Path(stack.enter_context(TemporaryDirectory(dir=folder, prefix=".", suffix=".partial")))
            for folder in {path.parent for path in contents}
        }
        for number, (path, content) in enumerate(contents.items()):
            write_atomically(stage[path.parent] / f"{number}-new", content)
        done: list[tuple[Path, Path]] = []
        formers = {path: stage[path.parent] / f"{number}-former" for number, path in enumerate(contents)}
        for path, former in formers.items():
            if path.is_file():
                _keep(path, former)
        try:
            for number, (path, former) in enumerate(formers.items()):
                (stage[path.parent] / f"{number}-new").replace(path)
                done.append((former, path))
        except BaseException:
            for former, path in done:
                if former.exists():
                    former.replace(path)
                else:
                    path.unlink()
            raise


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that replaces it once everything is in it; after an error, no new folder is left.

    An existing `out` is replaced: a caller that must not lose it checks beforehand.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-", suffix=".partial") as temporary:
        complete, former = Path(temporary, "new"), Path(temporary, "former")
        complete.mkdir()
        yield complete
        sync_files(complete)
        if out.exists():
            out.rename(former)
        try:
            complete.rename(out)
        except OSError:
            if former.exists():
                former.rename(out)
            raise


def encode(image: "Image.Image", form: str, **options: Any) -> bytes:
    """An image as the bytes of a file: when Pillow writes the file, its error does not name a full disk."""
    content = io.BytesIO()
    image.save(content, format=form, **options)
    return content.getvalue()


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file; the error of a full disk names the target."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno in FULL:
            error.filename = str(target)
        raise


def _keep(path: Path, former: Path) -> None:
    try:
        former.hardlink_to(path)  # takes no space
    except OSError:  # not every file system has hard links
        shutil.copyfile(path, former)


def sync_files(folder: Path) -> None:
    """Flush all files below a folder to the disk: otherwise a power cut may leave empty files under a new name."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    with ThreadPoolExecutor(_THREADS_TO_SYNC) as pool:
        for _ in pool.map(_sync_file, files):
            pass


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
