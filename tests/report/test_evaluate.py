"""Pages of evaluations: numbers and places, no mixing of protocols, names that would break them."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from inarch import report
from inarch.errors import DataError, SettingsError
from inarch.evaluate.compare import CompareSettings, compare
from inarch.evaluate.judges.agreement import agreement, consistency, position_effect
from inarch.evaluate.judges.together import Canary
from inarch.evaluate.protocol import CANARY, PromptScore, ProtocolRecord, Result, save_results
from inarch.io.endpoints import Spent
from inarch.report._evaluate_length_parts import _range

ALPACA = ProtocolRecord(
    benchmark="alpaca_eval2",
    version="2",
    score="chance to win, in percent",
    judge="judge",
    baseline="base",
)
MT_BENCH = ProtocolRecord(benchmark="mt_bench", version="1", score="rating", judge="gpt-4")


def random_result(model, seed, mean, *, record=ALPACA, num=60, lengths=True, **about):
    """A result in which longer answers win more."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(num):
        own, other = (int(n) for n in random.integers(100, 2000, size=2))
        score = float(np.clip(random.normal(mean + (own - other) / 50, 15), 0, 100))
        known = (own, other) if lengths else (None, None)
        rows.append(PromptScore(f"p{i}", ("x", "y")[i % 2], score, 1.0, *known))
    return Result(record, model, tuple(rows), **about)


def ratings(model, *scores, record=MT_BENCH, **about):
    rows = tuple(
        PromptScore(str(i), ("math", "coding")[i % 2], float(s), 2.0) for i, s in enumerate(scores)
    )
    return Result(record, model, rows, **about)


@pytest.fixture
def evaluated(tmp_path):
    """Write results into a folder, by subfolder."""

    def write(**results):
        for name, some in results.items():
            save_results(tmp_path / name, some)
        return tmp_path

    return write


def figure(found, caption):
    """The SVG of the figure that is called so, or whose caption begins so."""
    texts = re.findall(r"<figcaption>(.*?)</figcaption>(<svg .*?</svg>)", found.html, re.S)
    exact = [svg for title, svg in texts if title == caption]
    (svg,) = exact or [svg for title, svg in texts if title.startswith(caption)]
    return ET.fromstring(svg)


def dots_of(svg, kind="strong"):
    return [
        (float(c.get("cx")), float(c.get("cy")))
        for c in svg.iter("circle")
        if c.get("class") == kind and c.get("cx") != "8"
    ]


# ----------------------------------------------------------------------------------- leaderboards


def test_the_leaderboard_by_hand(evaluated, page):
    summary = {"turn_1": 9.0, "turn_2": None}
    # b: the mean is 7; draws of 8 and 6. a: 4, from 2 to 6.
    found = page(evaluated(all=[ratings("a", 2, 6), ratings("b", 8, 6, summary=summary)]))
    assert (
        "Of 2 models b has the highest rating: 7.00 (6.00 to 8.00). Prompt by prompt it is not told"
        " apart from a."
    ) in found.text
    caption = "Scores: rating"
    assert found.row(caption, "b") == ["7.00", "6.00 to 8.00", "9.00", "–", "2", "–"]
    # 7 - 4 = 3; on the first question 6, on the second 0
    row = ["4.00", "2.00 to 6.00", "–", "–", "2", "+3.00 (0.00 to +6.00)"]
    assert found.row(caption, "a") == row
    svg = figure(found, "Rating, with 95 % intervals")
    # From 2 to 8, and a tenth more: 1.7 to 8.3, 308 / 6.6 a point; the best is on top.
    assert dots_of(svg) == [(253.3, 26), (113.3, 64)]  # 6 + 5.3 * 46.667, 6 + 2.3 * 46.667
    ends = [(e.get("x1"), e.get("x2")) for e in svg.iter("line") if "interval" in e.get("class")]
    assert ends[1] == ("20", "206.7")  # 6 + .3 * 46.67, 6 + 4.3 * 46.67
    assert found.labels[0].startswith("Rating, with 95 % intervals. b 7.00, 6.00 to 8.00; a 4.00")
    assert "widened" not in found.text  # it is one comparison
    assert "each other, prompt by prompt. a +3.00, 0.00 to +6.00" in found.labels[1]


