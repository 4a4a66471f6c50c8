"""The pages of taggers: what they say, what they veil, and what a strange post does to them."""

import json
import re

import pytest
from typer.testing import CliRunner

from inarch import report
from inarch.cli.main import app
from inarch.errors import DataError, SettingsError
from inarch.report import ReportSettings

POSTS = [
    ("you <b>fool</b> & co", [[7, 11]], [[4, 15, 0.75]], 8 / 15),
    ("fine words", [], [], 1.0),
    ("a fool, an oaf", [[2, 6]], [[11, 14, 0.5]], 0.0),
    ("Foolish they are, and the crooks", [], [[26, 32, None]], 0.0),
]
ERRORS = {"exact": 0, "longer": 1, "missed": 1, "added": 1, "added to empty": 1}


def score(f1, empty=0.5, nonempty=0.27):
    return {"f1": f1, "standard_error": 0.21, "f1_empty": empty, "f1_nonempty": nonempty, "n": 4}


def beside(name, difference, p):
    better = {"difference": difference, "standard_error": 0.02, "p": p, "n": 4}
    return {"name": name, "score": score(0.38 - difference), "better": better, "cpu_s": 1.0}


def calibration(of="spans"):
    bins = [{"num": 0, "score": None, "toxic": None} for _ in range(10)]
    bins[5], bins[7] = (
        {"num": 1, "score": 0.5, "toxic": 0.0},
        {"num": 12, "score": 0.75, "toxic": 0.25},
    )
    return {"of": of, "found": {"ece": 0.1234, "bins": bins}}


SCORES = {
    "official": score(0.3833),
    "micro_character_f1": 0.31,
    "micro_word_f1": None,
    "errors": ERRORS,
    "beside": [],
    "skipped": {},
    "calibration": calibration(),
}


