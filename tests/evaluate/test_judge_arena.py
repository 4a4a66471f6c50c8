"""Arena-Hard judged live, with judges that are made up: what they are asked, and what it counts."""

import json
import math
import random
from pathlib import Path

import pytest
from tests.evaluate.arena_toy import (
    V01,
    V2,
    answer_row,
    golden,
    opened,
    play,
    protocol,
    question_row,
    reply,
    shown,
    write_rows,
)

from inarch.errors import DataError, SettingsError
from inarch.evaluate.arena.battles import ArenaSettings
from inarch.evaluate.arena.files import read_battles
from inarch.evaluate.arena.judge import GO_ON, ArenaBenchmark
from inarch.evaluate.arena.score import ArenaChoice, score_arena
from inarch.evaluate.judges.benchmark import JudgedModel, Ruling
from inarch.evaluate.protocol import Result
from inarch.records import Message

BOTH = pytest.mark.parametrize("name", [V01, V2])
THREE = [(f"q{n}", "hard_prompt") for n in range(3)]
BASE = {f"q{n}": "base" for n in range(3)}


def small(tmp_path: Path, name: str, num: int = 3, **more: object) -> ArenaBenchmark:
    return opened(protocol(tmp_path, name, THREE[:num], BASE, **more))


def answers(text: str, num: int = 3) -> dict[str, str]:
    return {f"q{n}": text for n in range(num)}


def by_game(*labels: tuple[str, str]):
    """A judge that says the labels of each question's two games; the model's answer is ``own``."""

    def say(messages):
        question, a, _ = shown(messages)
        return labels[int(question[-1])][a == "own"]

    return say


# ------------------------------------------------------------------------------------- what is sent


@BOTH
def test_both_games_show_system_question_and_answers(tmp_path, name):
    cases = small(tmp_path, name, 1).cases("m", {"q0": ("own",)})
    assert [case.messages for case in cases] == [
        (Message("system", "Judge them."), Message("user", "<U>ask q0<A>base<B>own<E>")),
        (Message("system", "Judge them."), Message("user", "<U>ask q0<A>own<B>base<E>")),
    ]
    assert [case.model_first for case in cases] == [False, True]
    assert [(case.question, case.part, case.ruling) for case in cases] == [("q0", "", None)] * 2


@BOTH
def test_braces_in_answers_stay_what_they_are(tmp_path, name):
    given = protocol(tmp_path, name, THREE[:1], {"q0": "{answer_2} {ANSWER_B} {0} {{x}} %s"})
    case, _ = opened(given).cases("m", {"q0": ("{question_1}{QUESTION} } \\1",)})
    assert case.messages[1].content == (
        "<U>ask q0<A>{answer_2} {ANSWER_B} {0} {{x}} %s<B>{question_1}{QUESTION} } \\1<E>"
    )


def test_each_category_has_its_prompt_and_its_baseline(tmp_path):
    questions = [("a", "creative_writing"), ("b", "hard_prompt")]
    benchmark = opened(protocol(tmp_path, V2, questions, {"a": "poem", "b": "code"}))
    cases = benchmark.cases("m", {"a": ("mine",), "b": ("mine",)})
    assert [tuple(message.content for message in case.messages) for case in cases[::2]] == [
        ("Judge the art.", "<U>ask a<A>poem<B>mine<E>"),
        ("Judge them.", "<U>ask b<A>code<B>mine<E>"),
    ]
    given = protocol(tmp_path, V2, questions, {"a": "poem", "b": "code"})
    hard = {"hard_prompt": given["baselines"]["hard_prompt"]}
    only = opened(given | {"baselines": hard, "categories": ["hard_prompt"]})
    assert [question.id for question in only.questions] == ["b"]
    with pytest.raises(DataError, match="a baseline for the category 'creative_writing', and"):
        opened(given | {"categories": ["hard_prompt"]})  # one of the two has no effect


