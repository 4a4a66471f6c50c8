"""Arena-Hard's files: battles and judgments of both versions, and rows that are refused."""

import json

import pytest

from inarch.errors import DataError
from inarch.evaluate.arena import files
from inarch.evaluate.arena.files import Judgment
from inarch.evaluate.arena.style import Style


def lines(tmp_path, *rows, name="x.jsonl"):
    path = tmp_path / name
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows))
    return path


def battle(a="b", b="m", winner="tie", question="q"):
    return {"question_id": question, "model_a": a, "model_b": b, "winner": winner}


def judged(prompt="q", labels=("A>B", "A>>B"), key="question_id", **more):
    games = [label if label is None else {"score": label, "judgment": ""} for label in labels]
    return {key: prompt, "model": "m", "games": games, "judge": "j"} | more


# ------------------------------------------------------------------------------------ battles


def test_battles_are_the_models_whatever_side_it_is_on(tmp_path):
    rows = [
        battle(winner="model_a"),
        battle(winner="model_b"),
        battle("m", "b", "model_a"),
        battle("n", "b", "model_b"),
        battle(winner="tie (bothbad)"),
    ]
    found = files.read_battles(lines(tmp_path, *rows))
    assert found.models == ("m", "m", "m", "n", "m")
    assert found.outcome_N.tolist() == [0, 1, 1, 0, 0.5]
    assert dict(found.baseline_of) == {"": "b"}
    assert found.version == "v0.1"


def test_the_baseline_is_shared_named_or_known(tmp_path):
    two = lines(tmp_path, battle(), battle())
    with pytest.raises(DataError, match="found b and m in all battles; name the baseline"):
        files.read_battles(two)
    assert files.read_battles(two, baseline="m").models == ("b", "b")
    known = lines(tmp_path, battle("gpt-4-0314", "m", "model_b"))
    assert files.read_battles(known).outcome_N.tolist() == [1]
    with pytest.raises(DataError, match="found no model in all battles"):
        files.read_battles(lines(tmp_path, battle("a", "b"), battle("b", "c"), battle("c", "a")))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (battle(winner="me"), r":2: winner: found 'me', expected model_a"),
        (battle("m", "n"), r":2: found m against n; expected one of them to be the baseline b"),
        (battle("b", "b"), r":2: found b against itself; leave it out"),
        (battle(b=None), r":2: model_b: found None, expected a text"),
        ({"question_id": "q"}, r":2: found the columns question_id, without model_a"),
        ('{"question_id": "q", "mod', r":2: not JSON .* was the file cut"),
        ("[1]", r":2: found list, expected an object"),
    ],
)
def test_a_wrong_battle_is_refused_by_its_row(tmp_path, row, complaint):
    with pytest.raises(DataError, match=complaint):
        files.read_battles(lines(tmp_path, battle(), row), baseline="b")


