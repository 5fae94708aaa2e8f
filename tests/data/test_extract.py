"""Unpacking: every kind of archive that people have, nothing outside the folder, nothing half."""

import io
import stat
import tarfile
import zipfile

import pytest

from bench.data.digests import DIGESTS, file_sha256, read_digests
from bench.data.download.extract import extract, remove_leftovers
from bench.errors import RunError, UsageError
from conftest import files_below
from fake_data import write_category


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with the categories `screw` and `bottle`, read-only as MVTec's files are; only to be read."""
    root = tmp_path_factory.mktemp("source") / "mvtec"
    for name in ("screw", "bottle"):
        folder = write_category(root, name, train=2, good=1, defects={"blob": 1})
        (folder / "license.txt").write_text("CC BY-NC-SA 4.0")
        for path in folder.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
    yield root
    for path in root.rglob("*"):
        path.chmod(0o755)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data root"
    folder.mkdir()
    return folder


def tar(path, source, mode="w:xz", prefix=""):
    with tarfile.open(path, mode) as archive:
        for folder in sorted(source.iterdir()) if (source / "screw").is_dir() else [source]:
            archive.add(folder, f"{prefix}{folder.name}")
    return path


def zipped(path, source, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(source.rglob("*")):
            archive.write(file, f"{prefix}{file.relative_to(source)}")
    return path


def assert_same(found, expected):
    assert files_below(found) == files_below(expected)
    for relative in files_below(expected):
        assert (found / relative).read_bytes() == (expected / relative).read_bytes()


@pytest.mark.parametrize(
    "pack",
    [
        lambda folder, source: tar(folder / "mvtec_anomaly_detection.tar.xz", source),
        lambda folder, source: tar(folder / "mvtec.tar", source, "w"),
        lambda folder, source: tar(folder / "mvtec.tar.gz", source, "w:gz", prefix="./"),
        lambda folder, source: zipped(folder / "archive.zip", source),
        lambda folder, source: zipped(folder / "archive.zip", source, prefix="mvtec_anomaly_detection/"),
        lambda folder, source: source,
    ],
    ids=["the official tar", "a plain tar", "a tar of ./", "Kaggle's zip", "a zip with a folder around", "a folder"],
)
def test_all_categories_come_out_byte_by_byte(pack, source, root, tmp_path):
    assert extract(pack(tmp_path, source), root, None) == ["bottle", "screw"]
    for name in ("bottle", "screw"):
        assert_same(root / name, source / name)


def test_the_archive_of_one_category_has_that_category(source, root, tmp_path):
    assert extract(tar(tmp_path / "screw.tar.xz", source / "screw"), root, None) == ["screw"]
    assert_same(root / "screw", source / "screw")


def test_an_archive_without_a_folder_around_its_splits_is_named_by_its_file(source, root, tmp_path):
    assert extract(zipped(tmp_path / "screw.zip", source / "screw"), root, None) == ["screw"]


def test_only_the_categories_asked_for_are_unpacked(source, root, tmp_path):
    assert extract(tar(tmp_path / "all.tar", source, "w"), root, ["screw"]) == ["screw"]
    assert {path.name for path in root.iterdir()} == {"screw"}


def test_what_a_mac_or_another_program_adds_is_left_out(source, root, tmp_path):
    archive = zipped(tmp_path / "archive.zip", source)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/screw/train/good/._000.png", b"x")
        file.writestr("screw/train/good/.DS_Store", b"x")
        file.writestr("screw/notes.pdf", b"x")
    extract(archive, root, ["screw"])
    assert_same(root / "screw", source / "screw")


def test_read_only_files_and_folders_of_an_archive_can_be_changed_once_unpacked(source, root, tmp_path):
    extract(tar(tmp_path / "all.tar", source, "w"), root, None)
    for path in root.rglob("*"):
        assert path.stat().st_mode & stat.S_IWUSR, path


def test_a_category_that_is_there_is_left_as_it_is(source, root, tmp_path):
    own = write_category(root, "screw", train=1)
    before = {path: (own / path).read_bytes() for path in files_below(own)}
    assert extract(tar(tmp_path / "all.tar", source, "w"), root, None) == ["bottle"]
    assert {path: (own / path).read_bytes() for path in files_below(own)} == before


def test_digests_are_noted_where_the_origin_is_known(source, root, tmp_path):
    extract(tar(tmp_path / "all.tar", source, "w"), root, ["screw"], origin="screw.tar.xz of MVTec AD")
    digests = read_digests(root / "screw")
    assert digests == {str(path): file_sha256(source / "screw" / path) for path in files_below(source / "screw")}
    assert (root / "screw" / DIGESTS).read_text().startswith("# screw.tar.xz of MVTec AD\n")


def member(name, kind=tarfile.REGTYPE, target="", content=b"evil"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, io.BytesIO(content)


@pytest.mark.parametrize(
    ("evil", "why"),
    [
        (member("../evil.png"), "leaves the folder"),
        (member("screw/train/good/../../../../evil.png"), "leaves the folder"),
        (member("/tmp/evil.png"), "is no relative path"),
        (member("C:/evil.png"), "is no relative path"),
        (member("screw\\..\\..\\evil.png"), "is no relative path"),
        (member("screw/train/good/out.png", tarfile.SYMTYPE, "/etc/passwd"), "is a link or device"),
        (member("screw/train/out", tarfile.SYMTYPE, "../../.."), "is a link or device"),
        (member("screw/train/good/out.png", tarfile.LNKTYPE, "../../../evil.png"), "is a link or device"),
        (member("screw/train/good/null.png", tarfile.CHRTYPE), "is a link or device"),
        (member("screw/train/good/sda.png", tarfile.BLKTYPE), "is a link or device"),
        (member("screw/train/good/pipe.png", tarfile.FIFOTYPE), "is a link or device"),
    ],
    ids=lambda case: case if isinstance(case, str) else f"{case[0].name}-{case[0].type.decode()}",
)
def test_an_archive_with_one_malicious_member_is_refused_whole(evil, why, source, root, tmp_path):
    before = files_below(tmp_path)
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(source / "screw", "screw")
        archive.addfile(*evil)
    with pytest.raises(RunError, match=why):
        extract(path, root, None)
    assert files_below(tmp_path) - {path.relative_to(tmp_path)} == before
    assert not list(root.iterdir())


@pytest.mark.parametrize(
    ("name", "mode"),
    [("../evil.png", 0), ("/evil.png", 0), ("screw/train/good/out.png", stat.S_IFLNK | 0o777)],
)
def test_a_malicious_zip_is_refused_whole(name, mode, source, root, tmp_path):
    path = zipped(tmp_path / "evil.zip", source)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(RunError, match="was not unpacked"):
        extract(path, root, None)
    assert not list(root.iterdir())
    assert not (tmp_path / "evil.png").exists()


def test_an_encrypted_zip_is_named(source, root, tmp_path):
    path = zipped(tmp_path / "screw.zip", source / "screw", "screw/")
    content = bytearray(path.read_bytes())
    for start, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags, in each member's header and in the list
        at = content.find(start)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(start, at + 4)
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"screw\.zip is encrypted; unpack it and give the folder"):
        extract(path, root, None)
    assert not list(root.iterdir())


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_swells_far_beyond_its_size_is_refused_whole(kind, root, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.download.members._ALWAYS", 2**20)
    place, swelling = "screw/train/good/000.png", bytes(8 * 2**20)
    path = tmp_path / f"screw.{'zip' if kind == 'zip' else 'tar.xz'}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(place, swelling)
    else:
        with tarfile.open(path, "w:xz") as archive:
            info = tarfile.TarInfo(place)
            info.size = len(swelling)
            archive.addfile(info, io.BytesIO(swelling))
    with pytest.raises(RunError, match="unpacks to far more than images would; nothing of it was unpacked"):
        extract(path, root, None)
    assert not list(root.iterdir())


def test_a_member_that_comes_twice_is_refused(root, tmp_path):
    path = tmp_path / "twice.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(*member("screw/train/good/000.png"))
        archive.addfile(*member("screw/train/good/000.png"))
    with pytest.raises(RunError, match=r"holds twice/screw/train/good/000.png twice"):
        extract(path, root, None)


def test_a_category_that_lies_in_two_places_is_refused(root, tmp_path):
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(*member("old/screw/train/good/000.png"))
        archive.addfile(*member("new/screw/train/good/001.png"))
    with pytest.raises(RunError, match="holds screw twice: archive/old/screw and archive/new/screw"):
        extract(path, root, None)


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w"])
def test_a_torn_archive_leaves_nothing(mode, source, root, tmp_path):
    path = tar(tmp_path / "all.tar", source, mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RunError, match=r"is damaged \(.*\); get it again"):
        extract(path, root, None)
    assert not list(root.iterdir())


def test_a_zip_with_a_flipped_bit_leaves_nothing(source, root, tmp_path):
    path = zipped(tmp_path / "all.zip", source)
    content = bytearray(path.read_bytes())
    place = content.index(b"IDAT") + 40
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        extract(path, root, None)
    assert not list(root.iterdir())


def test_an_interrupt_leaves_nothing(source, root, tmp_path):
    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(tar(tmp_path / "all.tar", source, "w"), root, None, read=interrupt)
    assert not list(root.iterdir())


def test_what_a_killed_process_left_is_removed_even_where_it_is_read_only(root):
    left = root / ".unpacking-abc" / "screw" / "train"
    left.mkdir(parents=True)
    (left / "000.png").write_bytes(b"x")
    left.chmod(0o555)
    remove_leftovers(root)
    assert not list(root.iterdir())


def test_what_is_no_archive_is_named(root, tmp_path):
    (tmp_path / "notes.txt").write_text("no archive")
    with pytest.raises(UsageError, match=r"notes.txt is neither a tar nor a zip archive"):
        extract(tmp_path / "notes.txt", root, None)


def test_an_archive_without_the_category_says_what_was_expected(source, root, tmp_path):
    with pytest.raises(UsageError, match=r"no category tile in .*; expected CATEGORY/train/good"):
        extract(tar(tmp_path / "all.tar", source, "w"), root, ["tile"])
    assert not list(root.iterdir())