def test_how_judges_and_models_are_asked(tmp_path):
    old, new = small(tmp_path / "old", V01), small(tmp_path / "new", V2)
    assert old.options == (0.0, 4096, None)
    assert new.options == (0.0, 16000, None)
    assert (old.num_asks, new.num_asks) == (2, 1)
    for benchmark in (old, new):
        sampling = benchmark.sampling(benchmark.questions[0])
        assert (sampling.temperature, sampling.max_new_tokens) == (0.0, 4096)


# -------------------------------------------------------------------------------------- what counts

# What a judge says: its label, the outcome if the model is A, and whether it is asked to go on;
# under v0.1, under v2.
SAID = {
    "so [[A>>B]]": (("A>>B", 1.0, False), ("A>>B", 1.0, False)),
    "so [[A>B]].": (("A>B", 1.0, False), ("A>B", 1.0, False)),
    "[[A=B]]": (("A=B", 0.5, False), ("A=B", 0.5, False)),
    "[[B>A]]": (("B>A", 0.0, False), ("B>A", 0.0, False)),
    "[[B>>A]]": (("B>>A", 0.0, False), ("B>>A", 0.0, False)),
    "[[A<<B]]": (("A<<B", None, False), ("A<<B", 0.0, False)),
    "[[A<B]]": (("A<B", None, False), ("A<B", 0.0, False)),
    "[[B=A]]": (("B=A", None, False), ("B=A", 0.5, False)),
    "[[B<A]]": (("B<A", None, False), ("B<A", 1.0, False)),
    "[[B<<A]]": (("B<<A", None, False), ("B<<A", 1.0, False)),
    "[[A>>>B]]": (("A>>>B", None, False), ("A>>>B", None, False)),
    "[[a>b]]": (("", None, True), ("A>B", 1.0, False)),
    "[B>A]": (("", None, True), ("B>A", 0.0, False)),
    "[A>B] and [[B>A]]": (("B>A", 0.0, False), ("B>A", 0.0, False)),
    "[[A>B]] [[A>B]]": (("A>B", 1.0, False), ("A>B", 1.0, False)),
    "[[A>B]] no, [[B>A]]": (("", None, False), ("B>A", 0.0, False)),
    'like "[[A=B]]": [[A>>B]]': (("", None, False), ("A>>B", 1.0, False)),
    '[[A>>B]], unlike "[[A=B]]"': (("", None, False), ("A=B", 0.5, False)),
    "[[C>A]]": (("", None, True), ("", None, False)),
    "[[A > B]]": (("", None, True), ("", None, False)),
    "A>B": (("", None, True), ("", None, False)),
}


@pytest.mark.parametrize("text", SAID)
@BOTH
def test_what_a_judge_says(tmp_path, name, text):
    benchmark = small(tmp_path, name, 1)
    label, as_a, goes_on = SAID[text][name == V2]
    as_b = None if as_a is None else 1 - as_a
    for case, outcome in zip(benchmark.cases("m", {"q0": ("own",)}), (as_b, as_a), strict=True):
        assert (benchmark.follow_up(case, [reply(text)]) is not None) == goes_on
        ruling = benchmark.read(case, [reply(text)])
        assert ruling.label == label
        assert ruling.value == outcome or (outcome is None and math.isnan(ruling.value))
        assert bool(ruling.failure) == (outcome is None)


def test_a_judge_without_a_label_is_asked_on_once(tmp_path):
    benchmark = small(tmp_path, V01, 1)
    heard = []

    def say(messages):
        heard.append(messages)
        return "[[B>>A]]" if messages[-1].content == GO_ON else "well [A>B]"

    judged = play(benchmark, {"q0": "own"}, say)
    assert [len(messages) for messages in heard] == [2, 4, 2, 4]
    assert heard[1] == (
        *heard[0],
        Message("assistant", "well [A>B]"),
        Message("user", "continue your judgment and finish by outputting a final verdict label"),
    )
    assert [ruling.value for ruling in judged.rulings] == [1.0, 0.0]
    # as the official file has it: a line break in front of each reply
    assert {ruling.words for ruling in judged.rulings} == {"\nwell [A>B]\n[[B>>A]]"}
    silent = play(benchmark, {"q0": "own"}, lambda messages: "well")
    assert [len(replies) for replies in silent.replies] == [2, 2]
    assert [ruling.failure for ruling in silent.rulings] == ["no label in the judgment"] * 2