def test_what_editors_do_to_a_file(tmp_path):
    """A mark of the byte order in front, ends of lines of two letters, empty lines."""
    path = lines(tmp_path, battle("gpt-4-0314", "ü 🌱", "model_b"), battle("gpt-4-0314", "n"))
    found = files.read_battles(path)
    assert found.models == ("ü 🌱", "n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert files.read_battles(path).models == found.models


def test_a_file_of_something_else(tmp_path):
    with pytest.raises(DataError, match=r":1: found the columns text, without question_id"):
        files.read_battles(lines(tmp_path, {"text": "x"}))
    with pytest.raises(DataError, match="holds no rows"):
        files.read_battles(lines(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.jsonl files"):
        files.read_battles(tmp_path / "empty")


# ------------------------------------------------------------------------------------ judgments


def test_judgments_are_battles(tmp_path):
    # game 1: the baseline is A and wins; game 2: the model is A and wins strongly, three rows
    found = files.read_battles(lines(tmp_path, judged(), judged("r", (None, "B>A"))))
    assert found.prompts == ("q",) * 4 + ("r",)
    assert found.outcome_N.tolist() == [0, 1, 1, 1, 0]
    assert found.num_invalid == {("m", ""): 1}
    assert (found.version, found.judge, dict(found.baseline_of)) == (
        "v0.1",
        "j",
        {"": "gpt-4-0314"},
    )


def test_judgments_of_v2_have_a_uid_and_a_category(tmp_path):
    rows = [
        judged("q", ("A>B", "A>>B"), "uid", category="hard_prompt"),
        judged("r", (None, "B>A"), "uid", category="hard_prompt"),
        judged("s", ("B<A", "A<<B"), "uid", category="creative_writing"),
    ]
    found = files.read_battles(lines(tmp_path, *rows))
    assert found.version == "v2"
    assert found.prompts == ("q",) * 4 + ("s",) * 4
    assert found.outcome_N.tolist() == [0, 1, 1, 1, 0, 0, 0, 0]
    assert found.num_invalid == {("m", "hard_prompt"): 2, ("m", "creative_writing"): 0}
    assert dict(found.baseline_of) == {
        "hard_prompt": "o3-mini-2025-01-31",
        "creative_writing": "gemini-2.0-flash-001",
    }
    old = files.read_battles(lines(tmp_path, *rows), "v0.1", "mine")
    assert old.outcome_N.tolist() == [0, 1, 1, 1, 0]
    assert set(old.baseline_of.values()) == {"mine"}


def test_a_game_without_a_score_is_read_from_the_judges_words(tmp_path):
    row = judged("q", (None, None)) | {"games": [{"judgment": "[[B>A]]"}, {"judgment": "[[B>>A]]"}]}
    assert files.read_battles(lines(tmp_path, row)).outcome_N.tolist() == [1, 0, 0, 0]
    row = judged("q", (None, None), "uid", category="x") | {
        "games": [{"judgment": {"answer": "[[b>a]]"}}, {"judgment": {"answer": "[A=B]"}}]
    }
    assert files.read_battles(lines(tmp_path, row)).outcome_N.tolist() == [1, 0.5]


def test_a_folder_holds_a_file_per_model(tmp_path, caplog):
    lines(tmp_path, judged(), name="m.jsonl")
    lines(tmp_path, judged() | {"model": "n"}, judged() | {"model": "n"}, name="n.jsonl")
    found = files.read_battles(tmp_path)
    assert found.models == ("m",) * 4 + ("n",) * 8
    assert "1 prompts are judged more than once" in caplog.text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"games": None}, r":1: games: found None, expected a list of two"),
        ({"games": [None]}, r":1: games: found \[None\]"),
        ({"games": [1, 2]}, r":1: games: found 1, expected an object or null"),
        ({"games": [{"score": 1}, None]}, r":1: score: found 1, expected a label"),
        ({"games": [None, None]}, "found no verdict in 1 judgments"),
        ({"model": 1.5}, r":1: model: found 1.5, expected a text"),
    ],
)
def test_a_wrong_judgment_is_refused_by_its_row(tmp_path, change, complaint):
    with pytest.raises(DataError, match=complaint):
        files.read_battles(lines(tmp_path, judged() | change))


def test_two_judges_do_not_mix(tmp_path):
    with pytest.raises(DataError, match="judgments by j, k"):
        files.read_battles(lines(tmp_path, judged(), judged("r", judge="k")))


def test_two_judges_of_battles_do_not_mix(tmp_path):
    rows = [battle() | {"judge": "j"}, battle(question="r") | {"judge": "k"}]
    with pytest.raises(DataError, match="battles by j, k; their verdicts do not mean the same"):
        files.read_battles(lines(tmp_path, *rows), baseline="b")


