"""Files of posts and predictions: every kind, and what is wrong with a row is told or counted."""

import csv
import hashlib
import json
import logging
import re
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest

from inarch.errors import DataError
from inarch.spans.official import OFFICIAL, Official, check_official
from inarch.spans.read import (
    Post,
    read_labels,
    read_posts,
    read_predictions,
    without,
    write_predictions,
)

HARD = ['He said "no",\nNA\r\nnull ', "naïve 👍🏽 café", "", "None"]


@pytest.fixture
def write(tmp_path):
    """Write a file, from rows or text, and return its path."""

    def to(name: str, content: object) -> Path:
        path = tmp_path / name
        if name.endswith(".csv") and not isinstance(content, str | bytes):
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8", newline="")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return path

    return to


# ------------------------------------------------------------------------------------ what is read


def test_a_csv_keeps_line_ends_quotes_and_words_that_look_missing(write):
    path = write("a.csv", [["spans", "text"], *(["[]", text] for text in HARD)])
    assert [post.text for post in read_posts(path)] == HARD
    assert [row.id for row in read_labels(path)] == ["0", "1", "2", "3"]


def test_every_form_of_spans(write):
    text = "a 👍 fool, fool"
    forms = [
        [4, 5, 6, 7],
        [[4, 8]],
        [{"start": 4, "end": 8, "text": "fool", "score": 0.9}],
    ]
    for form in forms:
        rows = [{"text": text, "spans": form}, {"text": "", "spans": []}]
        assert read_posts(write("a.jsonl", rows)) == [Post(text, (4, 5, 6, 7)), Post("", ())]
    rows = [["text", "id", "spans"], [text, "x", "[7, 4, 4]"], [text, "y", " [[4, 5], (7, 8)]"]]
    assert [row.offsets for row in read_labels(write("a.csv", rows[:2]))] == [(4, 7)]
    assert [row.id for row in read_labels(write("b.csv", rows[::2]))] == ["y"]


def test_predictions_are_read_as_they_are_written(write, tmp_path):
    path = tmp_path / "spans-pred.txt"
    write_predictions(path, [[3, 1], (), {0}])
    assert path.read_text() == "0\t[1, 3]\n1\t[]\n2\t[0]\n"
    texts = write("gold.csv", [["spans", "text"], ["[1]", "abcd"], ["[]", ""], ["[0]", "x"]])
    gold = read_labels(texts)
    assert read_predictions(path, gold) == [(1, 3), (), (0,)]
    path.write_text("2\t[0]\r\n0\t[1, 3]\r\n\r\n1\t[]")  # any order
    assert read_predictions(path, gold) == [(1, 3), (), (0,)]


def test_posts_held_out_are_removed():
    posts = [Post("a", (0,)), Post("B ", ()), Post("c", ())]
    held_out = [Post("a", ()), Post("b", ())]
    assert without(posts, held_out) == posts[1:]
    assert without(posts, held_out, fold=True) == posts[2:]


# ----------------------------------------------------------------------------- the official files


def test_the_official_files(toxic_spans):
    posts = {name: read_posts(toxic_spans / name) for name in OFFICIAL}
    for name, rows in posts.items():
        check_official(toxic_spans / name, [post.offsets for post in rows])
    train, trial, test = posts.values()
    assert (len(train), len(trial), len(test)) == (7939, 690, 2000)
    assert len(without(train, trial)) == 7931
    assert len(without(train, trial, fold=True)) == 7928
    assert without(train, test) == train


def test_a_file_that_only_claims_to_be_official_is_told(write, caplog):
    path = write("tsd_trial.csv", [["spans", "text"], ["[0]", "x"]])
    with caplog.at_level(logging.WARNING):
        rows = read_posts(path)
    assert "has the name of an official file" in caplog.text
    with pytest.raises(DataError, match=r"found 1 posts, 0 without a span.*expected 690, 43"):
        check_official(path, [row.offsets for row in rows])
    with pytest.raises(DataError, match=r"expected one of tsd_train\.csv"):
        check_official(path.with_name("other.csv"), [])


def test_the_sum_of_a_file_counts_too(write, monkeypatch):
    path = write("tsd_trial.csv", 'spans,text\n"[0]",x\n')
    for md5, is_right in ((hashlib.md5(path.read_bytes()).hexdigest(), True), ("0" * 32, False)):
        monkeypatch.setitem(OFFICIAL, "tsd_trial.csv", Official(md5, 1, 0))
        with nullcontext() if is_right else pytest.raises(DataError, match="expected 1, 0, 000"):
            check_official(path, [(0,)])


# ------------------------------------------------------------------------------ what is wrong

BAD = [
    ("spans: found '[1, 2'; expected a list", ["[1, 2", "abc"]),
    ("spans: found \"__import__('os')\"; expected a list", ["__import__('os')", "abc"]),
    ("spans: found 3; expected a list", ["3", "abc"]),
    ("spans: found 'x'; expected a start", ["['x']", "abc"]),
    ("spans: found True; expected a start", ["[True]", "abc"]),
    ("spans: found [2, 2]; expected a start", ["[[2, 2]]", "abc"]),
    ("characters 2 to 3 of a text of 3; expected code points", ["[2, 3]", "abc"]),
    ("characters -1 to 0 of a text of 3", ["[-1, 0]", "abc"]),
    ("characters 1 to 3 of a text of 3", ["[[1, 4]]", "abc"]),
    ("found 3 columns; expected 2", ["[1]", "abc", "more"]),
]