def test_a_judgment_that_is_cut_says_so(tmp_path):
    benchmark = small(tmp_path, V2, 1)
    case = benchmark.cases("m", {"q0": ("own",)})[0]
    assert benchmark.read(case, [reply("wel", "length")]).failure == (
        "the judgment is cut before a label"
    )
    assert benchmark.read(case, [reply("[[A>B]] as", "length")]).value == 0.0


@BOTH
@pytest.mark.parametrize(
    ("label", "own", "score"),
    [
        (lambda a, b: "[[A>B]]", "own", 50.0),  # position alone: each side once
        (lambda a, b: "[[A>>B]]", "own", 50.0),
        (lambda a, b: "[[A=B]]", "own", 50.0),
        (lambda a, b: "[[A>B]]" if len(a) > len(b) else "[[B>A]]", "longer", 100.0),
        (lambda a, b: "[[A>>B]]" if len(a) > len(b) else "[[B>>A]]", "own", 0.0),
    ],
)
def test_judges_with_a_taste(tmp_path, name, label, own, score):
    benchmark = small(tmp_path, name)
    judged = play(benchmark, answers(own), lambda messages: label(*shown(messages)[1:]))
    result = benchmark.result(judged)
    assert result.summary["score"] == score
    assert result.summary["n_prompts"] == 3
    assert judged.num_invalid == result.summary["n_invalid"] == 0


@BOTH
def test_strong_verdicts_count_three_times_and_game_2_is_flipped(tmp_path, name):
    benchmark = small(tmp_path, name)
    say = by_game(("[[B>>A]]", "[[B>A]]"), ("[[A>>B]]", "[[B>>A]]"), ("[[A=B]]", "[[A>B]]"))
    result = benchmark.result(play(benchmark, answers("own"), say))
    # q0: won 3, lost 1; q1: lost 6; q2: a tie, won 1: (3 + 0 + 1.5) / (4 + 6 + 2)
    assert result.summary["score"] == pytest.approx(100 * 4.5 / 12)
    assert [(row.prompt, row.score, row.weight) for row in result.scores] == [
        ("q0", 75.0, 4.0),
        ("q1", 0.0, 6.0),
        ("q2", 75.0, 2.0),
    ]
    assert {(row.length, row.baseline_length) for row in result.scores} == {(3, 4)}


def test_what_a_game_without_a_verdict_takes_with_it(tmp_path):
    say = by_game(("[[B>A]]", "hm"), ("[[A>B]]", "[[B>A]]"), ("hm", "hm"))
    scores = {}
    for name in (V01, V2):
        benchmark = small(tmp_path / name, name)
        judged = play(benchmark, answers("own"), say)
        assert judged.num_invalid == 3
        scores[name] = benchmark.result(judged).summary
    # v0.1: won, lost, lost; v2: q0 goes as a whole
    old, new = scores[V01], scores[V2]
    assert (old["score"], old["n_prompts"], old["n_invalid"]) == (pytest.approx(100 / 3), 2, 3)
    assert (new["score"], new["n_prompts"], new["n_invalid"]) == (0.0, 1, 4)


WORTH = {"A>>B": [1] * 3, "A>B": [1], "A=B": [0.5], "B>A": [0], "B>>A": [0] * 3}
BACKWARDS = {"A<<B": [0] * 3, "A<B": [0], "B=A": [0.5], "B<A": [1], "B<<A": [1] * 3}


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_random_labels_score_as_the_official_tables_say(tmp_path, name, seed):
    """Game by game: v0.1 skips what is in no table, v2 skips the pair."""
    draw = random.Random(seed)
    known = WORTH | (BACKWARDS if name == V2 else {})
    labels = [*WORTH, *BACKWARDS, "A>>>B", "none"]
    games = [(draw.choice(labels), draw.choice(labels)) for _ in range(10)]
    rows: list[float] = []
    for one, two in games:
        if name == V01 or (one in known and two in known):
            rows += [1 - worth for worth in known.get(one, [])] + known.get(two, [])
    questions = [(f"q{n}", "hard_prompt") for n in range(10)]
    benchmark = opened(protocol(tmp_path, name, questions, answers("base", 10)))
    say = by_game(*[(f"[[{one}]]", f"so [[{two}]]!") for one, two in games])
    result = benchmark.result(play(benchmark, answers("own", 10), say))
    assert result.summary["score"] == pytest.approx(100 * sum(rows) / len(rows))
    assert result.summary["n_battles"] == len(rows)


