"""SHA256SUMS: the digests of a category's files, written if they come from an archive that is MVTec's to the byte.

The format is that of coreutils: `sha256sum --check SHA256SUMS` works in the category's folder as well.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bench.errors import UsageError
from bench.writing import write_atomically

DIGESTS = "SHA256SUMS"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_digests(folder: Path, digests: Mapping[str, str], archive: str) -> None:
    """Write the digests of files by their paths below `folder`; `archive` names their origin."""
    lines = [f"# {archive}\n", *(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))]
    write_atomically(folder / DIGESTS, "".join(lines))


def read_digests(folder: Path) -> dict[str, str] | None:
    """Digests by path below `folder`; None if there is no such file, a UsageError if it is damaged."""
    file = folder / DIGESTS
    if not file.is_file():
        return None
    digests = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#"):
            continue
        digest, gap, path = line.partition("  ")
        if len(digest) != 64 or not gap or not path:
            raise UsageError(f"{file}, line {number}: no SHA-256 and path; remove the file to check without it")
        digests[path] = digest
    return digests