@pytest.fixture
def scored(tmp_path):
    """Write a folder as `inarch spans score` or `train` leaves it."""

    def write(posts=POSTS, *, stage="spans score", status="done", settings=None, **changed):
        own = settings or {"predicted": "runs/pred.jsonl", "gold": "gold.csv"}
        manifest = {"stage": stage, "settings": own, "status": status, "facts": {}}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        (tmp_path / "scores.json").write_text(json.dumps(SCORES | changed))
        names = ("text", "gold", "predicted", "f1")
        rows = [{"id": str(i), **dict(zip(names, p, strict=True))} for i, p in enumerate(posts)]
        (tmp_path / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path

    return write


def shown(html, kind="veiled"):
    """The posts of a page as they stand in it."""
    return re.findall(rf'<p class="post {kind}" dir="auto">(.*?)</p>', html, re.S)


def test_what_the_page_says(scored, page):
    others = [beside("x/lex.jsonl", 0.0312, 0.0004), beside("logistic", -0.02, 0.031)]
    found = page(scored(beside=[*others, beside("third", 0.01, 0.3)], skipped={"odd rows": 7}))
    assert (
        "The F1 of characters is 0.3833 ± 0.2100, the mean over 4 posts. Of those without a gold"
        " span, 50.0% are left alone; of the others the mean is 0.2700. It is better than"
        " lex.jsonl (by 0.0312, p = 0.0004); worse than logistic (by 0.0200, p = 0.0310); not"
        " told apart from third (p = 0.3000)."
    ) in found.text
    caption = "F1 of characters"
    assert found.row(caption, "this tagger") == ["0.3833 ± 0.2100", "0.5000", "0.2700", "", ""]
    assert found.row(caption, "logistic")[3:] == ["−0.0200 ± 0.0200", "0.0310"]
    assert found.row(caption, "lex.jsonl")[3:] == ["+0.0312 ± 0.0200", "0.0004"]
    assert found.row("Kinds", "missed") == [
        *("1", "25.0%"),
        "a gold span that nothing predicted overlaps",
    ]
    assert found.row("Calibration", "0.7 to 0.8") == ["12", "0.7500", "0.2500"]
    assert found.row("Calibration", "0.0 to 0.1") == ["0", "–", "–"]
    assert "Not as they should be: 7 odd rows." in found.text
    assert found.labels[1] == (
        "Spans by kind: exact 0, longer 1, missed 1, added 1, added to empty 1"
    )
    assert "expected calibration error 0.123" in found.labels[2]
    # What is exact has the first colour, the other four kinds have the second.
    plot = found.html.split('aria-label="Spans by kind')[1].split("</svg>")[0]
    assert (plot.count('class="cell"'), plot.count('class="cell below"')) == (1, 4)


def test_posts_come_worst_first_and_are_cut_off(scored, page):
    found = page(scored())
    notes = re.findall(r'<p class="note">F1 (.*?)</p>', found.html)
    assert notes == [
        "0.00 · missed 1, added 1 · post 2",  # 4 and 3 wrong characters
        "0.00 · added to empty 1 · post 3",  # 6
        "0.53 · longer 1 · post 0",
        "1.00 · no span · post 1",
    ]
    assert "All 4, the worst first." in found.text
    report.build(scored(), settings=ReportSettings(num_posts=2))
    html = (scored() / "report.html").read_text()
    assert len(shown(html)) == 2
    assert "The worst 2 of 4." in html


def test_marks_by_hand(scored, page):
    first, second, third, last = shown(page(scored()).html)
    # fool is marked somewhere, so Foolish is veiled where nobody marked it; oaf and crooks, too.
    assert first == 'a <u>f***</u>, an <mark title="score 0.50">o**</mark>'
    assert second == "F****** they are, and the <mark>c*****</mark>"
    # The sign before the mark's word is its first letter; what is marked by both is in both.
    assert third == (
        'you <mark title="score 0.75">&lt;**</mark><mark title="score 0.75"><u>f***</u></mark>'
        '<mark title="score 0.75">****</mark> &amp; co'
    )
    assert last == "fine words"


def test_no_word_is_in_a_page_that_was_not_asked_to_show_it(scored, page):
    folder = scored()
    found = page(folder)
    plots = "".join(path.read_text() for path in (folder / "plots").iterdir())
    for word in ("fool", "oaf", "crook"):
        assert word not in (found.html + plots).casefold()
    assert 'id="veil"' not in found.html


def test_reveal_puts_both_in_and_a_box(scored):
    path = report.build(scored(), settings=ReportSettings(reveal=True))
    html = path.read_text()
    assert len(shown(html)) == len(shown(html, "bare")) == 4
    assert shown(html, "bare")[0] == 'a <u>fool</u>, an <mark title="score 0.50">oaf</mark>'
    assert 'type="checkbox" id="veil"' in html
    assert "main:has(#veil:checked) .bare { display: none; }" in html


def test_reveal_as_it_is_typed(scored):
    folder = scored()
    for flags, told in ((["--reveal"], True), ([], False)):
        done = CliRunner().invoke(app, ["report", str(folder), *flags])
        assert done.exit_code == 0, done.output
        assert ("oaf" in (folder / "report.html").read_text()) == told


def test_words_of_a_kept_lexicon_are_veiled(scored, page):
    folder = scored([("a rotten gay apple", [], [], 1.0)])
    (folder / "lexicon").mkdir()
    kept = {"cpu_s": 1.0, "ratios": {"rotten": 0.9, "gay": 0.6}}
    (folder / "lexicon" / "lexicon.json").write_text(json.dumps(kept))
    assert shown(page(folder).html) == ["a r***** gay apple"]  # no name of a group


def test_strange_posts(scored, page):
    strange = [
        ("\U0001f44d\U0001f3fd ok\r\n\tx <script>\x00\ud83d", [[0, 2]], [], 0.0),
        ("شتم أحمق", [], [[4, 8, 1.0]], 0.1),
        (f"{'x' * 4000} fool {'y' * 50}", [[4001, 4005]], [], 0.5),
        (f"fool {'x' * 4000}", [[0, 4]], [], 0.6),
        (f"{'é ' * 2000}", [], [], 1.0),
        (None, [[0, 1]], [], 1.0),
    ]
    emoji, right_to_left, late, early, *_ = shown(page(scored(strange)).html)
    assert emoji == "<u>\U0001f44d\U0001f3fd</u> ok\n\tx &lt;script&gt;\ufffd\ufffd"
    assert right_to_left == 'شتم <mark title="score 1.00">أ***</mark>'
    # 1,500 characters, from 4056 - 1500 = 2556 on, as the text ends there.
    assert late == f"… {'x' * (4000 - 2556)} <u>f***</u> {'y' * 50}"
    assert early == f"<u>f***</u> {'x' * 1495} …"
    html = (scored(strange) / "report.html").read_text()
    assert "post 2 · 1,500 of 4,056 characters" in html
    assert len(shown(html)) == 5
    assert "The worst 5 of 6." in html


def test_without_texts_and_scores(scored, page):
    found = page(scored([(None, [[0, 1]], [], 0.0)], calibration=None))
    assert "The files hold no texts" in found.text
    assert "The predictions have no scores" in found.text
    assert "Are spans" not in found.html


def test_a_row_that_is_none_is_named(scored):
    folder = scored()
    with (folder / "scored.jsonl").open("a") as file:
        file.write('{"id": "9", "text": "x", "gold": 3}\n')
    with pytest.raises(DataError, match=r"scored\.jsonl:5: this is no post"):
        report.build(folder)


# --------------------------------------------------------------------------------- of a training

EPOCHS = [{"step": 10, "f1": 0.3}, {"step": 20, "f1": 0.4}, {"step": 30, "f1": 0.35}]


def write_training(folder):
    rows = [{"step": i, "loss": 20.0 / i} for i in range(1, 5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in EPOCHS))
    return folder


def test_a_trained_tagger(scored, page):
    folder = scored(stage="spans", settings={"loss": "crf"}, calibration=calibration("tokens"))
    found = page(write_training(folder))
    assert "the mean over 4 posts of the development set." in found.text
    assert "The weights of step 20 are kept." in found.text
    assert "Loss over training, from 20 to 5" in found.labels
    assert "After each epoch: 0.3000 at step 10, 0.4000 at step 20, 0.3500 at step 30" in (
        found.labels
    )
    assert "per row" in found.text
    assert "Are tokens with a score" in found.text


def test_a_training_that_goes_on_and_one_that_was_not_scored(scored, page):
    folder = write_training(scored(stage="spans", status="running", settings={"loss": "ce"}))
    (folder / "scores.json").unlink()
    found = page(folder)
    assert "This run is not finished." in found.text
    assert "per token" in found.text
    manifest = {"stage": "spans", "settings": {}, "status": "done", "facts": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "without a development set (data.dev)" in page(folder).text


# ------------------------------------------------------------------------------- of a screening

FOUND = {
    "action": "drop",
    "rows": 200,
    "flagged": 30,
    "spans": 41,
    "groups": {
        "": {"rows": 50, "flagged": 0, "spans": 0},
        "<forum>": {"rows": 150, "flagged": 30, "spans": 41},
    },
    "strings": [["silly fool", 20], *[[f"word{i:c}", 1] for i in range(97, 118)]],
    "skipped": {"rows without a text": 3},
    "identities": {"gay": 0.6},
}


@pytest.fixture
def screened(tmp_path):
    def write(**changed):
        settings = {"group_by": "source", "action": "drop"}
        manifest = {"stage": "screen", "settings": settings, "status": "done", "facts": {}}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        (tmp_path / "report.json").write_text(json.dumps(FOUND | changed))
        return tmp_path

    return write


def test_what_a_screening_found(screened, page):
    found = page(screened())
    assert "30 of 200 rows (15.0%) have a toxic span. They are left out" in found.text
    assert found.row("Rows with", "<forum>") == ["150", "30", "20.00%", "41"]
    assert found.row("Rows with", "(none)") == ["50", "0", "0.00%", "0"]
    assert found.tables["Rows with a toxic span"][0][0] == "source"
    assert "Left out: 3 rows without a text." in found.text
    assert found.labels[1].startswith("Commonest strings: s**** f*** 20, w**** 1")
    assert len(found.tables["Commonest strings"]) == 1 + 22
    assert "Neutral sentences with a span: gay 60%" in found.labels
    assert "silly" not in found.html
    assert "fool" not in "".join(p.read_text() for p in (screened() / "plots").iterdir())


def test_a_screening_revealed(screened):
    html = report.build(screened(), settings=ReportSettings(reveal=True)).read_text()
    assert "silly fool" in html
    assert "One letter" not in html


def test_a_screening_that_found_nothing(screened, page):
    whole = {"rows": 9, "flagged": 0, "spans": 0}
    nothing = {"groups": {"": whole}, "strings": [], "skipped": {}, "identities": {}}
    found = page(screened(**whole, **nothing))
    assert "0 of 9 rows (0.0%)" in found.text
    assert "No neutral sentence gets a span because it names a group." in found.text
    assert "<svg" not in found.html
    folder = screened()
    (folder / "report.json").unlink()
    assert "This run is not finished." in page(folder).text


# ---------------------------------------------------------------------------------- of others


@pytest.mark.parametrize("settings", [{"reveal": True}, {"num_posts": 3}])
def test_a_page_without_posts_has_no_settings_of_posts(fuse_run, settings):
    with pytest.raises(SettingsError, match="its page shows no posts; take them out"):
        report.build(fuse_run(), settings=ReportSettings(**settings))