def test_what_is_told_apart(evaluated, page):
    rows = [ratings("best", 9, 9, 8), ratings("close", 9, 8, 9), ratings("last", 1, 2, 1)]
    found = page(evaluated(x=rows))
    assert "it is not told apart from close." in found.text
    svg = figure(found, "best less each other")
    # close is drawn quietly, last is not
    assert (len(dots_of(svg, "quiet")), len(dots_of(svg, "strong"))) == (1, 1)
    # Their intervals hold for both at once, as those of `inarch evaluate compare`.
    gap = compare(rows[0], rows[2], CompareSettings(candidates=2)).whole
    told = f"last +{gap.difference:.2f}, +{gap.lower:.2f} to +{gap.upper:.2f}"
    assert told in found.labels[1]
    assert "Their intervals are widened to hold for all 2 at once." in found.text


def test_losses_are_best_when_low(evaluated, page):
    record = ProtocolRecord(
        benchmark="likelihood", version="1", score="bits per byte; less is better", data="t.txt 12"
    )
    found = page(
        evaluated(x=[ratings("a", 2, 2.5, record=record), ratings("b", 1, 1.5, record=record)])
    )
    assert "Of 2 models b has the lowest bits per byte: 1.2500 (1.0000 to 1.5000)." in found.text
    assert "it is told apart from a." in found.text
    assert "Likelihood: t.txt: bits per byte" in found.text
    assert found.row("Scores", "a")[-1] == "−1.0000 (−1.0000 to −1.0000)"
    assert "baseline itself" not in found.text
    # a has 2 and 2.5, b 1 and 1.5: the ticks of b stand at its own bars.
    best = [e.get("x1") for e in figure(found, "a").iter("line") if e.get("class") == "mean best"]
    assert best == ["158", "185"]  # 104 + 54 and 104 + 81, of 162 for 3
    # The bars end at a round number above all intervals: ticks of 2.5 are 0, 1, 2, 3.
    words = ["".join(t.itertext()) for t in figure(found, "a").iter("text")]
    assert words[-2:] == ["0", "3"]


def test_mt_bench_in_pairs_is_in_percent(evaluated, page):
    record = MT_BENCH.model_copy(update={"baseline": "base", "score": "turns won, in percent"})
    found = page(
        evaluated(x=[ratings("a", 75, 25, record=record), ratings("b", 0, 0, record=record)])
    )
    assert "MT-Bench in pairs, judged by gpt-4" in found.text
    assert "a has the highest score: 50.0% (25.0 to 75.0)." in found.text
    assert "The baseline itself gets 50." in found.text
    assert "turn 1" not in found.text
    svg = figure(found, "Score, %, with 95 % intervals")
    # From 0, as there is nothing below it, to 75 and half a tenth: 6 + 308 * 50 / 78.75.
    assert [e.get("x1") for e in svg.iter("line") if e.get("class") == "zero"] == ["201.6", "201.6"]
    bars = figure(found, "b")
    assert ["".join(t.itertext()) for t in bars.iter("text")][-2:] == ["0", "100"]


def test_other_protocols_are_never_mixed(evaluated, page):
    other = MT_BENCH.model_copy(update={"judge": "gpt-4o", "references": "new"})
    found = page(
        evaluated(
            x=[ratings("a", 3, 3), ratings("b", 4, 4)],
            y=[ratings("a", 9, 9, record=other), ratings("c", 8, 8, record=other)],
        )
    )
    tables = [rows for title, rows in found.tables.items() if title.startswith("Scores")]
    assert len(re.findall("Scores: rating</caption>", found.html)) == 2
    assert [row[0] for row in tables[0]][1:] == ["a", "c"]  # the last of this caption
    assert "2 protocols: scores under one do not compare" in found.text
    assert found.row("Leaderboards", "MT-Bench, judged by gpt-4") == ["rating", "2", "b, 4.00"]
    assert found.row("Leaderboards", "MT-Bench, judged by gpt-4o") == ["rating", "2", "a, 9.00"]
    assert "Not to be compared with “MT-Bench, judged by gpt-4”:" in found.text
    assert "judge: gpt-4 against gpt-4o" in found.text
    assert "references: unknown against new" in found.text
    labels = [label for label in found.labels if label.startswith("Rating, with")]
    assert [re.findall(r"\b([abc]) \d", label) for label in labels] == [["b", "a"], ["a", "c"]]