def test_no_verdict_at_all(tmp_path):
    for name in (V01, V2):
        benchmark = small(tmp_path / name, name)
        judged = play(benchmark, answers("own"), lambda messages: "as a model\nI cannot")
        path = benchmark.save(tmp_path / name / "m", judged)
        assert len(path.read_text().splitlines()) == 3
        with pytest.raises(DataError) as caught:
            benchmark.result(judged)
        assert "found no verdict that counts in 6 games, most often: no label" in str(caught.value)
        said = " ".join(["as a model I cannot"] * (2 if name == V01 else 1))
        assert f"one ends with '{said}'" in str(caught.value)
    half = play(benchmark, answers("own"), by_game(*[("[[A>B]]", "hm")] * 3))
    with pytest.raises(DataError, match=r"no label in the judgment \(3\)"):
        benchmark.result(half)  # under v2 no pair is whole


# ----------------------------------------------------------------------------------- golden battles


def test_published_scores_come_out_of_a_judge_that_says_the_published_labels(eval_data, tmp_path):
    expected = json.loads((eval_data / "arena_hard_v01/expected.json").read_text())
    labels = golden(eval_data / "arena_hard_v01/battles.jsonl")
    questions = sorted({question for own in labels.values() for question in own})
    base = dict.fromkeys(questions, "base")
    benchmark = opened(protocol(tmp_path, V01, [(q, "") for q in questions], base))
    for model, own in labels.items():

        def say(messages, own=own):
            question, a, _ = shown(messages)
            return own[question.removeprefix("ask ")][a == "own"]

        judged = play(benchmark, dict.fromkeys(own, "own"), say, model)
        score = benchmark.result(judged).summary["score"]
        assert score == pytest.approx(expected["weighted_mean_win_rate"][model], abs=1e-9)
        official = expected["official_code_bt"][model]["win_rate"]
        assert score == pytest.approx(official, abs=1e-7)
    assert len(labels) == 2


# -------------------------------------------------------------------------------------------- files


def mixed(tmp_path: Path, name: str) -> tuple[ArenaBenchmark, list[JudgedModel]]:
    """Two models with different verdicts, one of them null, over two categories under v2."""
    questions = [(f"q{n}", "creative_writing" if n % 2 else "hard_prompt") for n in range(8)]
    base = {key: f"base **{key}**" for key, _ in questions}
    benchmark = opened(protocol(tmp_path, name, questions, base))
    cycle = ["[[A>B]]", "[[B>>A]]", "[[A=B]]", "[[B>A]]", "[[A>>B]]", "well", "[[A>B]]"]
    judged = []
    for model, text in (("one", "- a\n- list "), ("two", "# long header\n\nplain text ")):
        own = {key: text * (1 + n) for n, (key, _) in enumerate(questions)}

        def say(messages, model=model):
            question, a, _ = shown(messages)
            at = 2 * int(question[-1]) + a.startswith("base") + 3 * (model == "two")
            return cycle[at % len(cycle)]

        judged.append(play(benchmark, own, say, model))
    return benchmark, judged


@BOTH
def test_a_file_gives_the_same_scores_again(tmp_path, name):
    benchmark, judged = mixed(tmp_path, name)
    for one in judged:
        result = benchmark.result(one)
        path = benchmark.save(tmp_path / one.model, one)
        assert path == tmp_path / f"{one.model}.jsonl"
        again = score_arena(path, ArenaSettings(), ArenaChoice())
        assert again.scores[one.model].numbers() == result.summary
        [other] = again.results()
        assert [row[:4] for row in other.scores] == [row[:4] for row in result.scores]
        assert other.protocol.baseline == result.protocol.baseline
    assert again.battles.version == ("v2" if name == V2 else "v0.1")
    assert set(result.summary["by_category"]) == (
        {"hard_prompt", "creative_writing"} if name == V2 else set()
    )


