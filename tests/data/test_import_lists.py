"""Labels from a list: CSV files as spreadsheets and scripts write them, and what is wrong with some."""

import json

import pytest

from fake_photos import write_photos


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", {"a": 10, "b": 3})


def rows(separator=",", good="ok", bad="ng", path="{folder}/{index:03}.png"):
    """A row for each photo."""
    return "".join(
        f"{path.format(folder=folder, index=index)}{separator}{word}\n"
        for folder, count, word in (("a", 10, good), ("b", 3, bad))
        for index in range(count)
    )


LISTS = {
    "no header": rows(),
    "byte order mark": "\ufeff" + rows(),
    "header": "Path,Label\n" + rows(),
    "semicolons and Windows": "Datei;Ergebnis\r\n" + rows(";", path="{folder}\\{index:03}.png").replace("\n", "\r\n"),
    "Chinese, with a header": "name,结果\n" + rows(good="合格", bad="不合格"),
    "upper case, no suffix": rows(good="OK", bad="NG", path="{folder}/{index:03}"),
    "label first": "label,image\n" + "".join(",".join(row.split(",")[::-1]) + "\n" for row in rows().splitlines()),
    "more columns": "image,operator,label\n" + "".join(row.replace(",", ",Ann,") + "\n" for row in rows().splitlines()),
    "full paths": rows(path="ROOT/{folder}/{index:03}.png"),
}


@pytest.mark.parametrize("form", LISTS)
def test_a_list_of_path_and_label_is_read_as_people_write_it(photos, bench, form):
    (photos / "list.csv").write_text(LISTS[form].replace("ROOT", str(photos)), "utf-8", newline="")
    outcome = bench("data", "import", photos, "--name", "tablet")
    assert outcome.status == 0, outcome.stderr
    assert ": 10 good, 3 " in outcome.stdout
    assert "labels are those of" in outcome.stderr


def test_a_list_may_lie_elsewhere_and_its_words_be_anything(photos, bench, tmp_path):
    (tmp_path / "l.csv").write_text(rows(good="0", bad="1"))
    words = ("data", "import", photos, "--name", "tablet", "--labels", tmp_path / "l.csv", "--json")
    refused = bench(*words)
    assert refused.status == 2
    assert "does not say whether '0' and '1' are good; say it, such as --bad 0,1, or --good" in refused.stderr
    found = json.loads(bench(*words, "--good", "0", "--bad", "1").stdout)
    assert found["counts"]["test"]["1"] == 3


def test_a_column_of_types_names_them(photos, bench):
    text = "file,verdict,defect\n" + rows(good="good,", bad="bad,dent")
    (photos / "list.csv").write_text(text)
    outcome = bench("data", "import", photos, "--name", "tablet")
    assert ": 10 good, 3 dent\n" in outcome.stdout


REFUSED = {
    "two labels": (rows() + "a/000.png,ng\n", "'good' in line 1 and 'ng' in line 14"),
    "a photo that is not listed": (rows().replace("b/002.png,ng\n", ""), "lacks 1 photo of"),
    "a photo that is not there": (rows() + "a/099.png,ok\n", "names 'a/099.png' in line 14, which is no photo"),
    "a first photo that is not there": ("a/099.png,ok\n" + rows(), "names 'a/099.png' in line 1, which is no photo"),
    "no label": (rows().replace("a/003.png,ok", "a/003.png,"), "gives no label in line 4"),
    "names alone": (rows(path="{index:03}.png"), "may mean"),
    "which column": ("p,q,r\n" + rows(good="x,y", bad="y,x"), "which one holds the label is not clear"),
    "a short row": (rows() + "a/001.png\n", "has no path and label in line 14"),
    "a long row": (rows() + "a/001.png,ok,x\n", "another number of cells in line 14"),
    "other photos": (rows(path="x{folder}{index}.png"), "names no photo in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_a_list_is_said_with_its_line(photos, refuse, tmp_path, case):
    text, expected = REFUSED[case]
    (tmp_path / "list.csv").write_text(text)
    assert expected in refuse("data", "import", photos, "--name", "tablet", "--labels", tmp_path / "list.csv")


def test_a_label_that_its_folder_denies_is_refused(tmp_path, refuse):
    root = write_photos(tmp_path / "photos", {"good": 10, "ng": 3})
    text = rows().replace("a/", "good/").replace("b/", "ng/")
    (root / "list.csv").write_text(text.replace("ng/000.png,ng", "ng/000.png,ok"))
    line = refuse("data", "import", root, "--name", "tablet")
    assert f"calls {root}/ng/000.png 'good' in line 11, and its folder says otherwise; mend the list" in line


def test_a_list_that_is_no_utf8_is_refused(photos, refuse):
    (photos / "list.csv").write_bytes(rows(bad="schlecht für").encode("cp1252"))
    line = refuse("data", "import", photos, "--name", "tablet", "--labels", photos / "list.csv")
    assert "is no UTF-8; save it as 'CSV UTF-8'" in line


def test_two_lists_are_one_too_many(photos, refuse):
    (photos / "one.csv").write_text(rows())
    (photos / "two.csv").write_text(rows())
    assert "two lists of labels" in refuse("data", "import", photos, "--name", "tablet")