def test_the_nearest_protocol_is_named(evaluated, page):
    second = ALPACA.model_copy(update={"judge": "k", "baseline": "c", "version": "3"})
    third = second.model_copy(update={"version": "4"})
    found = page(
        evaluated(
            a=[random_result("m", 0, 50)],
            b=[random_result("m", 0, 50, record=second)],
            c=[random_result("m", 0, 50, record=third)],
        )
    )
    last = found.text[found.text.rindex("Not to be compared") :]
    assert last.startswith("Not to be compared with “AlpacaEval 2, judged by k, protocol 1”:")
    assert "version: 3 against 4" in last
    assert "baseline:" not in last


def test_one_model_twice_keeps_apart(evaluated, page):
    found = page(evaluated(x=[ratings("m", 3, 3)], y=[ratings("m", 4, 4)]))
    assert found.row("Scores", "m (y/m.json)")[0] == "4.00"
    assert found.row("Scores", "m (x/m.json)")[0] == "3.00"


def test_one_prompt_has_no_interval(evaluated, page):
    found = page(evaluated(x=[ratings("m", 3)]))
    assert "m: rating 3.00 over 1 prompt." in found.text
    assert found.row("Scores", "m")[1] == "–"
    assert not [label for label in found.labels if "each other" in label]


def test_one_prompt_tells_nobody_apart(evaluated, page):
    found = page(evaluated(x=[ratings("m", 3), ratings("n", 4)]))
    assert "Prompt by prompt it is not told apart from m." in found.text
    assert found.row("Scores", "m")[-1] == "+1.00"
    assert not dots_of(figure(found, "n less each other"), "strong")


def test_equal_models_have_an_axis_as_others(evaluated, page):
    record = ProtocolRecord(benchmark="lm_eval", version="1", score="acc")
    rows = [ratings(name, 0, 0, record=record) for name in "ab"]
    found = page(evaluated(x=rows))
    for title in ("Acc, with 95", "a less each other"):
        marks = [t.text for t in figure(found, title).iter("text") if "axis" in t.get("class", "")]
        assert marks == ["−0.1", "−0.05", "0", "0.05", "0.1"], title  # a fifth of 1 is free


def test_names_that_would_break_a_page(evaluated, page):
    names = ["<b>x</b>", "🦙", "a&b\"'", "</svg><script>", "x" * 200, "tab\tand\x00"]
    rows = [random_result(name, i, 40 + i) for i, name in enumerate(names)]
    record = ALPACA.model_copy(update={"judge": "<i>judge</i>", "baseline": "<u>"})
    again = [r._replace(protocol=record, made={"<k>": "<v>"}) for r in rows]
    found = page(evaluated(x=rows, y=again))
    for raw in ("<b>", "<script", "<i>", "<u>", "<k>", "<v>"):
        assert raw not in found.html
    for name in names[:5]:
        assert name in found.text
    for svg in re.findall("<svg .*?</svg>", found.html, re.S):
        ET.fromstring(svg)


# ------------------------------------------------------------------------- categories, lengths