@pytest.mark.parametrize(("told", "row"), BAD, ids=[row[0] for _, row in BAD])
def test_a_bad_row_is_named_or_counted(write, told, row):
    rows = [["spans", "text"], ["[0]", "fine"], row, ["[1]", "also fine"]]
    path = write("a.csv", rows)
    with pytest.raises(DataError, match=rf"a\.csv row 1: .*{re.escape(told)}"):
        read_posts(path)
    skipped = Counter()
    posts = read_labels(path, skipped)
    assert [(row.id, row.text) for row in posts] == [("0", "fine"), ("2", "also fine")]
    assert skipped.total() == 1


def test_other_bad_rows_of_json(write):
    fine = {"text": "abcdefgh", "spans": [1]}
    for row, told in (
        ({"text": "abc", "spans": [0, 2]}, r"\[0, 2\], which could be .* write \[\[0, 2\]\]"),
        ({"text": "a👍bc", "spans": [{"start": 3, "end": 4, "text": "b"}]}, "the post has 'c'"),
        ({"text": 3, "spans": []}, "text: found 3; expected a string"),
        ({"text": "abc"}, "found text; expected text and spans"),
        ([1], "found list; expected text and spans"),
        ({"text": "abc", "spans": [[0, 2]]}, "found ranges, but characters in .*:1"),
    ):
        with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{told}"):
            read_posts(write("a.jsonl", [fine, row]))
    assert read_posts(write("a.jsonl", [{"text": "abc", "spans": [0, 1]}]))[0].offsets == (0, 1)


def test_a_list_in_a_field_may_be_json(write):
    spans = '[{"start": 1, "end": 2, "label": null, "sure": true}]'
    assert read_posts(write("a.csv", [["spans", "text"], [spans, "abc"]]))[0].offsets == (1,)


def test_a_range_that_no_text_can_have_is_told_before_it_fills_the_memory(write):
    path = write("p.jsonl", [{"spans": [[0, 2**50]]}])
    with pytest.raises(DataError, match=rf"p\.jsonl:1: spans: found characters 0 to {2**50 - 1}"):
        read_labels(path)


def test_ids_are_each_there_once(write):
    rows = [["id", "spans", "text"], ["7", "[]", "a"], ["7", "[]", "b"]]
    with pytest.raises(DataError, match=r"row 1: found the id '7', which .* row 0 has already"):
        read_labels(write("a.csv", rows))
    skipped = Counter()
    assert len(read_labels(write("a.csv", rows), skipped)) == 1
    assert skipped == {"rows whose id was there before": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text\nabc\n", r"found the columns text; expected spans and text \(SemEval's"),
        ("", "found the columns ; expected"),
        ("spans,text,text\n[],a,b\n", "found the columns spans, text, text"),
        ('spans,text\n[],"never closed\n', r"a\.csv:2: not CSV .* was the file cut"),
        ("spans,text\n[],naïve".encode("latin-1"), "byte 16 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_such_csv(write, content, told):
    with pytest.raises(DataError, match=told):
        read_posts(write("a.csv", content))


def test_a_file_that_is_not_there_or_has_no_texts(write, tmp_path):
    with pytest.raises(DataError, match="found no such file"):
        read_posts(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"p\.txt:1: found no text"):
        read_posts(write("p.txt", "0\t[1]\n"))


@pytest.mark.parametrize(
    ("content", "told", "offsets", "counted"),
    [
        ("0\t[1]\n", "no prediction for 1 of 2 posts, the first with the id '1'", (1,), 1),
        ("0\t[1]\n1\t[]\n2\t[]\n", r"p\.txt:3: found the id '2', which none of the 2", (1,), 1),
        ("0\t[1\n1\t[]\n", r"p\.txt:1: spans: found '\[1'", (), 2),
        ("0 [1]\n1\t[]\n", r"p\.txt:1: found '0 \[1\]'; expected an id, a tab", (), 2),
        ("0\t[1]\n1\t[]\n0\t[]\n", r"p\.txt:3: found the id '0', which", (1,), 1),
        ("0\t[1, 4]\n1\t[]\n", r"p\.txt:1: spans: found characters 1 to 4 of a text of 4", (), 2),
    ],
)
def test_predictions_that_do_not_fit(write, content, told, offsets, counted):
    gold = read_labels(write("g.csv", [["spans", "text"], ["[1]", "abcd"], ["[]", "x"]]))
    path = write("p.txt", content)
    with pytest.raises(DataError, match=told):
        read_predictions(path, gold)
    skipped = Counter()
    assert read_predictions(path, gold, skipped) == [offsets, ()]
    assert skipped.total() == counted


def test_predictions_for_other_texts_are_refused(write):
    gold = read_labels(write("g.csv", [["spans", "text"], ["[1]", "abcd"]]))
    other = write("p.jsonl", [{"text": "abce", "spans": []}])
    with pytest.raises(DataError, match=r"p\.jsonl:1: found another text than .*g\.csv row 0"):
        read_predictions(other, gold)
    with pytest.raises(DataError, match=r"p\.txt:1: spans: found characters 4 to 4 of a text of 4"):
        read_predictions(write("p.txt", "0\t[4]"), gold)


def test_a_field_may_be_longer_than_the_csv_module_allows(write):
    text = "a" * 200_000
    limit = csv.field_size_limit()
    assert read_posts(write("a.csv", [["spans", "text"], ["[199999]", text]]))[0].text == text
    assert csv.field_size_limit() == limit
