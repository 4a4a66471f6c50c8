"""Whom models meet: answers in full, from a file or from a model of the run."""

import json

import pytest

from inarch.errors import DataError, SettingsError
from inarch.evaluate.judges.baseline import Baseline, open_baseline
from inarch.evaluate.judges.questions import Question

TWO = (Question("81", "", ("q", "r")), Question("82", "", ("s",)))


def test_answers_count_in_full(tmp_path, caplog):
    said = {"81": ["a"], "82": ["b", "$ERROR$"], "83": ["c"]}
    rows = [
        {"question_id": int(q), "model_id": "m", "choices": [{"index": 0, "turns": turns}]}
        for q, turns in said.items()
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = open_baseline("mt_bench", TWO, path)
    # the first has one turn of two; the second failed at a turn that nobody asks for
    assert (found.model, found.answers) == ("m", {"82": ("b",)})
    assert "m has no whole answer to 1 of 2 questions, such as 81" in caplog.text
    assert open_baseline("mt_bench", TWO, path, "n").model == "n"


def test_a_model_of_the_run_is_the_same_as_a_file_of_its_answers():
    awaited = open_baseline("mt_bench", TWO, None, "m")
    assert awaited.answers is None
    whole = {"81": ("a", "b"), "82": ("c",)}
    met = awaited.meet({"m": whole, "n": {}})
    given = Baseline("other", TWO).take(dict(reversed(whole.items())))
    assert met.answers == whole
    assert met.digest == given.digest != awaited.take(whole | {"82": ("d",)}).digest
    assert met.meet({}) is met
    with pytest.raises(SettingsError, match="baseline 'm' without answers, and the models n;"):
        awaited.meet({"n": whole})
    for bad in ({}, {"81": ("a", "$ERROR$")}):
        with pytest.raises(DataError, match="no whole answer of the baseline m to any of 2 quest"):
            awaited.meet({"m": bad})
