"""`bench data download`: consent, the archive, its digest, and what is said of the result."""

import hashlib
import io
import sys
import tarfile
from contextlib import nullcontext

import pytest

from archive_server import Served, serve
from bench.data.datasets.mvtec_ad_facts import mvtec_categories
from bench.data.digests import DIGESTS
from bench.data.download import archives
from bench.data.download.archives import Archive, archive_of, category_archive, whole_archive
from bench.data.download.licence import obtain_consent
from bench.errors import UsageError
from conftest import files_below
from fake_data import write_category

CONSENT = "--accept-licence"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """An archive with a small `screw`; only to be read."""
    folder = tmp_path_factory.mktemp("packed")
    write_category(folder / "data", "screw")
    path = folder / "screw.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        archive.add(folder / "data" / "screw", "screw")
    return path


@pytest.fixture
def published(packed, monkeypatch):
    """As if that archive were MVTec's."""
    content = packed.read_bytes()
    own = Archive("screw.tar.xz", hashlib.sha256(content).hexdigest(), len(content), ("http://127.0.0.1:9/gone",))
    monkeypatch.setattr(archives, "category_archive", lambda name: own)
    monkeypatch.setattr(archives, "archive_of", lambda sha256: own if sha256 == own.sha256 else None)
    return content


@pytest.fixture
def download(bench, tmp_path):
    def run(*arguments):
        return bench("data", "download", "--data.root", tmp_path / "my data", *arguments)

    return run


def test_a_category_is_fetched_compared_unpacked_and_used(download, bench, published, tmp_path):
    with serve(Served(published, break_off_after=[100])) as served:
        outcome = download("--category", "screw", "--url", served.url, CONSENT)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout == f"{tmp_path / 'my data' / 'screw'}\n"
    assert "CC BY-NC-SA 4.0" in outcome.stderr
    assert "the connection broke off after 100 bytes; going on" in outcome.stderr
    assert "not as MVTec published" not in outcome.stderr  # its digest is that of the published archive
    assert (tmp_path / "my data" / "screw" / DIGESTS).read_text().startswith("# screw.tar.xz of MVTec AD, SHA-256 ")
    assert {path.name for path in (tmp_path / "my data").iterdir()} == {"screw"}
    again = bench("data", "describe", "--category", "screw", "--data.root", tmp_path / "my data")
    assert again.status == 0, again.stderr


def test_a_second_download_has_nothing_to_do_and_asks_nothing(download, packed):
    assert download("--category", "screw", "--from", packed, CONSENT).status == 0
    outcome = download("--category", "screw")
    assert (outcome.status, outcome.stdout) == (0, "")
    assert "screw: there already" in outcome.stderr
    assert "licence" not in outcome.stderr


def test_the_archive_stays_where_that_is_asked(download, published, tmp_path):
    with serve(Served(published)) as served:
        assert download("--category", "screw", "--url", served.url, CONSENT, "--keep-archive").status == 0
    assert (tmp_path / "my data" / ".download" / "screw.tar.xz").read_bytes() == published


def test_a_wrong_file_is_neither_unpacked_nor_kept(download, published, tmp_path):
    with serve(Served(b"x" * len(published))) as served:
        outcome = download("--category", "screw", "--url", served.url, CONSENT)
    assert outcome.status == 1
    assert "has another file" in outcome.stderr.splitlines()[-1]
    assert not files_below(tmp_path)


def test_without_anyone_to_ask_the_licence_is_accepted_by_an_option(download, published, tmp_path):
    outcome = download("--category", "screw")
    assert outcome.status == 2
    assert outcome.stderr.splitlines()[-1] == (
        "bench: nobody is at the terminal to accept the licence; --accept-licence accepts it"
    )
    assert not (tmp_path / "my data").exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("answer", "accepted"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_at_a_terminal_the_licence_is_asked_for(monkeypatch, answer, accepted):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", screen)
    with nullcontext() if accepted else pytest.raises(UsageError, match="not accepted; nothing was written"):
        obtain_consent(accepted=False)
    assert screen.getvalue().endswith("Do you accept it? [y/N] ")


def test_an_archive_at_hand_that_is_not_mvtec_s_is_unpacked_and_what_differs_is_said(download, packed):
    outcome = download("--from", packed, CONSENT)
    assert outcome.status == 0
    assert "is to the byte no archive of MVTec's" in outcome.stderr
    assert "screw is not as MVTec published it: " in outcome.stderr
    assert "'bench data check' names each" in outcome.stderr


def test_a_folder_at_hand_is_copied_or_linked(download, packed, tmp_path):
    folder = packed.parent / "data"
    assert download("--from", folder, CONSENT, "--link").status == 0
    place = tmp_path / "my data" / "screw"
    assert place.resolve() == folder / "screw"
    place.unlink()
    assert download("--from", folder / "screw", CONSENT).status == 0
    assert not place.is_symlink()
    assert files_below(place) == files_below(folder / "screw")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no category; name one: --category screw, or all of them (5.3 GB): --category all"),
        (["--category", "scew"], "unknown category of MVTec AD 'scew'; did you mean 'screw'?"),
        (["--from", "nowhere.tar.xz"], "no archive or folder nowhere.tar.xz"),
        (["--from", "/dev/zero"], "no archive or folder /dev/zero"),
        (["--category", "screw", "--url", "http://"], "'http://' is no http or https address"),
        (["--category", "screw", "--url", "file:///etc/passwd"], "a file at hand is given with --from"),
        (["--category", "screw", "--url", "http://[::1"], "--url 'http://[::1' is no address"),
        (["--category", "screw", "--url", "http://localhost:http/x"], "is no address"),
        (["--category", "screw", "--url", "http://local host/x"], "holds letters that no address has"),
        (["--category", "screw", "--link"], "--link needs an unpacked folder: --from FOLDER"),
        (
            ["--category", "screw", "--accept-license"],
            "did you mean '--accept-licence'?",
        ),
    ],
)
def test_a_mistake_is_one_line(refuse, tmp_path, arguments, words):
    assert words in refuse("data", "download", "--data.root", tmp_path / "data", *arguments)
    assert not (tmp_path / "data").exists()


def test_a_disk_without_room_is_seen_before_anything_is_fetched(bench, published, mount_disk):
    root = mount_disk("16k")
    with serve(Served(published)) as served:
        outcome = bench("data", "download", "--category", "screw", "--data.root", root, "--url", served.url, CONSENT)
    assert outcome.status == 2
    assert "GB are needed; make room there" in outcome.stderr.splitlines()[-1]
    assert served.asked == []


def test_the_published_archives_are_known_by_their_digests():
    assert archive_of(whole_archive().sha256).file == "mvtec_anomaly_detection.tar.xz"
    digests = {category_archive(name).sha256 for name in mvtec_categories()}
    assert len(digests) == 15
    assert archive_of("0" * 64) is None
    for archive in (whole_archive(), *map(category_archive, mvtec_categories())):
        assert all(url.startswith("https://www.mydrive.ch/") and url.endswith(archive.file) for url in archive.urls)