def test_bars_by_category(evaluated, page):
    a = ratings("a", 10, 1, 7, 1)  # math 8.5, coding 1
    b = ratings("b", 1, 5.5, 1, 5.5)  # math 1, coding 5.5
    found = page(evaluated(x=[a, b]))
    svg = figure(found, "a")
    boxes = [float(r.get("width")) for r in svg.iter("rect")]
    assert boxes == [135.0, 0.0]  # from 1 to 10 over 162: 18 a point
    best = [float(e.get("x1")) for e in svg.iter("line") if e.get("class") == "mean best"]
    assert best == [239.0, 185.0]  # 104 + 7.5 * 18, 104 + 4.5 * 18
    caption = "By category"
    assert found.row(caption, "math") == ["8.50 (7.00 to 10.00), 2", "1.00 (1.00 to 1.00), 2"]
    assert "a, rating by category: math 8.50, coding 1.00" in found.labels


def test_one_category_is_none(evaluated, page):
    rows = [r._replace(scores=tuple(s._replace(category="") for s in r.scores)) for r in
            (random_result("a", 0, 50), random_result("b", 1, 50))]  # fmt: skip
    assert "By category" not in page(evaluated(x=rows)).text


def test_many_models_are_not_all_drawn(evaluated, page):
    found = page(evaluated(x=[ratings(f"m{i}", i % 9 + 1, 5) for i in range(14)]))
    assert len([label for label in found.labels if "by category" in label]) == 12
    assert "2 models are in the table only." in found.text
    # 14 models have 1, 2, ... 9 in turn: the two that have 1 are left out.
    assert not [label for label in found.labels if label.startswith(("m0, ", "m9, "))]


def test_scores_over_lengths(evaluated, page):
    rows = [
        random_result("a", 0, 50, summary={"lc_win_rate": 40.0, "lc_standard_error": 0.5}),
        random_result("b", 1, 30, summary={"lc_win_rate": 45.0}),
        random_result("unknown", 2, 20, lengths=False),
    ]
    found = page(evaluated(x=rows))
    assert "The lengths of unknown are not known." in found.text
    svg = figure(found, "Win rate against length")
    ticks = [t for t in svg.iter("text") if t.get("class") == "axis end" and t.text.isdecimal()]
    (first, foot), (last, top) = ((float(t.text), float(t.get("y"))) for t in (ticks[0], ticks[-1]))
    for result, dot, ring in zip(rows, dots_of(svg), dots_of(svg, "few"), strict=False):
        mean = sum(row.score for row in result.scores) / len(result.scores)
        for value, place in ((mean, dot), (result.summary["lc_win_rate"], ring)):
            expected = foot - 4 + (value - first) * (top - foot) / (last - first)
            assert place[1] == pytest.approx(expected, abs=0.2)
        assert dot[0] == ring[0]
    assert (len(dots_of(svg)), foot > top, first < last) == (2, True, True)
    assert found.row("Scores", "a")[2:4] == ["–", "40.0 ± 0.5"]
    assert found.row("Scores", "b")[3] == "45.0"
    assert found.row("Scores", "unknown")[3] == "–"
    assert "held equal" not in found.text.split("Intervals are")[0]  # not known of all
    (label,) = [label for label in found.labels if label.startswith("Win rate against length")]
    assert "length-controlled, % 40.0, with" in label
    own = [sum(r.length for r in result.scores) / 60 for result in rows[:2]]
    assert f"with {own[0]:,.0f} characters" in found.html


def test_who_is_first_at_equal_length(evaluated, page):
    rows = [
        random_result(name, i, mean, summary={"lc_win_rate": even})
        for i, (name, mean, even) in enumerate([("a", 70, 40.0), ("b", 30, 45.04)])
    ]
    assert "With length held equal b is first: 45.0%." in page(evaluated(x=rows)).text


