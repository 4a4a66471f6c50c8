"""What a scored tagger leaves for its report."""

import json
import sys
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

from inarch.errors import DataError, SettingsError
from inarch.flows import spans_score
from inarch.flows._spans.dev import token_reliability, write_dev
from inarch.flows._spans.scored import Beside, plain, read_scores
from inarch.spans.coders import Tokens
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.offsets import offsets_to_spans
from inarch.spans.read import Post
from inarch.spans.tagger import Tagged

GOLD = [("you fool", [[4, 8]]), ("fine", []), ("a fool!", [[2, 6]]), ("ok fool", [])]
PREDICTED = [[(4, 8, 0.9)], [], [(2, 4, 0.8), (0, 1, 0.7)], [(3, 7, 0.95)]]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path):
    gold = [{"text": text, "spans": spans} for text, spans in GOLD]
    spans = [[dict(zip(("start", "end", "score"), s, strict=True)) for s in r] for r in PREDICTED]
    lines(tmp_path / "gold.jsonl", gold)
    lines(tmp_path / "pred.jsonl", [{"id": i, "spans": row} for i, row in enumerate(spans)])
    (tmp_path / "pred.txt").write_text("0\t[4, 5, 6, 7]\n1\t[]\n2\t[0, 2, 3]\n3\t[3, 4, 5, 6]\n")
    return tmp_path


