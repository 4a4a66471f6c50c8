"""Screening of a file: what is written, what it adds up to, and a run that was killed."""

import json

import pytest

from inarch.errors import DataError, SettingsError, WeightsError
from inarch.flows import spans_screen as flow
from inarch.flows.spans_screen import ScreenSettings, plan, run
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.screen import restored

CHAT = [{"role": "user", "content": "damn"}, {"role": "assistant", "content": "You Fool, you FOOL"}]
ROWS = [
    {"messages": CHAT, "domain": "chat"},
    {"text": "a nice day"},
    {"prompt": "fool", "chosen": "fool, ox", "rejected": "x", "domain": "pairs"},
    {"prompt": "fool", "chosen": "fool", "rejected": "x", "domain": "pairs"},
    {"text": "lone \ud83d ox", "domain": "chat"},
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with rows and a tagger; two rows are screened at a time."""
    monkeypatch.setattr(flow, "_ROWS_AT_ONCE", 2)
    write(tmp_path / "rows.jsonl", ROWS)
    tagger = LexiconTagger({"fool": 0.9, "damn": 0.6, "ox": 0.7})
    tagger.save_pretrained(tmp_path / "words")
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def screen(place, out="out", skip_bad=False, **settings):
    return run(
        str(place / "rows.jsonl"),
        [str(place / "words")],
        place / out,
        ScreenSettings(**settings),
        skip_bad=skip_bad,
    )


def test_the_report_by_hand(place):
    assert screen(place) == {
        "action": "flag",
        "rows": 5,
        "flagged": 3,
        "spans": 4,
        "groups": {
            "": {"rows": 1, "flagged": 0, "spans": 0},
            "chat": {"rows": 2, "flagged": 2, "spans": 3},
            "pairs": {"rows": 2, "flagged": 1, "spans": 1},
        },
        "strings": [["fool", 2], ["ox", 2]],
        "skipped": {},
        "identities": {},
        "overlooked": [],
        "where": "answers",
        "chats": 1,  # preferences are none
    }
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        *(".lock", "changed.jsonl", "manifest.json", "report.json", "screened.jsonl"),
    ]


def test_half_of_a_surrogate_pair_may_be_found(place):
    LexiconTagger({"\ufffd": 1.0}).save_pretrained(place / "words")
    assert screen(place, action="mask")["strings"] == [["\ufffd", 1]]
    (row,) = read(place / "out" / "changed.jsonl")
    assert row["screen"]["spans"][0]["text"] == "\ud83d"


@pytest.mark.parametrize(
    ("action", "kept", "changed"),
    [("flag", 5, 0), ("drop", 2, 3), ("mask", 5, 3)],
)
def test_each_action_can_be_undone(place, action, kept, changed):
    screen(place, action=action)
    rows, others = (read(place / "out" / f"{name}.jsonl") for name in ("screened", "changed"))
    assert (len(rows), len(others)) == (kept, changed)
    assert restored(rows, others) == ROWS
    texts = "".join(str(row.get("messages", row.get("chosen"))) for row in rows)
    assert ("You Fool" in texts) == (action == "flag")
    if action == "mask":
        assert rows[0]["messages"][1]["content"] == "You […], you […]"
        assert rows[2]["chosen"] == "fool, […]"


def test_several_taggers_vote(place):
    LexiconTagger({"ox": 1.0}).save_pretrained(place / "others")
    models = [str(place / "words"), str(place / "others")]
    data = str(place / "rows.jsonl")
    assert run(data, models, place / "all", ScreenSettings())["strings"] == [["ox", 2]]
    union = run(data, models, place / "any", ScreenSettings(), min_votes=1)
    assert union["strings"] == [["fool", 2], ["ox", 2]]


def test_the_report_says_which_groups_the_tagger_insults(place):
    LexiconTagger({"gay": 1.0}).save_pretrained(place / "words")
    write(place / "rows.jsonl", [{"text": "a gay man"}])
    report = screen(place)
    assert report["identities"] == {"gay": 1.0}
    assert report["flagged"] == 0


def test_a_run_that_was_killed_goes_on(place, monkeypatch):
    whole = screen(place, "whole", action="drop")
    tagged = []

    def tag(self, text):
        tagged.append(text)
        if len(tagged) == 8:  # within the second of three parts
            raise KeyboardInterrupt
        return real(self, text)

    real = LexiconTagger.tag
    monkeypatch.setattr(LexiconTagger, "tag", tag)
    with pytest.raises(KeyboardInterrupt):
        screen(place, action="drop")
    assert not (place / "out" / "screened.jsonl").exists()
    assert screen(place, action="drop") == whole
    assert tagged.count("a nice day") == 1  # of the first part, which was whole
    assert tagged.count("fool, ox") == 2
    for name in ("screened.jsonl", "changed.jsonl", "report.json"):
        assert (place / "out" / name).read_bytes() == (place / "whole" / name).read_bytes()
    tagged.clear()
    assert screen(place, action="drop") == whole  # done: nothing is tagged again
    assert tagged == []
    with pytest.raises(SettingsError, match="action"):
        screen(place, action="mask")


def test_other_data_and_other_models_are_refused(place):
    screen(place)
    LexiconTagger({"ox": 1.0}).save_pretrained(place / "words")
    with pytest.raises(SettingsError, match="model 0"):
        screen(place)


def test_bad_rows_stop_it_or_are_counted_and_kept(place):
    rows = [ROWS[0], {"label": 1}, [3], ROWS[1]]
    write(place / "rows.jsonl", rows)
    with pytest.raises(DataError, match=r"rows\.jsonl:2: found the columns label"):
        screen(place)
    report = screen(place, "again", skip_bad=True)
    assert report["skipped"] == {"rows without a text, or with something else in its place": 2}
    assert report["rows"] == 2
    kept, changed = (read(place / "again" / f"{name}.jsonl") for name in ("screened", "changed"))
    assert [row["screen"]["id"] for row in kept] == [0, 3]
    assert restored(kept, changed) == [ROWS[0], *rows[1:3], ROWS[1]]


def test_an_empty_file_and_an_absent_tagger(place):
    write(place / "rows.jsonl", [])
    report = screen(place)
    assert (report["rows"], report["groups"], report["strings"]) == (0, {}, [])
    with pytest.raises(WeightsError):
        run(str(place / "rows.jsonl"), [str(place)], place / "other", ScreenSettings())


def test_the_plan_counts_rows_and_writes_nothing(place):
    before = sorted(place.rglob("*"))
    made = plan(str(place / "rows.jsonl"), [str(place / "words")], ScreenSettings())
    assert made["rows"] == 5
    assert "from the first 5 rows" in made["time"]
    assert sorted(place.rglob("*")) == before


def test_the_plan_refuses_what_the_run_would(place):
    write(place / "rows.jsonl", [{"label": 1}, *ROWS])
    given = str(place / "rows.jsonl"), [str(place / "words")], ScreenSettings()
    with pytest.raises(DataError, match=r"rows\.jsonl:1: found the columns label"):
        plan(*given)
    assert plan(*given, skip_bad=True)["rows"] == 6
