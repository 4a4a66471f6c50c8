"""The page of a search, and the sentence that says whether it was worth it."""

import json

import pytest

from inarch.report import Search, value_text

SETTINGS = {"score": {"bits_per_byte": {"path": "x"}, "answers": None}, "strategy": "model"}


def alone(name, score, held_out):
    row = {"kind": "input", "name": name, "score": score, "held_out": held_out}
    return row | {"wall_s": 1.0}


def trial(number, score, held_out=None, **more):
    values = {"method": "ties", "w": 0.1 * number} if number else None
    name = f"trial {number}" if number else "plain mean"
    row = {"kind": "trial", "name": name, "trial": number, "values": values, "score": score}
    return row | {"held_out": held_out, "wall_s": 2.0} | more


INPUTS = [alone("/m/a", 4.0, 4.1), alone("/m/b", 3.5, 3.6)]
TRIALS = [trial(0, 3.4, 3.5), trial(1, 3.6), trial(2, 3.2), trial(3, None, error="NaN")]


@pytest.fixture
def searched(tmp_path):
    """Write a folder as a search leaves it."""

    def write(rows=(*INPUTS, *TRIALS), status="done", **facts):
        manifest = {"stage": "merge search", "settings": SETTINGS, "status": status, "facts": facts}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        (tmp_path / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path

    return write


def test_what_the_page_says(searched, page):
    found = page(searched(best=2, held_out=3.3))
    assert (
        "Trial 2 is the best of 3: 3.3000 bits per byte on what was held out, better than the "
        "plain mean (3.5000) and b alone (3.6000)."
    ) in found.text
    assert found.row("Bits per byte", "trial 2") == ["3.2000", "3.3000"]
    assert found.row("Bits per byte", "plain mean") == ["3.4000", "3.5000"]
    assert found.row("Bits per byte", "/m/a") == ["4.0000", "4.1000"]
    assert found.row("Its values", "w") == ["0.2"]
    assert [cells[0] for cells in found.tables["Trials, the best first"][1:]] == [
        "trial 2",
        "plain mean",
        "trial 1",
    ]
    assert "trial 3: NaN" in found.text
    assert "8.0 s" in found.text  # of four trials
    assert found.labels[0] == "bits per byte of 3 trials; the best is trial 2 with 3.2000"


def test_what_the_best_is_made_of(searched, page):
    folder = searched(best=2, held_out=3.3)
    (folder / "model").mkdir()
    row = {"tensor": "w", "method": "linear", "models": ["a"], "coefficients": [1.0]}
    (folder / "model/tensors.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "model/merge.yaml").write_text("merge_method: linear\n")
    found = page(folder)
    assert "How much of each model" in found.text
    assert "merge_method: linear" in found.text


def test_a_search_that_goes_on(searched, page):
    found = page(searched(status="running"))
    assert "This search is not finished." in found.text
    assert "Trial 2 is the best of 3: 3.2000 bits per byte on the text that it was chosen on" in (
        found.text
    )


def test_a_search_that_has_just_begun(searched, page):
    found = page(searched(rows=INPUTS[:1], status="running"))
    assert "There is no trial with a score yet." in found.text
    assert "<svg" not in found.html


@pytest.mark.parametrize(
    ("best", "held_out", "lower", "expected"),
    [
        (2, 3.55, True, "3.5500 U on what was held out, better than b alone (3.6000), but no "
         "better than the plain mean (3.5000)."),
        (2, 3.7, True, "no better than the plain mean (3.5000) and b alone (3.6000)."),
        (0, 3.5, True, "Plain mean is the best of 3: 3.5000 U on what was held out, better than "
         "b alone (3.6000)."),
        (1, 4.2, False, "better than the plain mean (3.5000) and a alone (4.1000)."),
        (1, 4.0, False, "the plain mean (3.5000), but no better than a alone (4.1000)."),
    ],
)  # fmt: skip
def test_the_verdict(best, held_out, lower, expected):
    rows = [*INPUTS, *TRIALS]
    row = next(r for r in TRIALS if r["trial"] == best) | {"held_out": held_out}
    assert Search(rows, row, "U", lower).verdict().endswith(expected)


def test_the_verdict_without_a_part_held_out():
    rows = [alone("/m/a", 3.3, None), trial(0, 3.4), trial(1, 3.2)]
    assert Search(rows, rows[2], "bits per byte", True).verdict() == (
        "Trial 1 is the best of 2: 3.2000 bits per byte on the text that it was chosen on, better "
        "than the plain mean (3.4000) and a alone (3.3000)."
    )
    assert Search(rows[1:2], rows[1], "U", True).verdict().endswith("chosen on.")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.25, "0.25"), ([0.5, 1.0], "0.5, 1"), ("ties", "ties"), (None, "–"), (3, "3")],
)
def test_values(value, expected):
    assert value_text(value) == expected