def test_the_run_folder_of_scores(files):
    out = files / "out"
    found = spans_score.run(files / "gold.jsonl", files / "pred.jsonl", out=out)
    rows = [json.loads(line) for line in (out / "scored.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == [text for text, _ in GOLD]
    assert [row["gold"] for row in rows] == [[[4, 8]], [], [[2, 6]], []]
    # In the order of the text, whatever the file's.
    assert rows[2]["predicted"] == [[0, 1, 0.7], [2, 4, 0.8]]
    # 2 * 2 / (4 + 3) for the third.
    assert [row["f1"] for row in rows] == pytest.approx([1.0, 1.0, 4 / 7, 0.0])
    kept = json.loads((out / "scores.json").read_text())
    assert kept["official"]["f1"] == found.official.f1
    assert kept["errors"]["added to empty"] == 1
    assert kept["beside"] == []
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["stage"], manifest["status"]) == ("spans score", "done")
    assert manifest["settings"]["predicted"] == str(files / "pred.jsonl")
    # Scores .9 and .95 are in the last bin: one is gold, the other is not; .7 is not, .8 is.
    bins = kept["calibration"]["found"]["bins"]
    assert kept["calibration"]["of"] == "spans"
    assert bins[9] == pytest.approx({"num": 2, "score": 0.925, "toxic": 0.5})
    assert [row["toxic"] for row in bins[7:9]] == [0.0, 1.0]
    assert bins[0] == {"num": 0, "score": None, "toxic": None}
    assert kept["calibration"]["found"]["ece"] == pytest.approx((2 * 0.425 + 0.7 + 0.2) / 4)


def test_predictions_without_scores_have_no_calibration(files):
    out = files / "out"
    found = spans_score.run(files / "gold.jsonl", files / "pred.txt", out=out)
    assert found.calibration is None
    row = json.loads((out / "scored.jsonl").read_text().splitlines()[2])
    assert row["predicted"] == [[0, 1, None], [2, 4, None]]
    assert json.loads((out / "scores.json").read_text())["calibration"] is None
    # A span without one among others with one: nothing is known of the whole.
    rows = [json.loads(line) for line in (files / "pred.jsonl").read_text().splitlines()]
    rows[2]["spans"][0]["score"] = 7  # a logit, say
    lines(files / "logits.jsonl", rows)
    assert spans_score.run(files / "gold.jsonl", files / "logits.jsonl").calibration is None
    del rows[2]["spans"][0]["score"]
    lines(files / "some.jsonl", rows)
    assert spans_score.run(files / "gold.jsonl", files / "some.jsonl").calibration is None


def test_gold_without_texts_is_scored_too(files):
    out = files / "out"
    spans_score.run(files / "pred.txt", files / "pred.jsonl", out=out)
    row = json.loads((out / "scored.jsonl").read_text().splitlines()[0])
    assert row["text"] is None
    assert json.loads((out / "scores.json").read_text())["micro_word_f1"] is None


def test_a_folder_of_other_scores_is_refused(files):
    out = files / "out"
    spans_score.run(files / "gold.jsonl", files / "pred.jsonl", out=out)
    spans_score.run(files / "gold.jsonl", files / "pred.jsonl", out=out)
    with pytest.raises(SettingsError, match="differs from this one"):
        spans_score.run(files / "gold.jsonl", files / "pred.txt", out=out)
    lines(files / "pred.jsonl", [])
    with pytest.raises(SettingsError, match=r"inputs\.predicted"):
        spans_score.run(files / "gold.jsonl", files / "pred.jsonl", out=out)


def test_what_fails_leaves_no_scores(files):
    lines(files / "pred.jsonl", [])
    with pytest.raises(DataError):
        spans_score.run(files / "gold.jsonl", files / "pred.jsonl", out=files / "out")
    assert not (files / "out" / "scores.json").exists()


class Words:
    """A tagger of words by hand: what it finds, and how probable each word is."""

    probability = MappingProxyType({"fool": 0.9, "dear": 0.3})

    def __init__(self):
        self.coder = SimpleNamespace(encode=self.encode)

    def encode(self, texts):
        self.words = [text.split() for text in texts]
        ends = [np.cumsum([len(word) + 1 for word in row]) - 1 for row in self.words]
        return [
            Tokens(np.arange(len(row)), [(e - len(w), e) for w, e in zip(row, own, strict=True)])
            for row, own in zip(self.words, ends, strict=True)
        ]

    def mark(self, encoded):
        probs = [np.array([self.probability.get(w, 0.0) for w in row]) for row in self.words]
        return [Tagged(row > 0.5, row) for row in probs]

    def tag_batch(self, texts):
        found = [text.find("fool") for text in texts]
        return [
            [s._replace(score=0.9) for s in offsets_to_spans(text, range(at, at + 4))]
            if at >= 0
            else []
            for text, at in zip(texts, found, strict=True)
        ]


DEV = [Post("dear fool", (0, 1, 2, 3, 5, 6, 7, 8)), Post("a fool", ()), Post("dear me", ())]


def test_tokens_by_their_marginals(monkeypatch):
    # fool is toxic in one of two posts, dear in one of two; a and me are not.
    for at_once in (2, 1024):
        monkeypatch.setattr("inarch.flows._spans.dev._AT_ONCE", at_once)
        found = token_reliability(Words(), DEV)
        assert [found.bins[i].num for i in (0, 3, 9)] == [2, 2, 2]
        assert [found.bins[i].toxic for i in (0, 3, 9)] == [0.0, 0.5, 0.5]
        assert found.ece == pytest.approx((2 * 0.2 + 2 * 0.4) / 6)


def test_what_a_training_leaves_of_its_development_set(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    posts = [Post("you fool", (4, 5, 6, 7)), Post("this fool", (5, 6, 7, 8)), Post("fine", ())]
    write_dev(tmp_path, Words(), posts, DEV)
    kept = json.loads((tmp_path / "scores.json").read_text())
    # 2 * 4 / (4 + 8), 0 and 1
    assert kept["official"]["f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert kept["calibration"]["of"] == "tokens"
    (lexicon,) = kept["beside"]  # it knows fool, as the tagger does
    assert (lexicon["name"], lexicon["better"]["difference"]) == ("lexicon", 0.0)
    assert LexiconTagger.from_pretrained(tmp_path / "lexicon").ratios == {"fool": 1.0}
    row = json.loads((tmp_path / "scored.jsonl").read_text().splitlines()[0])
    assert row["predicted"] == [[5, 9, 0.9]]
    assert row["gold"] == [[0, 4], [5, 9]]


def test_posts_without_any_span_teach_baselines_to_find_none(tmp_path):
    write_dev(tmp_path, Words(), [Post("fine", ())], DEV)
    beside = json.loads((tmp_path / "scores.json").read_text())["beside"]
    assert [other["name"] for other in beside] == ["lexicon", "logistic"]
    assert [other["score"]["f1"] for other in beside] == pytest.approx([2 / 3] * 2)


def test_what_was_written_of_scores_is_read_again(files):
    assert read_scores(files) is None
    lines(files / "gold.jsonl", [{"text": text, "spans": [[0, 1]]} for text, _ in GOLD])
    train = lines(files / "train.jsonl", [{"text": "my dog", "spans": [[3, 6]]}])
    found = spans_score.run(
        files / "gold.jsonl", files / "pred.jsonl", train=train, out=files / "out"
    )
    again = read_scores(files / "out")
    assert np.isnan(again.official.f1_empty)  # no post is without a gold span
    assert plain(again._replace(calibration=found.calibration)) == plain(found)
    assert [type(other) for other in again.beside] == [Beside, Beside]