@pytest.mark.parametrize("control", ["style", "length", "markdown"])
@BOTH
def test_style_held_equal_by_the_files_and_at_once(tmp_path, name, control):
    benchmark, judged = mixed(tmp_path, name)
    folder = tmp_path / "judgments"
    folder.mkdir()
    for one in judged:
        benchmark.save(folder / one.model, one)
    settings = ArenaSettings(control=control)
    found = benchmark.leaderboard(judged, settings)
    assert set(found) == ({"hard_prompt", "creative_writing"} if name == V2 else {""})
    for category, scores in found.items():
        choice = ArenaChoice(category=category or None)
        again = score_arena(folder, settings, choice, folder / "model_answer")
        assert {m: row.whole for m, row in again.scores.items()} == dict(scores.scores)
        assert dict(again.coefficients) == dict(scores.coefficients)
        plain = score_arena(folder, ArenaSettings(), choice)
        assert any(
            again.scores[m].whole.score != plain.scores[m].whole.score for m in ("one", "two")
        )


def test_a_row_of_v01_is_the_official_one(tmp_path):
    benchmark = small(tmp_path, V01, 1)
    judged = play(benchmark, {"q0": "own"}, lambda messages: "so [[A>B]]")
    [line] = benchmark.save(tmp_path / "m", judged).read_text().splitlines()
    assert json.loads(line) == {
        "question_id": "q0",
        "model": "m",
        "judge": "judge-1",
        "baseline": "gpt-4-0314",
        "games": [
            {"user_prompt": prompt, "judgment": "\nso [[A>B]]", "score": "A>B"}
            for prompt in ("<U>ask q0<A>base<B>own<E>", "<U>ask q0<A>own<B>base<E>")
        ],
    }


def test_a_row_of_v2_is_the_official_one_and_a_lost_game_is_null(tmp_path):
    benchmark = small(tmp_path, V2, 1)
    judged = play(benchmark, {"q0": "own"}, lambda messages: "so [[a>b]]")
    lost = Ruling(math.nan, failure="HTTP 500, once")
    judged = judged._replace(rulings=(judged.rulings[0], lost), replies=(judged.replies[0], ()))
    [line] = benchmark.save(tmp_path / "m", judged).read_text().splitlines()
    prompt = [
        {"role": "system", "content": "Judge them."},
        {"role": "user", "content": "<U>ask q0<A>base<B>own<E>"},
    ]
    assert json.loads(line) == {
        "uid": "q0",
        "category": "hard_prompt",
        "model": "m",
        "judge": "judge-1",
        "baseline": "o3-mini",
        "games": [
            {"score": "A>B", "judgment": {"answer": "so [[a>b]]"}, "prompt": prompt},
            None,
        ],
    }
    with pytest.raises(DataError, match=r"HTTP 500, once \(1\); expected a label"):
        benchmark.result(judged)
    assert {path.name for path in (tmp_path / "model_answer").iterdir()} == {
        "m.jsonl",
        "o3-mini.jsonl",
    }


def test_judges_are_scored_apart(tmp_path):
    benchmark, (one, two) = mixed(tmp_path, V01)
    with pytest.raises(DataError, match="score each judge alone"):
        benchmark.leaderboard([one, two._replace(judge="other")], ArenaSettings(control="style"))


# ---------------------------------------------------------------------------------------- baselines


