"""MT-Bench: ratings read from judgments, averages by rows, the published ones, files."""

import csv
import json

import pytest

from inarch.errors import DataError
from inarch.evaluate.mt_bench.files import read_ratings, write_judgments
from inarch.evaluate.mt_bench.ratings import Rating, category_of, rating_of, results, score_ratings
from inarch.evaluate.protocol import mean_score


@pytest.mark.parametrize(
    ("judgment", "rating"),
    [
        ("Rating: [[8]]", 8),
        ("[[7.5]] and then [[9]]", 7.5),
        ("Rating: [6]", 6),
        ("[3] but [[5]]", 5),
        ("[[10.]]", 10),
        ("[[11]]", 11),
        ("[[eight]] [[8/10]]", -1),
        ("Rating: 8", -1),
        ("$ERROR$", -1),
        ("🌱 [[2]]", 2),
        ("[[-1]]", -1),
        ("", -1),
    ],
)
def test_the_rating_of_a_judgment(judgment, rating):
    assert rating_of(judgment) == rating


def ratings(*scores, model="m"):
    """From (question, turn, score)."""
    return [Rating(q, category_of(q), model, turn, float(s)) for q, turn, s in scores]


def test_by_hand():
    # turn 1: 8, 3; turn 2: 4. Average 15 / 3 = 5, where the mean of the turns is 4.75.
    rows = ratings((81, 1, 8), (81, 2, 4), (91, 1, 3), (91, 2, -1))
    found = score_ratings([*rows, *ratings((81, 1, 10), model="n")])
    assert list(found) == ["m", "n"]
    assert found["m"][:4] == (5.5, 4.0, 5.0, 3)
    assert found["m"].by_category == {"writing": 6.0, "roleplay": 3.0}
    assert (found["m"].n_invalid, found["m"].n_repeated) == (1, 0)
    assert found["n"].turn_2 is None
    assert found["n"].average == 10


def test_nothing_that_counts(caplog):
    found = score_ratings(ratings((81, 1, -1)))["m"]
    assert "m: none of 1 judgments holds a rating" in caplog.text
    assert found == (None, None, None, 0, {}, None, None, 1, 0)
    assert results(ratings((81, 1, -1))) == []


def test_repeated_and_odd_ratings_count_and_are_told(caplog):
    found = score_ratings(ratings((81, 1, 8), (81, 1, 4), (81, 2, 11), (82, 1, 0)))["m"]
    assert found.average == pytest.approx(23 / 4)
    assert found.n_repeated == 1
    assert "1 turns are judged more than once" in caplog.text
    assert "2 ratings are not from 1 to 10" in caplog.text


def test_the_interval_draws_questions():
    """Copies of all rows say nothing new; rows drawn singly would take them for more."""
    few = ratings(*[(q, turn, (q * 7 + turn) % 10 + 1) for q in range(81, 161) for turn in (1, 2)])
    one, many = score_ratings(few)["m"], score_ratings(few * 4)["m"]
    assert (many.lower, many.upper) == pytest.approx((one.lower, one.upper))
    assert one.lower < one.average < one.upper


def test_the_order_of_rows_does_not_matter():
    rows = ratings(*[(q, turn, (q * 7 + turn) % 10 + 1) for q in range(81, 161) for turn in (1, 2)])
    one, other = (score_ratings(each)["m"] for each in (rows, rows[50:] + rows[49::-1]))
    assert other[:4] == pytest.approx(one[:4])
    assert (other.lower, other.upper) == pytest.approx((one.lower, one.upper))