def test_scores_by_length_of_one_model(evaluated, page):
    # 25 prompts with an answer 1 to 25 shorter and no win, 25 with one 1 to 25 longer and a win
    scores = tuple(
        PromptScore(f"p{d}", "", 100.0 * (d > 0), 1.0, 100 + d, 100) for d in range(-25, 26) if d
    )
    found = page(evaluated(x=[Result(ALPACA, "m", scores)]))
    svg = figure(found, "m: win rate by length")
    words = ["".join(t.itertext()) for t in svg.iter("text")]
    assert "1 to 25 shorter (25)" in words
    assert "1 to 25 longer (25)" in words
    # An axis from 0 to 100: 6 and 314.
    assert dots_of(svg) == [(6, 26), (314, 64)]


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-20, -3, "3 to 20 shorter"),
        (-3, 0, "3 shorter to as long"),
        (-3, 1500, "3 shorter to 1,500 longer"),
        (0, 4, "as long to 4 longer"),
        (2, 9, "2 to 9 longer"),
        (0, 0, "as long"),
        (-5, -5, "5 shorter"),
        (5, 5, "5 longer"),
    ],
)
def test_ranges_in_words(low, high, told):
    assert _range(low, high) == told


def test_style_held_equal(evaluated, page):
    record = ProtocolRecord(benchmark="arena_hard", version="v0.1", score="battles won")
    summary = {"score": 37.06, "lower": 33.1, "upper": 41.4}
    rows = [
        random_result("m", 0, 50, record=record, summary=summary, lengths=False,
                      made={"settings": {"control": control}})
        for control in ("style", "none")
    ]  # fmt: skip
    found = page(evaluated(x=rows[:1]))
    assert found.row("Scores", "m")[2] == "37.1 (33.1 to 41.4), style"
    assert "The baseline itself gets 50." in found.text
    assert "style held equal, %" in found.tables["Scores: battles won"][0]
    assert "Scores and lengths" not in found.text
    assert "style held equal, %" not in page(evaluated(x=rows[1:])).html


def test_first_where_the_same_is_held_equal(evaluated, page):
    record = ProtocolRecord(benchmark="arena_hard", version="v0.1", score="battles won")

    def rows(*controls):
        return [
            random_result(name, i, 50, record=record, summary={"score": score},
                          made={"settings": {"control": control}})
            for i, (name, score, control) in enumerate(zip("ab", (30, 40), controls, strict=True))
        ]  # fmt: skip

    assert (
        "With length held equal b is first: 40.0%." in page(evaluated(x=rows(*2 * ["length"]))).text
    )
    text = page(evaluated(x=rows("style", "style"))).text
    assert "With style held equal b is first: 40.0%." in text
    assert "held equal b" not in page(evaluated(x=rows("style", "length"))).text


def test_ratings_over_lengths_have_two_digits(evaluated, page):
    scores = tuple(PromptScore(f"p{i}", "", 7.25, 1.0, 100, 200) for i in range(3))
    unknown = tuple(row._replace(score=8.0, baseline_length=None) for row in scores)
    found = page(evaluated(x=[Result(MT_BENCH, "m", scores), Result(MT_BENCH, "n", unknown)]))
    svg = figure(found, "Rating against length")
    assert "m: 7.25 with 100 characters" in [t.text for t in svg.iter("title")]
    # The first does not know how long the baseline's answers are, the second does.
    assert [e for e in svg.iter("line") if e.get("class") == "curve line2"]


# ------------------------------------------------------------------------------------ how made


def test_how_it_was_made(evaluated, page):
    shared = {"inarch": "0.1", "settings": {"c": 2.5}}
    rows = [ratings("a", 5, 5, made=shared | {"n_invalid": 1}),
            ratings("b", 5, 5, made=shared | {"n_invalid": 2})]  # fmt: skip
    found = page(evaluated(x=rows))
    assert found.row("The protocol", "judge") == ["gpt-4"]
    made = found.tables["How the results came about"]
    assert made[1:] == [
        ["inarch", "all", "0.1"],
        ["settings.c", "all", "2.5"],
        ["n_invalid", "a", "1"],
        ["n_invalid", "b", "2"],
    ]
    assert "Not known, or not of this benchmark: baseline, references," in found.text


def test_what_only_one_says_is_not_said_of_all(evaluated, page):
    rows = [ratings("a", 5, 5, made={"seed": 1}), ratings("b", 5, 5)]
    made = page(evaluated(x=rows)).tables["How the results came about"]
    assert made[1:] == [["seed", "a", "1"]]


