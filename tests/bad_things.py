"""What lies where another thing was expected, made by script: wrong kinds of files, names, and hostile contents."""

import io
import os
import socket
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

Make = Callable[[Path], Path]
"""Makes a bad thing at a path, or beside it; the path that is to be typed."""


def content(data: bytes | str) -> Make:
    """A file that holds this."""

    def make(path: Path) -> Path:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return make


def named(name: str) -> Make:
    """No file, but a name, `*` in it being the name that was expected."""
    return lambda path: Path(name.replace("*", path.name))


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def bound_socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(path))  # relative: such names may have 108 bytes
    return path


def link_to_itself(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def below_a_file(path: Path) -> Path:
    Path("plain").write_text("a file")
    return Path("plain", path.name)


NAMES: dict[str, Make] = {
    "a name that is not there": named("not-there-*"),
    "a name with NUL": named("nul\0*"),
    "a name with a newline": named("new\nline-*"),
    "a name with ESC": named("\x1b[31mred-*"),
    "a name that is no UTF-8": named("m\udcfcller-*"),
    "a name that turns the line": named("\u202egnp-*"),
    "a name of 5,000 letters": named("x" * 5000 + "-*"),
    "a path below a file": below_a_file,
    "a link to itself": link_to_itself,
}
NO_FILE: dict[str, Make] = NAMES | {"a folder": folder, "a pipe": pipe, "a socket": bound_socket}
NO_FOLDER: dict[str, Make] = NAMES | {"a file": content("text"), "a pipe": pipe, "a socket": bound_socket}
UNUSABLE: dict[str, Make] = {
    name: NAMES[name] for name in ("a name with NUL", "a name of 5,000 letters", "a link to itself")
}
NO_PLACE: dict[str, Make] = UNUSABLE | {"a path below a file": below_a_file}
NO_YAML: dict[str, Make] = {
    "no text": content(b"\xff\xfe\x00\x81"),
    "Latin-1": content("about: caf\xe9".encode("latin-1")),
    "a list": content("- 1\n- 2\n"),
    "a word": content("just words"),
    "a number": content("5"),
    "tabs": content("model:\n\tsigma: 3\n"),
    "a torn bracket": content("model: {sigma: 3"),
    "code": content("seed: !!python/object/apply:os.system ['touch harmed']"),
    "a NUL": content("seed: \0"),
    "a picture": content(b"\x89PNG\r\n\x1a\n" + bytes(100)),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, width: int = 48, height: int = 48, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG with these chunks between its header and its pixels, none of which are there."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def picture(mode: str = "RGB", form: str = "PNG", side: int = 48, **options: object) -> bytes:
    """A whole picture, evenly grey."""
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, format=form, **options)
    return file.getvalue()


def several_pages(form: str) -> bytes:
    # Two that differ: Pillow would write one frame for two of the same.
    return picture(form=form, save_all=True, append_images=[Image.new("RGB", (48, 48), "white")])


NO_IMAGE: dict[str, Make] = {
    "nothing": content(b""),
    "text": content("no picture"),
    "a page": content("<html><img src=x onerror=alert(1)></html>"),
    "a drawing": content("<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "PostScript": content("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 48\n(harmed) (w) file\n"),
    "a PDF": content(b"%PDF-1.7\n1 0 obj\n"),
    "a GIF": content(picture("P", "GIF")),
    "an icon": content(picture("RGBA", "ICO")),
    "a Netpbm": content(picture(form="PPM")),
    "half of a PNG": content(picture()[:60]),
    "a PNG without pixels": content(png()),
    "a PNG of no width": content(png(width=0)),
    "a PNG of four gigapixels": content(png(width=2**16, height=2**16)),
    "a PNG of unknown colours": content(png(colour=5)),
    "a PNG with a short gAMA": content(png(chunk(b"gAMA", b"\0"))),
    "a PNG with a short pHYs": content(png(chunk(b"pHYs", b"\0"))),
    "a PNG with an inflating zTXt": content(png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**24))))),
    "a PNG with a torn pixel chunk": content(png(chunk(b"IDAT", zlib.compress(bytes(48 * 145))[:-9]))),
    "an animated PNG": content(several_pages("PNG")),
    "a TIFF of two pages": content(several_pages("TIFF")),
    "a WebP of two frames": content(several_pages("WEBP")),
    "half of a JPEG": content(picture(form="JPEG")[:200]),
    "CMYK": content(picture("CMYK", "TIFF")),
    "numbers in floating point": content(picture("F", "TIFF")),
    "all transparent": content(picture("RGBA")),
}


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], mode: str = "w:xz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def entry(name: str, data: bytes = b"image", kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b"" if kind != tarfile.REGTYPE else data