@BOTH
def test_a_question_that_the_baseline_or_the_model_has_not_answered(tmp_path, name, caplog):
    given = protocol(tmp_path, name, THREE, {"q1": "base", "q2": "base"})
    benchmark = opened(given)
    assert "has no whole answer to 1 of 3 questions, such as q0" in caplog.text
    judged = play(benchmark, {"q0": "own", "q2": "own"}, lambda messages: "[[A>B]]")
    assert [case.question for case in judged.cases] == ["q2", "q2"]
    assert benchmark.result(judged).made["n_left_out"] == 2
    nothing = play(benchmark, {"q0": "own"}, lambda messages: "[[A>B]]")
    with pytest.raises(DataError, match="no question that it and the baseline have answered"):
        benchmark.result(nothing)


def test_answers_to_other_questions_are_refused(tmp_path):
    with pytest.raises(DataError, match="no whole answer of the baseline gpt-4-0314 to any of 3"):
        opened(protocol(tmp_path, V01, THREE, {}) | {"baseline": other_answers(tmp_path)})
    benchmark = opened(
        protocol(tmp_path, V01, THREE, BASE)
        | {"baseline": {"answers": str(tmp_path / "gpt-4-0314.jsonl"), "name": "mine"}}
    )
    assert (
        benchmark.result(
            play(benchmark, answers("own"), lambda messages: "[[A>B]]")
        ).protocol.baseline
        == "mine"
    )


def test_an_answer_that_the_baseline_failed_to_give_is_none(tmp_path):
    benchmark = opened(protocol(tmp_path, V01, THREE, BASE | {"q1": "$ERROR$"}))
    cases = benchmark.cases("m", dict.fromkeys(BASE, ("own",)))
    assert [case.question for case in cases] == ["q0", "q0", "q2", "q2"]


def test_one_model_of_two_files_has_two_digests(tmp_path):
    questions = [("a", "creative_writing"), ("b", "hard_prompt")]
    given = protocol(tmp_path, V2, questions, {"a": "poem", "b": "code"})
    files = {name: {"answers": file, "name": "x"} for name, file in given["baselines"].items()}
    benchmark = opened(given | {"baselines": files})
    digests = {key: value for key, value in benchmark.inputs.items() if "x" in key}
    assert set(digests) == {"answers of x to creative_writing", "answers of x to hard_prompt"}
    judged = play(benchmark, {"a": "own", "b": "own"}, lambda messages: "[[A>B]]")
    data = benchmark.result(judged).protocol.data
    assert all(digest[:16] in data for digest in digests.values())


def other_answers(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "o.jsonl", [answer_row(V01, "z", "gpt-4-0314", "x")]))


@BOTH
def test_a_model_of_the_run_as_the_baseline(tmp_path, name):
    own = {"name": "mine"}
    more = {"baseline": own} if name == V01 else {"baselines": {"hard_prompt": own}}
    benchmark = opened(protocol(tmp_path, name, THREE, BASE) | more)
    assert benchmark.awaits == ("mine",)
    assert not any(key.startswith("answers") for key in benchmark.inputs)
    with pytest.raises(SettingsError, match="'mine' without answers, and the models m"):
        benchmark.meet({"m": {}})
    benchmark.meet({"mine": {"q0": ("base",), "q1": ("bose",)}, "m": {}})
    assert benchmark.awaits == ()
    cases = benchmark.cases("m", dict.fromkeys(BASE, ("own",)))
    assert [shown(case.messages)[1:] for case in cases] == [
        ("base", "own"),
        ("own", "base"),
        ("bose", "own"),
        ("own", "bose"),
    ]
    assert benchmark.cases("mine", {"q0": ("base",)}) == []
    with pytest.raises(DataError, match="mine is the baseline, which has 50 by definition"):
        benchmark.result(JudgedModel("mine", "j", {}, (), ()))
    judged = play(benchmark, answers("own"), lambda messages: "[[A>B]]")
    assert benchmark.result(judged).protocol.baseline == "mine"
    again = read_battles(benchmark.save(tmp_path / "m", judged))
    assert set(again.baseline_of.values()) == {"mine"}


# ------------------------------------------------------------------------------------------ records


def scored(benchmark: ArenaBenchmark) -> Result:
    return benchmark.result(play(benchmark, answers("own"), lambda messages: "[[A>B]]"))