def test_published(eval_data):
    folder = eval_data / "mt_bench"
    expected = json.loads((folder / "expected.json").read_text())
    read = read_ratings(folder / "judgments.csv")
    found = score_ratings(read)
    assert found.keys() == expected.keys()
    for model, right in expected.items():
        assert found[model].turn_1 == pytest.approx(right["turn1"], abs=1e-9)
        assert found[model].turn_2 == pytest.approx(right["turn2"], abs=1e-9)
        assert found[model].average == pytest.approx(right["average"], abs=1e-9)
        assert found[model].by_category == pytest.approx(right["by_category"], abs=1e-9)
        assert found[model].n + found[model].n_invalid == right["n_rows"]
        assert found[model].n_invalid == right["n_invalid"]
        assert found[model].n_repeated == right["n_duplicate_keys"]
    for result in results(read):
        assert mean_score(result.scores) == pytest.approx(expected[result.model]["average"])


def test_the_stored_ratings_and_categories(eval_data):
    with (eval_data / "mt_bench/judgments.csv").open() as file:
        for row in csv.DictReader(file):
            assert rating_of(row["parse_snippet"]) == float(row["score"])
            assert category_of(int(row["question_id"])) == row["category"]
    questions = (eval_data / "mt_bench/question.jsonl").read_text().splitlines()
    assert len(questions) == 80
    for row in map(json.loads, questions):
        assert category_of(row["question_id"]) == row["category"]
    assert category_of(80) == category_of(161) == "other"


# ------------------------------------------------------------------------------------ files


def judgment(question=81, turn=1, score=8, **change):
    row = {"question_id": question, "model": "m", "judge": ["gpt-4", "single-v1"], "turn": turn}
    return row | {"judgment": "Rating: [[8]]", "score": score} | change


def lines(tmp_path, *rows):
    path = tmp_path / "j.jsonl"
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows))
    return path


def test_official_judgments(tmp_path):
    rows = lines(tmp_path, judgment(), judgment(105, 2, None, judgment="[[3.5]]"))
    assert read_ratings(rows) == (
        Rating(81, "writing", "m", 1, 8.0, "gpt-4", "single-v1"),
        Rating(105, "reasoning", "m", 2, 3.5, "gpt-4", "single-v1"),
    )


def test_questions_name_categories(tmp_path):
    questions = tmp_path / "question.jsonl"
    questions.write_text('{"question_id": 7, "category": "own", "turns": ["a"]}\n')
    rows = lines(tmp_path, judgment(7), judgment(81), judgment(9))
    assert [r.category for r in read_ratings(rows, questions)] == ["own", "writing", "other"]


def test_judgments_are_read_as_they_were_written(tmp_path):
    rows = [
        (Rating(81, "writing", "m", 1, 8.5, "gpt-4", "single-v1"), "fine 🌱\ud83c [[8.5]]"),
        (Rating(101, "reasoning", "m", 2, -1.0, "gpt-4", "single-math-v1"), "no"),
    ]
    write_judgments(tmp_path / "j.jsonl", rows)
    assert read_ratings(tmp_path / "j.jsonl") == tuple(rating for rating, _ in rows)
    first = json.loads((tmp_path / "j.jsonl").read_text().splitlines()[0])
    assert first["judge"] == ["gpt-4", "single-v1"]
    assert first["judgment"] == "fine 🌱\ud83c [[8.5]]"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (judgment(turn=3), r":2: turn: found 3, expected 1 or 2"),
        (judgment(question="x"), r":2: question_id: found 'x', expected a number"),
        (judgment(score=-2), r":2: score: found -2.0, expected a rating, or -1"),
        (judgment(score="good"), r":2: score: found 'good', expected a number"),
        (judgment(score=None, judgment=None), r":2: score: found none, and no judgment"),
        (judgment(judge=["gpt-5", "x"]), r":2: judge: found 'gpt-5' after 'gpt-4'"),
        (judgment(judge=3), r":2: judge: found 3, expected a name"),
        (judgment(model=None), r":2: model: found None, expected a text"),
        ({"text": "x"}, r":2: found the columns text, without question_id"),
        ('{"question_id": 8', r":2: not JSON .* was the file cut"),
    ],
)
def test_a_wrong_judgment_is_refused_by_its_row(tmp_path, row, complaint):
    with pytest.raises(DataError, match=complaint):
        read_ratings(lines(tmp_path, judgment(), row))