def test_rows_that_name_their_baseline_are_believed(tmp_path):
    path = lines(tmp_path, judged(baseline="own"))
    assert set(files.read_battles(path, baseline="own").baseline_of.values()) == {"own"}
    with pytest.raises(DataError, match="judgments against own, and --baseline other"):
        files.read_battles(path, baseline="other")


def test_a_baseline_is_not_judged_against_itself(tmp_path):
    own = judged("q", key="uid", category="creative_writing") | {"model": "o3-mini-2025-01-31"}
    assert files.read_battles(lines(tmp_path, own)).models == ("o3-mini-2025-01-31",) * 4
    with pytest.raises(DataError, match="found o3-mini-2025-01-31 against itself on q; leave"):
        files.read_battles(lines(tmp_path, own | {"uid": "r"}, own | {"category": "hard_prompt"}))


@pytest.mark.parametrize("version", ["v0.1", "v2"])
def test_judgments_are_read_as_they_were_written(tmp_path, version):
    rows = (
        Judgment(
            "q",
            "m",
            ("A>B", None),
            ("🌱\ud83c [[A>B]]", "no\nverdict"),
            "c" * (version == "v2"),
            "j",
        ),
        Judgment("r", "n", ("A=B", "B>>A"), ("", "é"), "", "j"),
    )
    files.write_judgments(tmp_path / "j.jsonl", rows, version)
    assert files.read_judgments(tmp_path / "j.jsonl", version) == rows
    first = json.loads((tmp_path / "j.jsonl").read_text().splitlines()[0])
    assert next(iter(first)) == ("uid" if version == "v2" else "question_id")


# ------------------------------------------------------------------------------------ style


def test_styles_of_official_answers_are_summed_over_kinds(tmp_path):
    counts = {
        "token_len": 40,
        "header_count": {"h1": 1, "h2": 2},
        "list_count": {"ordered": 3, "unordered": 0},
        "bold_count": {"**": 4, "__": 1},
    }
    path = lines(
        tmp_path,
        {"question_id": "q", "model_id": "m", "conv_metadata": counts},
        {"uid": "r", "model": "n", "metadata": counts | {"bold_count": 2}},
    )
    assert files.read_styles(path) == {
        ("q", "m"): Style(40, 3, 3, 5),
        ("r", "n"): Style(40, 3, 3, 2),
    }


def test_answers_are_counted_in_one_way(tmp_path, caplog):
    caplog.set_level("INFO")
    counts = {"token_len": 40, "header_count": 1, "list_count": 0, "bold_count": 0}
    messages = [{"role": "user", "content": "q"}, {"content": {"answer": "- **two** words"}}]
    official = {"uid": "r", "model": "n", "messages": messages, "metadata": counts}
    counted = official | {"model": "m", "metadata": counts | {"token_counter": "inarch"}}
    choices = [{"turns": [{"content": "# one", "token_len": 9}]}]
    bare = {"question_id": "r", "model_id": "o", "choices": choices}
    as_they_are = files.read_styles(lines(tmp_path, official, official | {"uid": "s"}))
    assert as_they_are == {("r", "n"): Style(40, 1, 0, 0), ("s", "n"): Style(40, 1, 0, 0)}
    assert not caplog.messages
    # "-", " **", "two", "**", " words"
    anew = files.read_styles(lines(tmp_path, official, counted))
    assert anew == {("r", "n"): Style(5, 0, 1, 1), ("r", "m"): Style(5, 0, 1, 1)}
    # the turn's own token_len is of another encoding
    anew = files.read_styles(lines(tmp_path, bare, official))
    assert anew == {("r", "o"): Style(2, 1, 0, 0), ("r", "n"): Style(5, 0, 1, 1)}
    assert caplog.messages == ["the style of 2 answers is counted anew, in one way for all"] * 2


def test_a_count_that_is_missing_is_named(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("question_id,model,token_len,header_count,list_count,bold_count\nq,m,3,1,,0\n")
    with pytest.raises(DataError, match=r":2: list_count: found none"):
        files.read_styles(path)