@BOTH
def test_the_record_holds_all_that_the_score_hangs_on(tmp_path, name):
    same = protocol(tmp_path, name, THREE, BASE)
    record = scored(opened(same)).protocol
    assert record == scored(opened(same)).protocol
    assert (record.benchmark, record.judge) == ("arena_hard", "judge-1")
    assert record.version == {V01: "v0.1", V2: "v2"}[name]
    (tmp_path / "more").mkdir()
    template = json.loads((tmp_path / "prompts.yaml").read_text())
    template["prompt_template"] += "!"
    (tmp_path / "more/prompts.yaml").write_text(json.dumps(template))
    rows = [question_row(name, key, f"tell {key}") for key in BASE]
    changes = {
        "prompts": {"prompts": str(tmp_path / "more/prompts.yaml")},
        "data": {"questions": str(write_rows(tmp_path / "more/questions.jsonl", rows))},
    }
    for field, change in changes.items():
        other = scored(opened(same | change)).protocol
        differs = {
            key for key, value in other.model_dump().items() if value != getattr(record, key)
        }
        assert differs == {field}
    for option in ({"temperature": 1.0}, {"max_tokens": 5}):
        benchmark = opened(same)
        benchmark.options = benchmark.options._replace(**option)
        assert scored(benchmark).protocol.judging != record.judging
    other = scored(opened(protocol(tmp_path / "x", name, THREE, answers("bass")))).protocol
    assert other.data != record.data
    few = opened(same)
    few.questions = few.questions[:2]
    assert scored(few).protocol.data != record.data


@BOTH
def test_inputs_are_digests_of_questions_prompts_and_answers(tmp_path, name):
    inputs = small(tmp_path, name).inputs
    answers_of = {V01: "gpt-4-0314", V2: "o3-mini to hard_prompt"}[name]
    assert set(inputs) == {"questions", "prompts", f"answers of {answers_of}"}
    assert all(len(digest) == 64 for digest in inputs.values())


# ---------------------------------------------------------------------------------- what is refused


def test_wrong_settings_and_files(tmp_path):
    good = {name: protocol(tmp_path / name, name, THREE, BASE) for name in (V01, V2)}

    def refused(name, match, error=DataError, **change):
        with pytest.raises(error, match=match):
            opened(good[name] | change)

    def prompts(**content):
        (tmp_path / "p.yaml").write_text(json.dumps(content))
        return str(tmp_path / "p.yaml")

    refused(V2, "no question of the category 'poems', but of hard_prompt", categories=["poems"])
    refused(
        V2,
        "a baseline for the category 'poems', and questions of hard_prompt",
        baselines={"poems": good[V2]["baselines"]["hard_prompt"]},
    )
    refused(V01, "expected answers, a file, or name", SettingsError, baseline={})
    refused(V01, "baselines", SettingsError, baselines={})
    refused(
        V01,
        r"p.yaml: prompt_template: found the places \{answer_1\}; expected \{answer_1\},"
        r" \{answer_2\}, \{question_1\}",
        prompts=prompts(system_prompt="x", prompt_template="{answer_1}"),
    )
    refused(
        V2,
        r"found the places \{ANSWER_A\}, \{ANSWER_B\}, \{QUESTION\}, \{REFERENCE\}",
        prompts=prompts(
            system_prompt="x", prompt_template="{QUESTION}{ANSWER_A}{ANSWER_B}{REFERENCE}"
        ),
    )
    refused(
        V2,
        "write {{ and }} for braces that are no place",
        prompts=prompts(system_prompt="x", prompt_template="{QUESTION}{"),
    )
    refused(
        V2,
        "a question of the category 'hard_prompt', and prompts for art",
        prompts=prompts(
            system_prompt={"art": "x"}, prompt_template="{QUESTION}{ANSWER_A}{ANSWER_B}"
        ),
    )
    two = question_row(V01, "q0", "x") | {"turns": [{"content": "x"}, {"content": "y"}]}
    refused(
        V01,
        "the question 'q0' of 2 turns; expected one",
        questions=str(write_rows(tmp_path / "two.jsonl", [two])),
    )
    refused(V01, "without question_id", questions=good[V2]["questions"])