def zip_of(members: dict[str, bytes], **options: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = options.get("mode", 0) << 16
            archive.writestr(info, data)
    return file.getvalue()


def patched_zip(name: bytes, place: int, value: bytes, local_place: int) -> bytes:
    """A zip whose headers were edited at these places, in the directory and before the member."""
    data = bytearray(zip_of({name.decode(): b"image" * 100}))
    for signature, where in ((b"PK\1\2", place), (b"PK\3\4", local_place)):
        start = data.index(signature) + where
        data[start : start + len(value)] = value
    return bytes(data)


def claiming(size: int, members: int) -> bytes:
    """A zip whose directory says that each of its members takes so many bytes once unpacked."""
    data = bytearray(zip_of({f"screw/train/good/{number:03}.png": b"x" for number in range(members)}))
    start = data.find(b"PK\1\2")
    while start >= 0:
        data[start + 24 : start + 28] = struct.pack("<I", size)
        start = data.find(b"PK\1\2", start + 1)
    return bytes(data)


IMAGE = "screw/train/good/000.png"
NO_ARCHIVE: dict[str, Make] = {
    "nothing": content(b""),
    "text": content("no archive"),
    "a picture": content(picture()),
    "an empty zip": content(zip_of({})),
    "a zip without a category": content(zip_of({"notes.txt": b"x"})),
    "a zip of other folders": content(zip_of({"screw/images/000.png": b"x"})),
    "a zip with ..": content(zip_of({IMAGE: b"x", "../evil.png": b"x"})),
    "a zip with .. in the middle": content(zip_of({"screw/train/good/../../../../evil.png": b"x"})),
    "a zip with an absolute path": content(zip_of({"/tmp/evil.png": b"x"})),
    "a zip with a drive": content(zip_of({"C:/screw/train/good/0.png": b"x"})),
    "a zip with a link": content(zip_of({IMAGE: b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)),
    "a zip with a device": content(zip_of({IMAGE: b""}, mode=stat.S_IFCHR | 0o666)),
    "a zip of an unknown method": content(patched_zip(IMAGE.encode(), 10, b"\x63\0", 8)),
    "a zip with a wrong checksum": content(patched_zip(IMAGE.encode(), 16, bytes(4), 14)),
    "a zip that claims four terabytes": content(claiming(2**32 - 2, members=1000)),
    "half of a zip": content(zip_of({IMAGE: os.urandom(1000)})[:600]),
    "half of a tar": content(tar_of(entry(IMAGE, bytes(range(256)) * 40), mode="w")[:4000]),
    "half of a tar.xz": content(tar_of(entry(IMAGE, os.urandom(5000)))[:2000]),
    "a tar with ..": content(tar_of(entry(IMAGE), entry("../evil.png"))),
    "a tar with an absolute path": content(tar_of(entry("/tmp/evil.png"))),
    "a tar with a link": content(tar_of(entry(IMAGE, kind=tarfile.SYMTYPE, target="/etc/passwd"))),
    "a tar with a hard link": content(tar_of(entry(IMAGE), entry("x", kind=tarfile.LNKTYPE, target=IMAGE))),
    "a tar with a pipe": content(tar_of(entry(IMAGE, kind=tarfile.FIFOTYPE))),
    "a tar with a member twice": content(tar_of(entry(IMAGE), entry(IMAGE))),
    "a tar with an over-long name": content(tar_of(entry(f"screw/train/good/{'x' * 300}.png"))),
    "a tar with a name of ESC": content(tar_of(entry("../\x1b[31mevil.png"))),
}
