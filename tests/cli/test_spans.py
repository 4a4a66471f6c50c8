"""The commands ``inarch spans score`` and ``inarch spans screen``, as they are typed."""

import json

import pytest

from inarch.spans.lexicon import LexiconTagger

GOLD = 'spans,text\n"[4, 5, 6, 7]",you fool\n[],fine\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gold.csv").write_text(GOLD)
    (tmp_path / "train.csv").write_text(GOLD.replace("fool", "fool one").replace("fine", "two"))
    (tmp_path / "spans-pred.txt").write_text("0\t[4, 5]\n1\t[]\n")
    rows = [{"text": "a damn fool"}, {"text": "fine"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    LexiconTagger({"fool": 0.9, "damn": 0.6}).save_pretrained(tmp_path / "words")
    return tmp_path


def test_score_prints_one_object_with_these_keys(place, inarch_says):
    code, printed, _ = inarch_says(
        *("spans", "score", "--gold", "gold.csv", "--pred", "spans-pred.txt", "--json")
    )
    assert code == 0
    found = json.loads(printed)
    assert list(found) == ["f1", "standard_error", "f1_empty", "f1_nonempty", "n"]
    # Per post 2 * 2 / (2 + 4) and 1: mean 5/6, error (1/3) / sqrt(2) / sqrt(2).
    assert found == pytest.approx(
        {"f1": 5 / 6, "standard_error": 1 / 6, "f1_empty": 1, "f1_nonempty": 2 / 3, "n": 2}
    )


def test_score_shows_what_stands_beside(place, inarch_says):
    command = ("spans", "score", "--gold", "gold.csv", "--pred", "spans-pred.txt")
    beside = ("--train", "train.csv", "--against", "gold.csv", "--out", "kept")
    code, printed, _ = inarch_says(*command, *beside)
    assert code == 0
    for part in ("spans-pred.txt", "gold.csv", "lexicon", "logistic", "0.8333", "-0.1667", "words"):
        assert part in printed
    assert "Spans: shorter 1\n" in printed
    assert (place / "kept" / "lexicon" / "lexicon.json").is_file()
    lines = inarch_says(*command, *beside, "--json")[1].splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row.get("beside") for row in rows] == [None, "gold.csv", "lexicon", "logistic"]
    assert set(rows[1]["better"]) == {"difference", "standard_error", "p", "n"}


def test_score_says_what_is_wrong(place, inarch_says):
    command = ("spans", "score", "--gold", "gold.csv", "--pred", "spans-pred.txt")
    (place / "spans-pred.txt").write_text("0\t[4, 55]\n1\t[]\n")
    code, printed, told = inarch_says(*command)
    assert (code, printed) == (2, "")
    assert told == (
        "spans-pred.txt:1: spans: found characters 4 to 55 of a text of 8; expected code points"
        " within it, counted from 0\n"
    )
    (place / "spans-pred.txt").write_text("0\t[4]\n")
    code, printed, _ = inarch_says(*command, "--skip-bad")
    assert code == 0
    assert "1 posts without a usable prediction" in printed


def test_screen_shows_a_report_with_veiled_words(place, inarch_says):
    command = ("spans", "screen", "rows.jsonl", "--model", "words")
    code, printed, _ = inarch_says(*command)
    assert code == 0
    assert "50.00%" in printed
    assert "Commonest: d*** f*** 1" in printed
    assert "fool" not in printed
    assert printed.endswith("runs/rows-screened\n")
    assert len((place / "runs/rows-screened/screened.jsonl").read_text().splitlines()) == 2
    assert "Commonest: damn fool 1" in inarch_says(*command, "--plain")[1]
    dropped = inarch_says(*command, "--action", "drop", "--out", "x", "--json")[1]
    report = json.loads(dropped)
    assert (report["action"], report["rows"], report["flagged"]) == ("drop", 2, 1)
    assert len((place / "x/screened.jsonl").read_text().splitlines()) == 1


def test_screen_shows_which_groups_a_tagger_insults(place, inarch_says):
    LexiconTagger({"jew": 1.0}).save_pretrained(place / "words")
    printed = inarch_says("spans", "screen", "rows.jsonl", "--model", "words")[1]
    assert "once they name a group: jew 100%" in printed
    assert "Spans of nothing but these names do not count above: the setting `overlook`" in printed
    LexiconTagger({"jew": 1.0, "gay": 1.0}).save_pretrained(place / "words")
    command = ("spans", "screen", "rows.jsonl", "--model", "words", "--out", "x")
    printed = inarch_says(*command, "--set", "overlook=[gay]")[1]
    assert "Spans of nothing but gay do not count above" in printed
    printed = inarch_says(*command[:-1], "y", "--set", "overlook=[]")[1]
    assert "gay 100%" in printed
    assert "overlook" not in printed


def test_screen_says_that_only_answers_count(place, inarch_says):
    command = ("spans", "screen", "--model", "words")
    assert "Answers only" not in inarch_says(*command, "rows.jsonl")[1]
    turns = [{"role": "user", "content": "fool"}, {"role": "assistant", "content": "no"}]
    (place / "chats.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    printed = inarch_says(*command, "chats.jsonl")[1]
    assert "Answers only: spans of other turns do not count; --set where=all" in printed
    assert "0.00%" in printed
    printed = inarch_says(*command, "chats.jsonl", "--set", "where=all", "--out", "all")[1]
    assert "Answers only" not in printed
    assert "100.00%" in printed
    pair = {"prompt": "fool", "chosen": "no", "rejected": "x"}  # where: all changes nothing here
    (place / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    assert "Answers only" not in inarch_says(*command, "pairs.jsonl")[1]


def test_screen_refuses_what_it_does_not_know(place, inarch_says):
    command = ("spans", "screen", "rows.jsonl", "--model", "words")
    code, _, told = inarch_says(*command, "--action", "burn")
    assert (code, told.split(":")[0]) == (2, "--set action=burn")
    code, _, told = inarch_says("spans", "screen", "rows.jsonl", "--model", "nowhere")
    assert code == 2
    assert "nowhere" in told


def test_a_dry_run_of_screen(place, inarch_says):
    code, printed, _ = inarch_says("spans", "screen", "rows.jsonl", "--model", "words", "--dry-run")
    assert code == 0
    assert "action: flag" in printed
    assert "from the first 2 rows" in printed
    assert not (place / "runs").exists()
