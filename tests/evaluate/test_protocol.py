"""Results on disk: read as they were written, refused where something is wrong; what fills them."""

import json

import pytest

from inarch import __version__
from inarch.errors import DataError, SettingsError
from inarch.evaluate.alpaca.length_control import LengthControlSettings
from inarch.evaluate.alpaca.score import AlpacaFiles, score_alpaca
from inarch.evaluate.arena.battles import ArenaSettings
from inarch.evaluate.arena.battles import results as arena_results
from inarch.evaluate.arena.score import ArenaChoice, score_arena
from inarch.evaluate.mt_bench.ratings import INVALID, Rating
from inarch.evaluate.mt_bench.ratings import results as mt_results
from inarch.evaluate.protocol import (
    PromptScore,
    ProtocolRecord,
    Result,
    load_result,
    made_of,
    mean_score,
    save_results,
)
from inarch.io.files import digest_file

RECORD = ProtocolRecord(benchmark="arena_hard", version="v2", score="percent", judge="j")


def result(model, *scores):
    """From (prompt, category, score, weight, length, baseline_length)."""
    return Result(RECORD, model, tuple(PromptScore(*row) for row in scores))


def test_nothing_is_lost_on_disk(tmp_path):
    summary = {"win_rate": 1 / 3, "c": None, "by_category": {"x": {"n": 2}}}
    made = {"inarch": "1", "files": {"a": "b"}, "n_invalid": 3}
    one = result("a", ("p", "x", 0.1, 2.0, 0, 312), ("q", "", 1 / 3, 1.0, None, None))
    one = one._replace(summary=summary, made=made)
    save_results(tmp_path, [one])
    assert load_result(tmp_path / "a.json") == one


def test_a_result_from_before_there_were_lengths_is_read(tmp_path):
    content = {
        "format": "inarch evaluation 1",
        "protocol": RECORD.model_dump(),
        "model": "a",
        "scores": [{"prompt": "p", "category": "", "score": 5, "weight": 1}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert load_result(tmp_path / "a.json") == result("a", ("p", "", 5, 1))


def test_results_are_read_as_they_were_written(tmp_path):
    one = result("org/model 🌱", ("p", "x", 10.25, 2), ("q", "", 1 / 3, 1))
    save_results(tmp_path / "new/folder", [one, result("b", ("p", "", 1, 1))])
    names = sorted(path.name for path in (tmp_path / "new/folder").iterdir())
    assert names == ["b.json", "org-model 🌱.json"]
    assert load_result(tmp_path / "new/folder/org-model 🌱.json") == one
    assert mean_score(one.scores) == pytest.approx((20.5 + 1 / 3) / 3)


def test_names_stay_in_the_folder(tmp_path):
    save_results(tmp_path / "x", [result("../../up", ("p", "", 1, 1))])
    assert [path.name for path in tmp_path.rglob("*.json")] == ["-..-up.json"]
    with pytest.raises(DataError, match="several models that would be"):
        save_results(tmp_path, [result(name, ("p", "", 1, 1)) for name in ("a/b", "a-b")])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: [], "no result of inarch evaluate"),
        (lambda c: c | {"format": "x"}, "no result of inarch evaluate"),
        (lambda c: c | {"scores": []}, "found no scores"),
        (lambda c: c | {"scores": [{"prompt": "p"}]}, "score 0: category: found None"),
        (lambda c: {k: v for k, v in c.items() if k != "model"}, "'model' is missing"),
        (lambda c: c | {"scores": [c["scores"][0] | {"score": None}]}, "score 0: score: found"),
        (
            lambda c: c | {"scores": [c["scores"][0] | {"score": float("nan")}]},
            "score 0: score: found",
        ),
        (lambda c: c | {"scores": [c["scores"][0] | {"weight": 0}]}, "weight: found 0"),
        (lambda c: c | {"scores": [c["scores"][0] | {"score": True}]}, "score: found True"),
        (lambda c: c | {"scores": [c["scores"][0] | {"score": 10**400}]}, "score: found 1000"),
        (lambda c: c | {"scores": [c["scores"][0] | {"score": -1e301}]}, "score: found -1e"),
        (lambda c: c | {"scores": [c["scores"][0] | {"weight": "1"}]}, "weight: found '1'"),
        (lambda c: c | {"scores": [c["scores"][0] | {"prompt": 3}]}, "prompt: found 3"),
        (lambda c: c | {"scores": [c["scores"][0] | {"length": 1.5}]}, "0: length: found 1.5"),
        (lambda c: c | {"scores": [c["scores"][0] | {"length": -1}]}, "0: length: found -1"),
        (
            lambda c: c | {"scores": [c["scores"][0], c["scores"][0] | {"baseline_length": "9"}]},
            "score 1: baseline_length: found '9', expected a number of characters, or null",
        ),
        (lambda c: c | {"scores": [c["scores"][0] | {"tokens": 1}]}, "0: found 'tokens'"),
        (lambda c: c | {"scores": c["scores"] * 2}, "found prompt 'p' twice"),
        (lambda c: c | {"scores": ["p"]}, "score 0: found 'p', expected an object"),
        (lambda c: c | {"scores": 7}, "missing or something else"),
        (lambda c: c | {"model": None}, "model: found None, expected a text"),
        (lambda c: c | {"summary": [1]}, r"a.json summary: found \[1\], expected an object"),
        (lambda c: c | {"made": None}, "a.json made: found None, expected an object"),
    ],
)
def test_a_wrong_result_is_refused(tmp_path, change, complaint):
    save_results(tmp_path, [result("a", ("p", "", 1, 1))])
    content = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps(change(content)))
    with pytest.raises(DataError, match=complaint):
        load_result(tmp_path / "a.json")


