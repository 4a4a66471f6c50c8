"""Scores of prediction files, with baselines and a peer beside them."""

import csv
import json
import math
import sys

import pytest

from inarch.errors import DataError
from inarch.flows.spans_score import as_json, run
from inarch.spans.loading import load_tagger

POSTS = [("you fool", [4, 5, 6, 7]), ("fine", []), ("a fool!", [2, 3, 4, 5]), ("ok fool", [])]


@pytest.fixture
def files(tmp_path):
    """Gold as CSV and as JSONL, predictions of two systems, posts to train on."""
    gold, train = tmp_path / "gold.csv", tmp_path / "train.csv"
    for path, posts in ((gold, POSTS), (train, [(f"{t} {i}", s) for i in "12" for t, s in POSTS])):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "spans"), *posts])
    rows = [{"text": text, "spans": spans} for text, spans in POSTS]
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pred.txt").write_text("0\t[4, 5, 6, 7]\n1\t[]\n2\t[2, 3]\n3\t[0]\n")
    rows = [
        {"id": i, "spans": [{"start": s[0], "end": s[-1] + 1}] if s else []}
        for i, (_, s) in enumerate(POSTS)
    ]
    (tmp_path / "perfect.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize("gold", ["gold.csv", "gold.jsonl"])
def test_scores_by_hand(files, gold):
    found = run(files / gold, files / "pred.txt")
    # Per post 1, 1, 2 * 2 / (2 + 4), 0.
    assert found.official.f1 == pytest.approx((1 + 1 + 2 / 3 + 0) / 4)
    assert found.official[2:] == pytest.approx((0.5, (1 + 2 / 3) / 2, 4))
    assert found.micro_character_f1 == pytest.approx(2 * 6 / (7 + 8))
    assert found.micro_word_f1 == pytest.approx(2 * 2 / (3 + 2))  # the word of offset 0 is wrong
    assert (found.beside, found.skipped) == ((), {})
    kinds = {kind: number for kind, number in found.errors.items() if number}
    assert kinds == {"exact": 1, "shorter": 1, "added to empty": 1}
    assert run(files / gold, files / "perfect.jsonl").official.f1 == 1.0


def test_gold_may_be_predictions_too(files):
    found = run(files / "pred.txt", files / "perfect.jsonl")
    assert found.official.f1 == pytest.approx((1 + 1 + 2 / 3 + 0) / 4)
    assert math.isnan(found.micro_word_f1)
    with pytest.raises(DataError, match="found no texts for the baselines"):
        run(files / "pred.txt", files / "perfect.jsonl", train=files / "gold.csv")


def test_a_peer_and_baselines_beside_it(files):
    out = files / "kept"
    found = run(
        files / "gold.csv",
        files / "pred.txt",
        train=files / "train.csv",
        against=files / "perfect.jsonl",
        out=out,
    )
    peer, lexicon, logistic = found.beside
    assert (peer.name, lexicon.name) == (str(files / "perfect.jsonl"), "lexicon")
    assert peer.better.difference == pytest.approx(found.official.f1 - 1)
    assert peer.cpu_s is None
    # In train, fool is in a span in 4 of 6 posts: it is found wherever it stands.
    assert lexicon.score.f1 == 0.75
    assert lexicon.better.difference == pytest.approx(found.official.f1 - 0.75)
    assert logistic.cpu_s > 0
    assert load_tagger(out / "lexicon").ratios == {"fool": 4 / 6}
    kept = load_tagger(out / "logistic").tag_batch([text for text, _ in POSTS])
    assert any(kept)


def test_baselines_do_not_see_the_gold_posts(files):
    with pytest.raises(DataError, match="once those of gold are left out"):
        run(files / "gold.csv", files / "pred.txt", train=files / "gold.jsonl")


def test_without_scikit_learn_the_lexicon_remains(files, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    found = run(files / "gold.csv", files / "pred.txt", train=files / "train.csv")
    assert [beside.name for beside in found.beside] == ["lexicon"]
    assert "logistic is left out: " in caplog.text


def test_posts_to_learn_from_may_be_of_one_kind(files):
    (files / "train.csv").write_text("spans,text\n[],a fool\n[],a day\n")
    found = run(files / "gold.csv", files / "pred.txt", train=files / "train.csv")
    # Two of the four posts are empty.
    assert [(beside.name, beside.score.f1) for beside in found.beside] == [
        ("lexicon", 0.5),
        ("logistic", 0.5),
    ]


def test_bad_rows_stop_it_or_are_counted(files):
    (files / "pred.txt").write_text("0\t[4, 5, 6, 7\n1\t[]\n2\t[2, 3, 4, 5]\n")
    with pytest.raises(DataError, match=r"pred\.txt:1: spans"):
        run(files / "gold.csv", files / "pred.txt")
    found = run(files / "gold.csv", files / "pred.txt", skip_bad=True)
    assert found.official.f1 == pytest.approx((0 + 1 + 1 + 1) / 4)
    assert found.skipped == {
        "rows whose spans are no list of characters or ranges": 1,
        "posts without a usable prediction": 2,
    }


def test_json_has_no_nan(files):
    (files / "one.csv").write_text('spans,text\n"[0]",ab\n')
    found = as_json(run(files / "one.csv", files / "one.csv").official)
    expected = {"f1": 1.0, "standard_error": None, "f1_empty": None, "f1_nonempty": 1.0, "n": 1}
    assert found == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


@pytest.mark.slow
def test_the_named_scores_of_the_baselines(toxic_spans, tmp_path):
    from inarch.spans.read import read_posts, without, write_predictions

    train, trial, test = (
        read_posts(toxic_spans / f"tsd_{name}.csv") for name in ("train", "trial", "test")
    )
    path = tmp_path / "train.jsonl"
    rows = (
        {"text": p.text, "spans": [[i, i + 1] for i in p.offsets]} for p in without(train, trial)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_predictions(tmp_path / "pred.txt", [()] * len(test))
    found = run(toxic_spans / "tsd_test.csv", tmp_path / "pred.txt", train=path)
    lexicon, logistic = (beside.score.f1 for beside in found.beside)
    assert found.official.f1 == 0.197
    assert lexicon == pytest.approx(0.644228, abs=1e-6)
    assert logistic >= 0.640