# -------------------------------------------------------------------------------------- judges


def test_agreement_of_judges(evaluated, page):
    other = ALPACA.model_copy(update={"judge": "other"})
    a = [random_result(m, i, 50) for i, m in enumerate("mn")]
    b = [random_result(m, i + (m == "n"), 50, record=other) for i, m in enumerate("mn")]
    found = page(evaluated(a=a, b=b))
    row = found.row("Agreement of judges, all", "AlpacaEval 2: judge and other")
    # They agree on all of m; of n as far as chance has it.
    single = agreement(a[1], b[1])
    assert row[0] == "120"
    assert row[1] == f"{100 * (60 + single.agree_frac * 60) / 120:.1f}%"
    by_judge = [np.array([s.score for r in rows for s in r.scores]) for rows in (a, b)]
    assert row[4] == f"{np.corrcoef(*by_judge)[0, 1]:.2f}"
    assert row[5] == f"{np.abs(by_judge[0] - by_judge[1]).mean():.2f}"
    by_model = "Agreement of judges, by model"
    between = f"{single.kappa_lower:.2f} to {single.kappa_upper:.2f}".replace("-", "−")
    assert found.tables[by_model][2][4] == between
    assert found.tables[by_model][1][:4] == ["m: judge and other", "60", "100.0%", "1.00"]
    assert found.tables[by_model][2][3] == f"{single.kappa:.2f}".replace("-", "−")
    svg = figure(found, "AlpacaEval 2: judge (rows) and other (columns)")
    words = ["".join(t.itertext()) for t in svg.iter("text")]
    cells = np.array(single.table) + np.array(agreement(a[0], b[0]).table)
    shown = [w for w in words if w not in ("loss", "tie", "win")]
    assert shown == [f"{100 * cell / 120:.0f}" for cell in cells.ravel()]


def test_one_judge_asked_in_two_ways_is_two(evaluated, page):
    one, other = (ALPACA.model_copy(update={"judging": f"{n} orders"}) for n in (1, 2))
    found = page(
        evaluated(
            a=[random_result("m", 0, 50, record=one)], b=[random_result("m", 0, 50, record=other)]
        )
    )
    names = "AlpacaEval 2: judge (1 orders) and judge (2 orders)"
    assert found.row("Agreement of judges", names)[:3] == ["60", "100.0%", "1.00"]
    assert not [title for title in found.tables if title.endswith("by model")]  # it is one only


def test_agreement_needs_the_same_answers(evaluated, page):
    other = ALPACA.model_copy(update={"judge": "other"})
    baseline = other.model_copy(update={"baseline": "another"})
    found = page(
        evaluated(
            a=[random_result("m", 0, 50), random_result(CANARY, 1, 5)],
            b=[random_result("n", 0, 50, record=other), random_result(CANARY, 1, 5, record=other)],
            c=[random_result("m", 0, 50, record=baseline)],
            d=[random_result("m", 0, 50, record=other, made={"judges": ["a", "b"]})],
        )
    )
    assert "Agreement of judges" not in found.text


def test_the_canary_is_no_model(evaluated, page):
    rows = [random_result("m", 0, 50), random_result(CANARY, 1, 90)]
    found = page(evaluated(x=rows, y=rows[1:]))
    assert "m: win rate" in found.text
    assert CANARY not in found.text


def told(**changed):
    """What a run notes of a judge."""
    judge = {
        "model": "judge-2026",
        "spent": Spent(40, 9000, 40, 0.25)._asdict(),
        "models": {"m": {"n_cases": 20, "n_invalid": 2}, "n": {"n_cases": 20, "n_invalid": 1}},
        "order": None,
    }
    return {"judges": {"one": judge | changed}}