def test_a_wrong_record_or_a_cut_file(tmp_path):
    save_results(tmp_path, [result("a", ("p", "", 1, 1))])
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(text.replace('"judge"', '"jugde"'))
    with pytest.raises(SettingsError, match="jugde"):
        load_result(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(text[:-20])
    with pytest.raises(DataError, match="was the file cut"):
        load_result(tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot read"):
        load_result(tmp_path / "b.json")


# --------------------------------------------------------------------------- what fills a result


def rows_of(*preferences):
    """AlpacaEval's annotations of a model whose answers have 3, 5, 7, ... characters."""
    return [
        {
            "instruction": f"do {i}",
            "output_1": "b" * (4 + i),
            "output_2": "m" * (3 + 2 * i),
            "generator_1": "base",
            "generator_2": "m",
            "annotator": "judge",
            "dataset": "even" if i % 2 == 0 else "odd",
            "preference": preference,
        }
        for i, preference in enumerate(preferences)
    ]


def test_alpaca_keeps_lengths_numbers_and_digests(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows_of(1.25, None, 2.0)))
    found = score_alpaca(AlpacaFiles(path), LengthControlSettings())
    rows = [(r.category, r.score, r.length, r.baseline_length) for r in found.result.scores]
    # The second row has no preference: the lengths of the third stay with it.
    assert rows == [("even", 25.0, 3, 4), ("even", 100.0, 7, 6)]
    assert found.result.summary == found.numbers()
    assert found.result.summary["win_rate"] == 62.5
    made = found.result.made
    assert made["inarch"] == __version__
    assert made["files"] == {"annotations": f"annotations.json {digest_file(path)}"}
    assert made["n_invalid"] == 1
    assert made["settings"]["align"] == "instruction"


def test_arena_keeps_each_models_own_numbers(tmp_path):
    rows = [
        {"question_id": f"q{i}", "model_a": "gpt-4-0314", "model_b": name, "winner": winner}
        for name, winners in (("one", "AB"), ("two", "BB"))
        for i, winner in enumerate({"A": "model_a", "B": "model_b"}[w] for w in winners)
    ]
    path = tmp_path / "battles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = score_arena(path, ArenaSettings(), ArenaChoice())
    one, two = sorted(found.results(), key=lambda result: result.model)
    assert (one.summary["score"], two.summary["score"]) == (50.0, 100.0)
    assert one.summary == found.numbers()["one"]
    assert one.made["files"] == {"battles": f"battles.jsonl {digest_file(path)}"}
    assert (one.made["settings"]["control"], one.made["n_invalid"]) == ("none", 0)
    # Battles that come from no file are scored by default, and have the same numbers.
    assert [r.summary for r in arena_results(found.battles)] == [
        result.summary for result in found.results()
    ]


def test_mt_bench_keeps_the_averages_and_what_is_invalid():
    ratings = [
        Rating(81, "writing", "m", 1, 8.0, "j"),
        Rating(81, "writing", "m", 2, INVALID, "j"),
        Rating(101, "reasoning", "m", 1, 3.0, "j"),
        Rating(81, "writing", "none", 1, INVALID, "j"),
    ]
    (found,) = mt_results(ratings, "gpt-4", made={"inarch": "1"})  # none has no rating at all
    assert (found.model, found.protocol.references) == ("m", "gpt-4")
    assert found.summary["average"] == 5.5
    assert found.summary["turn_2"] is None
    assert found.summary["by_category"] == {"writing": 8.0, "reasoning": 3.0}
    assert found.made == {"inarch": "1", "n_invalid": 1}


def test_files_by_their_digests(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.jsonl").write_text("x")
    one = made_of({"a": tmp_path / "folder", "b": None}, n=1)
    assert list(one["files"]) == ["a"]
    (tmp_path / "folder" / "a.jsonl").write_text("y")
    other = made_of({"a": tmp_path / "folder", "b": None}, n=1)
    assert one["files"] != other["files"]
    assert (one["n"], one["inarch"]) == (1, __version__)
