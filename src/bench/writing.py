"""How all that a command leaves is written: whole or not at all, and a disk that refuses is named in one line."""

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
    errno.ENOENT,  # a folder below /proc, for one
    errno.ENAMETOOLONG,
    errno.EFBIG,
    errno.EBUSY,  # a folder that is a disk's own cannot be replaced
)
_LONGEST = 1000  # letters of a path in a message: Linux takes paths of 4,096 bytes
_THREADS_TO_SYNC = 16  # what many files wait for together, the disk does at once


@contextmanager
def writing_to(folder: Path, option: str = "--runs FOLDER") -> Iterator[None]:
    """Say in one line when the disk refuses, and the option that names another place."""
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


def describe_refusal(error: OSError) -> tuple[str, int]:
    """The line and the exit status of what no command foresaw, such as output that finds no room."""
    line = f"{error.strerror or error}{f': {shortened(error.filename)}' if error.filename else ''}"
    if error.errno in FULL:
        return f"{line}; free some space on the disk that is written to", 2
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{line}; see who may read or write it, or name another", 2
    return line, 2 if error.errno in (*NO_PATH, errno.ENOTDIR) else 1


def shortened(path: object) -> str:
    """A path whose middle is left out where a line cannot hold it."""
    text = str(path)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 2 :]}"


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether an error is of the folder: what is read from elsewhere in the meantime has another remedy."""
    if not isinstance(error.filename, str | os.PathLike):
        return error.errno != errno.ENOENT
    named, own = Path(error.filename).absolute(), folder.absolute()
    return named.is_relative_to(own.parent) or own.is_relative_to(named)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write another file and rename it: a reader sees the old content or the new, never half of one."""
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

    All are on the disk under other names before the first is renamed, and no system renames several files at once: a
    SIGKILL or a power cut between two renames leaves new files beside old ones, and a folder `.*.partial` with the
    former ones. The same command mends that.
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
    """A new folder beside `out` that takes its place once everything is in it; whatever happens before, none is left.

    An `out` that is there is replaced: whoever must not lose one looks before.
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
    """An image as the bytes of a file: Pillow tells of a full disk without saying so."""
    content = io.BytesIO()
    image.save(content, format=form, **options)
    return content.getvalue()


def copy_file(source: Path, target: Path) -> None:
    """Copy what a file holds; a disk that is full is the target's."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno in FULL:
            error.filename = str(target)
        raise


def _keep(path: Path, former: Path) -> None:
    try:
        former.hardlink_to(path)  # takes no room
    except OSError:  # not every file system knows them
        shutil.copyfile(path, former)


def sync_files(folder: Path) -> None:
    """Have all files below a folder on the disk: after a power cut a new name may else stand for empty files."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    with ThreadPoolExecutor(_THREADS_TO_SYNC) as pool:
        for _ in pool.map(_sync_file, files):
            pass


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
