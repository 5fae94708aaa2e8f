"""A download goes on where it broke off, and no wrong file is taken for the right one."""

import hashlib

import pytest

from archive_server import Served, serve
from bench.data.download.fetch import check_address, fetch, part_of
from bench.errors import RunError, UsageError

BODY = bytes(range(256)) * 4000  # a megabyte
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def get(tmp_path):
    """Fetch from these addresses without a pause; the file."""

    def run(*urls, sha256=SHA256, size=SIZE, moved=lambda count: None):
        target = tmp_path / "archive.tar.xz"
        fetch(urls, target, sha256, size, page="the page", moved=moved, pause=0)
        return target

    return run


def test_a_connection_that_breaks_off_twice_is_taken_up_where_it_ended(get):
    with serve(Served(BODY, break_off_after=[1000, 2000])) as served:
        assert get(served.url).read_bytes() == BODY
    assert served.asked == [None, "bytes=1000-", "bytes=3000-"]


def test_a_file_of_unknown_length_is_whole_when_the_server_says_so(get):
    with serve(Served(BODY, break_off_after=[1000])) as served:
        assert get(served.url, size=None).read_bytes() == BODY
    assert served.asked == [None, "bytes=1000-"]


def test_what_an_earlier_process_left_is_not_fetched_again(get, tmp_path):
    part_of(tmp_path / "archive.tar.xz").write_bytes(BODY[:5000])
    with serve(Served(BODY)) as served:
        assert get(served.url).read_bytes() == BODY
    assert served.asked == ["bytes=5000-"]


def test_a_part_that_is_whole_asks_for_nothing_more(get, tmp_path):
    part_of(tmp_path / "archive.tar.xz").write_bytes(BODY)
    with serve(Served(BODY)) as served:
        assert get(served.url).read_bytes() == BODY
        assert served.asked == []
        part_of(tmp_path / "archive.tar.xz").write_bytes(BODY)
        assert get(served.url, size=None).read_bytes() == BODY
        assert served.asked == [f"bytes={len(BODY)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(get, tmp_path):
    part_of(tmp_path / "archive.tar.xz").write_bytes(BODY + b"more")
    with serve(Served(BODY)) as served:
        assert get(served.url, size=None).read_bytes() == BODY
    assert served.asked == [f"bytes={len(BODY) + 4}-", None]


def test_a_server_without_ranges_begins_again(get):
    with serve(Served(BODY, knows_ranges=False, break_off_after=[1000])) as served:
        assert get(served.url).read_bytes() == BODY
    assert served.asked == [None, "bytes=1000-"]


def test_progress_counts_every_byte_of_the_file_once(get):
    counts = []
    with serve(Served(BODY, knows_ranges=False, break_off_after=[1000])) as served:
        get(served.url, moved=counts.append)
    assert sum(counts) == len(BODY)


def test_a_connection_that_brings_nothing_any_more_keeps_what_there_is(get, tmp_path):
    with (
        serve(Served(BODY, break_off_after=[1000] + [0] * 10)) as served,
        pytest.raises(RunError, match=r"broke off; 1,000 bytes are kept, the same command goes on"),
    ):
        get(served.url)
    assert part_of(tmp_path / "archive.tar.xz").read_bytes() == BODY[:1000]
    assert not (tmp_path / "archive.tar.xz").exists()


def test_an_overloaded_server_is_asked_again(get):
    with serve(Served(BODY, answers=[503, 503])) as served:
        assert get(served.url).read_bytes() == BODY


def test_a_wrong_file_of_the_right_length_is_removed(get, tmp_path):
    with serve(Served(b"x" * len(BODY))) as served, pytest.raises(RunError, match=f"not {SHA256}; it was removed"):
        get(served.url)
    assert not list(tmp_path.iterdir())


def test_an_address_that_has_gone_gives_way_to_the_next(get):
    with serve(Served(BODY, answers=[404])) as gone, serve(Served(BODY)) as served:
        assert get(gone.url, served.url).read_bytes() == BODY


@pytest.mark.parametrize(
    ("served", "why"),
    [
        (Served(BODY, answers=[404]), "answers 404 Not Found"),
        (Served(b"<html>log in</html>", kind="text/html"), "answers with a web page"),
        (Served(BODY[:-1]), f"has a file of {len(BODY) - 1:,} bytes, not {len(BODY):,}"),
    ],
)
def test_where_no_address_has_the_file_the_way_by_hand_is_told_and_the_part_stays(get, tmp_path, served, why):
    part = part_of(tmp_path / "archive.tar.xz")
    part.write_bytes(BODY[:500])
    served.knows_ranges = False
    with serve(served), pytest.raises(RunError, match=r"get it from the page and give it with --from") as caught:
        get(served.url)
    assert why in str(caught.value)
    assert part.read_bytes() == BODY[:500]


def test_only_the_web_is_an_address(tmp_path):
    check_address("https://www.mvtec.com:443/a%20b?c=d")
    with pytest.raises(UsageError, match="no http or https address"):
        check_address((tmp_path / "file").as_uri())
