"""Features of frozen backbones, kept on the disk: each image passes a backbone once, whoever asks for its features.

Cells of a sweep, refits, folds and methods of the same backbone share them. One file holds one level of one image. Its
name is a hash of all that decides the numbers, to the last bit; its content is verified each time it is read.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bench.console import say
from bench.processes import processor_name

_VERSION = 1
_SUFFIX = ".safetensors"
_TENSOR = "features"
_IN_USE = 3600.0  # seconds; what was used since then is not removed: a sweep would remove what it is about to read
_TOUCHED = 600.0  # seconds after which a use is noted again
_RESCANS = 20  # times, while the bound is filled, that the files of other processes are counted


class FeatureCache:
    """Levels of single images by key, in at most `most_bytes`.

    Where there is no room, what nobody used for an hour is removed, the longest unused first; if that is not enough,
    nothing more is written. Where the disk refuses, a line says so and nothing more is written: figures are the same.

    Attributes:
        saved_seconds: the time that computing took of what was read here and had been computed elsewhere.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.saved_seconds = 0.0
        self._most_bytes = most_bytes
        self._own: set[str] = set()  # keys that this process has computed, or read before
        self._bytes: int | None = None  # of all files, as far as is known
        self._since_scan = 0
        self._is_full = False
        self._writes = True

    def read(self, keys: Sequence[str]) -> list[Tensor] | None:
        """The levels (1, C, H, W) of an image, in the memory format that they were computed in; None if any lacks."""
        found = []
        for key in keys:
            one = self._read(key)
            if one is None:
                return None
            found.append(one)
        if not self._own.issuperset(keys):
            self.saved_seconds += max(seconds for _, seconds in found)
            self._own.update(keys)
        return [level for level, _ in found]

    def write(self, keys: Sequence[str], levels: Sequence[Tensor], seconds: float) -> None:
        """Keep the levels (1, C, H, W) of an image, whose computing took `seconds`."""
        self._own.update(keys)
        for key, level in zip(keys, levels, strict=True):
            if self._writes and not self._path(key).exists():
                try:
                    self._write(key, level, seconds)
                except OSError as error:
                    self._writes = False
                    say(f"bench: features are not kept: {self.folder} ({error.strerror}); the figures are the same")

    def _read(self, key: str) -> tuple[Tensor, float] | None:
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                about, values = file.metadata() or {}, file.get_tensor(_TENSOR)
            if about.get("sha256") != _digest(values) or about.get("key") != key:
                raise ValueError("its content is not that of its checksum, or of its name")
            seconds = float(about["seconds"])
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError, OSError):
            say(f"bench: {path} was damaged on the disk; the features are computed again")
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _TOUCHED:
                os.utime(path)
        return values.permute(0, 3, 1, 2) if about.get("layout") == "channels last" else values, seconds

    def _write(self, key: str, level: Tensor, seconds: float) -> None:
        last = level.is_contiguous(memory_format=torch.channels_last) and not level.is_contiguous()
        values = (level.permute(0, 2, 3, 1) if last else level).detach().contiguous()
        if not self._make_room(values.nbytes):
            return
        layout = "channels last" if last else "plain"
        about = {"key": key, "sha256": _digest(values), "seconds": repr(seconds), "layout": layout}
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not flushed to the disk: after a power cut the checksum finds what is missing.
        with NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            partial = Path(file.name)
            try:
                file.write(save({_TENSOR: values}, metadata=about))
                file.flush()
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

    def _make_room(self, size: int) -> bool:
        """Whether there is room for a file of this size, after the removal of what is no longer used."""
        self._since_scan += size
        overdue = self._since_scan > self._most_bytes // _RESCANS
        if self._bytes is None or overdue or (self._bytes + size > self._most_bytes and not self._is_full):
            self._bytes, self._since_scan = self._scan(size), 0
        self._is_full = self._bytes + size > self._most_bytes
        self._bytes += 0 if self._is_full else size
        return not self._is_full

    def _scan(self, needed: int) -> int:
        """The bytes of all files; where there is no room for those needed, after the removal of what is not used."""
        files = []
        for path in files_of(self.folder):
            with suppress(FileNotFoundError):  # another process may have removed it
                state = path.stat()
                files.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in files)
        if total + needed <= self._most_bytes:
            return total
        room = self._most_bytes - self._most_bytes // _RESCANS
        for used, size, path in sorted(files):
            if total + needed <= room or time.time() - used < _IN_USE:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{_SUFFIX}"


_configured: ContextVar[FeatureCache | None] = ContextVar("feature cache", default=None)
_unchanged: ContextVar[bool] = ContextVar("images are unchanged", default=False)


@contextmanager
def cached_features(folder: Path, gigabytes: float) -> Iterator[None]:
    """A context in which features of unchanged images are kept in a folder; none with 0 gigabytes."""
    token = _configured.set(FeatureCache(folder, int(gigabytes * 1e9)) if gigabytes else None)
    try:
        yield
    finally:
        _configured.reset(token)


@contextmanager
def unchanged_images() -> Iterator[None]:
    """A context in which images pass backbones as they are on the disk: augmented ones would never come again."""
    token = _unchanged.set(True)
    try:
        yield
    finally:
        _unchanged.reset(token)


def active_cache(device: torch.device) -> FeatureCache | None:
    """The cache for what passes a backbone now; None outside the two contexts, and on other devices than a CPU.

    There the size of a batch may change last digits, and figures would depend on what was cached.
    """
    return _configured.get() if _unchanged.get() and device.type == "cpu" else None


def saved_seconds() -> float:
    """The seconds that computing took of what was read from the cache so far and had been computed elsewhere."""
    cache = _configured.get()
    return cache.saved_seconds if cache else 0.0


def feature_key(image: Tensor, network: str, level: str, *about: object) -> str:
    """The key of one level of an image (C, H, W); `network` is a digest of all that leads to the level.

    Beside these and `about`, last digits may depend on the release of torch, the processor and the number of threads.
    """
    machine = (torch.__version__, torch.backends.cpu.get_cpu_capability(), processor_name(), torch.get_num_threads())
    told = json.dumps([_VERSION, network, level, list(image.shape), str(image.dtype), *map(str, (*machine, *about))])
    found = hashlib.sha256(told.encode())
    found.update(image.contiguous().numpy().data)
    return found.hexdigest()


def files_of(folder: Path) -> list[Path]:
    """The files of a cache, partial ones of killed processes included."""
    return sorted(path for suffix in (_SUFFIX, ".partial") for path in folder.glob(f"??/*{suffix}"))


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.numpy().data).hexdigest()