def test_what_a_run_notes_of_its_judges(evaluated, page):
    first, second = np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 0.0])
    canary = Canary(12.3, 50.0)
    about = told(
        order=consistency(first, second)._asdict(),
        canary=canary._asdict() | {"sings": canary.sings},
    )
    folder = evaluated(x=[random_result("m", 0, 50)])
    (folder / "judging.json").write_text(json.dumps(about))
    row = page(folder).row("What is known", "one")
    assert row[:5] == ["judge-2026", "40", "3", "50.0%", "+50.0"]  # .75 - .25
    lower, upper = (100 * about["judges"]["one"]["order"][key] for key in ("lower", "upper"))
    assert lower < upper
    assert row[5] == f"{lower:.1f} to +{upper:.1f}"
    assert row[6:] == ["12.3 (50.0)", "40", "0.25"]
    effect = position_effect(np.array([1.0, 0.5, 0.25]), np.array([True, True, False]))
    about = told(order=effect._asdict(), spent=Spent(4, 9, 4, None)._asdict())
    (folder / "judging.json").write_text(json.dumps(about))
    row = page(folder).row("What is known", "one")
    assert row[3:5] == ["–", "+50.0"]  # .75 - .25
    assert row[6:] == ["–", "4", "–"]
    assert "Not to be trusted" not in page(folder).text
    (folder / "judging.json").write_text('{"judges": {"j": {}}}')
    with pytest.raises(DataError, match=r"judging.json: 'order' is missing"):
        page(folder)


def test_a_judge_that_likes_a_constant_answer_is_warned_of_first(evaluated, page):
    folder = evaluated(x=[random_result("m", 0, 50)])
    canary = Canary(61.0, 50.0)
    about = told(canary=canary._asdict() | {"sings": canary.sings})
    (folder / "judging.json").write_text(json.dumps(about))
    text = page(folder).text
    assert text.index("Not to be trusted: one.") < text.index("win rate")


def test_scores_with_style_held_equal(evaluated, page):
    folder = evaluated(x=[random_result("m", 0, 50)])
    score = {"score": 41.25, "lower": 38.0, "upper": 45.5, "n_prompts": 50}
    found = {"math": {"scores": {"m": score}, "coefficients": {"length": 0.5}}}
    (folder / "judging.json").write_text(json.dumps(told(style_controlled=found)))
    (row,) = page(folder).tables["Scores with style held equal"][1:]
    assert row == ["one", "math", "m", "41.2", "38.0", "45.5"]
    broken = {"math": {"scores": {"m": {}}}}
    (folder / "judging.json").write_text(json.dumps(told(style_controlled=broken)))
    with pytest.raises(DataError, match=r"judging.json: 'score' is missing"):
        page(folder)


# ------------------------------------------------------------------------------------- folders


def test_results_are_found_in_folders_below(evaluated, page):
    folder = evaluated(**{"task/acc": [ratings("a", 1, 2)], ".hidden": [ratings("b", 1, 2)]})
    (folder / "other.json").write_text('{"format": "something"}')
    (folder / "manifest.json").write_text('{"stage": "judge"}')
    found = page(folder)
    assert "a: rating 1.50" in found.text  # alone
    assert sorted(p.name for p in (folder / "plots").iterdir())[0].startswith("01-leaderboard-mt")


def test_a_run_without_results_says_so(tmp_path):
    (tmp_path / "manifest.json").write_text('{"stage": "judge"}')
    with pytest.raises(DataError, match="no results yet; run the same command again"):
        report.build(tmp_path)


def test_a_result_that_is_cut_is_named(evaluated):
    folder = evaluated(x=[ratings("a", 1, 2)])
    path = folder / "x" / "a.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match=r"x/a.json: not JSON"):
        report.build(folder)


def test_settings_of_posts_are_refused(evaluated):
    with pytest.raises(SettingsError, match="shows no posts"):
        report.build(evaluated(x=[ratings("a", 1, 2)]), settings=report.ReportSettings(reveal=True))


def test_the_same_page_again(evaluated):
    folder = evaluated(x=[random_result("a", 0, 50), random_result("b", 1, 40)])
    first = report.build(folder).read_bytes()
    assert report.build(folder).read_bytes() == first
