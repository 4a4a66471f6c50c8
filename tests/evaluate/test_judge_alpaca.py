"""AlpacaEval's questions to a judge, and what its replies are worth: by hand and as published."""

import hashlib
import itertools
import json
import math
import random
import re
from pathlib import Path

import pytest
from tests.alpaca_sets import PROMPT, golden, instructions, questions, write_prompt, write_rows

from inarch.errors import DataError, SettingsError
from inarch.evaluate.alpaca import _index
from inarch.evaluate.alpaca.files import read_annotations
from inarch.evaluate.alpaca.judge import JUDGE, AlpacaBenchmark, AlpacaProtocol
from inarch.evaluate.alpaca.length_control import LengthControlSettings
from inarch.evaluate.alpaca.preferences import ANNOTATOR, BASELINE, is_swapped
from inarch.evaluate.alpaca.score import AlpacaFiles, score_alpaca
from inarch.evaluate.judges import official
from inarch.evaluate.judges import prompts as judge_prompts
from inarch.evaluate.judges.benchmark import Case, JudgedModel, Ruling
from inarch.evaluate.protocol import differences, load_result, save_results
from inarch.io.endpoints import Reply
from inarch.settings import validate


@pytest.fixture(autouse=True)
def _no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))


def protocol(**settings: object) -> AlpacaProtocol:
    return validate(AlpacaProtocol, settings, "the test")


def opened(tmp_path: Path, rows: list[dict[str, object]], **settings: object) -> AlpacaBenchmark:
    if "prompt" not in settings:
        settings["prompt"] = write_prompt(tmp_path)
    path = write_rows(tmp_path / "questions.json", rows)
    return AlpacaBenchmark(protocol(questions=path, **settings))


def reply(top: dict[str, float] | None, text: str = "m", model: str = "judge-1") -> Reply:
    pairs = None if top is None else tuple(sorted(top.items(), key=lambda pair: -pair[1]))
    return Reply(text, "length", model, 100, 1, pairs)


SURE = {"m": math.log(0.9), "M": math.log(0.1)}
"""The first answer wins with 0.9."""


def judge(benchmark, answers, say, name="judge-1", model="cand") -> JudgedModel:
    """Ask a made-up judge, which says a reply or a reason for none per case."""
    dialogues = {instruction: (answer,) for instruction, answer in answers.items()}
    cases = tuple(benchmark.cases(model, dialogues))
    rulings, replies = [], []
    for case in cases:
        said = None if case.ruling else say(case)
        if isinstance(said, Reply):
            rulings.append(benchmark.read(case, (said,)))
            replies.append((said,))
        else:
            rulings.append(case.ruling or Ruling(math.nan, failure=said))
            replies.append(())
    return JudgedModel(model, name, dialogues, cases, tuple(rulings), tuple(replies))


def answers_to(benchmark, text="mine") -> dict[str, str]:
    return {question.id: text for question in benchmark.questions}


# What the judge is asked


def test_texts_are_put_in_at_once(tmp_path):
    rows = questions(1)
    rows[0] |= {"instruction": "What is {output_2}?", "output": "<|im_end|> {instruction}"}
    found = opened(tmp_path, rows).cases("c", {"What is {output_2}?": ("{output_1}",)})
    assert not is_swapped("What is {output_2}?")
    [case] = found
    assert [tuple(message) for message in case.messages] == [
        ("system", "Choose."),
        (
            "user",
            "# Task\nWhat is {output_2}?\n# m\n<|im_end|> {instruction}\n# M\n{output_1}\n# Name",
        ),
    ]


def as_officially(template: str, texts: dict[str, str]) -> list[tuple[str, str]]:
    """Each place filled after the other, the first that is there; then the ChatML is split."""
    for name in re.findall(r"{([^ \s]+?)}", template):
        template = template.replace("{" + name + "}", texts[name], 1)
    parts = template.strip().split("<|im_start|>")[1:]
    return [
        (part.split("\n", 1)[0].strip(), part.split("\n", 1)[1].split("<|im_end|>", 1)[0].strip())
        for part in parts
    ]


def test_the_same_messages_as_the_package_for_any_usual_text(tmp_path):
    rng = random.Random(7)
    rows, dialogues = [], {}
    for i in range(40):
        one, two, three = ("".join(rng.choices('ab {}\n"<|>é_', k=30)) for _ in range(3))
        rows.append({"instruction": f"{i}{one}", "output": two, "generator": "b"})
        dialogues[f"{i}{one}"] = (three,)
    benchmark = opened(tmp_path, rows, order="both")
    cases = benchmark.cases("c", dialogues)
    assert len(cases) == 80
    for case in cases:
        own = dialogues[case.question][0]
        other = next(row["output"] for row in rows if row["instruction"] == case.question)
        first, second = (own, other) if case.model_first else (other, own)
        texts = {"instruction": case.question, "output_1": first, "output_2": second}
        assert [tuple(m) for m in case.messages] == as_officially(PROMPT, texts)


def test_the_package_fills_an_answer_in_again():
    texts = {"instruction": "i", "output_1": "see {output_2}", "output_2": "B"}
    [_, (_, user)] = as_officially(PROMPT, texts)
    assert "see B" in user  # what this benchmark does not do
    assert "{output_2}" in user


def test_the_official_prompt(tmp_path, monkeypatch):
    monkeypatch.delenv("INARCH_CACHE")
    path = official.cache_folder() / "alpaca_eval2/alpaca_eval_clf.txt"
    if not path.is_file():
        pytest.skip("needs inarch evaluate fetch alpaca_eval2")
    benchmark = opened(tmp_path, questions(1), prompt=str(path))
    assert benchmark.prompts.is_official
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("784227e6")
    [case] = benchmark.cases("c", {benchmark.questions[0].id: ("mine",)})
    assert [message.role for message in case.messages] == ["system", "user"]
    texts = {"instruction": case.question, "output_1": "base", "output_2": "mine"}
    assert [tuple(m) for m in case.messages] == as_officially(path.read_text(), texts)


@pytest.mark.parametrize("place", ["instruction", "output_1", "output_2"])
def test_a_prompt_without_a_place(tmp_path, place):
    prompt = write_prompt(tmp_path, PROMPT.replace("{" + place + "}", "{output1}"))
    with pytest.raises(DataError, match=rf"prompt.txt: found no {{{place}}}; expected"):
        opened(tmp_path, questions(1), prompt=prompt)


# The order


def test_the_order_is_drawn_by_instruction(tmp_path):
    benchmark = opened(tmp_path, questions(4))
    cases = benchmark.cases("c", {q.id: ("mine",) for q in benchmark.questions})
    assert [case.model_first for case in cases] == [False, True, False, True]
    for case in cases:
        first, second = ("mine", "base") if case.model_first else ("base", "mine")
        assert f"# m\n{first}\n# M\n{second}\n" in case.messages[-1].content


def test_both_orders_begin_with_the_drawn_one(tmp_path):
    benchmark = opened(tmp_path, questions(2), order="both")
    cases = benchmark.cases("c", {q.id: ("mine",) for q in benchmark.questions})
    assert [case.model_first for case in cases] == [False, True, True, False]
    assert len({case.messages for case in cases}) == 4


def test_equal_answers_are_a_draw_that_is_not_asked(tmp_path):
    benchmark = opened(tmp_path, questions(3), order="both")
    one, two, three = instructions(3)
    found = judge(benchmark, {one: "base", two: "mine", three: ""}, lambda case: reply(SURE))
    assert [case.question for case in found.cases] == [one, two, two, three, three]
    assert found.rulings[0].value == 0.5
    assert found.cases[0].ruling is not None
    # an empty answer is judged as any other
    assert "# M\n\n# Name" in found.cases[3].messages[-1].content
    rows = json.loads(benchmark.save(tmp_path / "a", found).read_text())
    assert [row["preference"] for row in rows] == pytest.approx([1.5, 1.5, 1.5])
    assert rows[0]["raw_completion"] is None


def test_an_instruction_without_an_answer_is_no_case(tmp_path):
    benchmark = opened(tmp_path, questions(3))
    assert len(benchmark.cases("c", {instructions(3)[1]: ("mine",)})) == 1


# Reading


@pytest.mark.parametrize(
    ("top", "first", "second"),
    [
        # 0.6 / (0.6 + 0.2) = 0.75 for the first answer
        ({"m": math.log(0.6), "M": math.log(0.2), "The": math.log(0.1)}, 0.75, 0.25),
        ({"m": math.log(0.2)}, 1.0, 0.0),
        ({"M": -5.0, "m.": -0.1}, 0.0, 1.0),
    ],
)
def test_the_chance_of_the_model(tmp_path, top, first, second):
    benchmark = opened(tmp_path, questions(1))
    for model_first, chance in ((True, first), (False, second)):
        ruling = benchmark.read(Case("q", "", (), model_first), (reply(top),))
        assert ruling.value == pytest.approx(chance)
        assert ruling.failure == ""


@pytest.mark.parametrize("almost", [" m", "m.", "▁m", "Model", "Ġm", "M ", "mM", "µ", ""])
def test_what_is_almost_a_name_is_none(tmp_path, almost):
    benchmark = opened(tmp_path, questions(1))
    ruling = benchmark.read(Case("q", "", (), True), (reply({almost: -0.1, "The": -3.0}, almost),))
    assert math.isnan(ruling.value)
    assert ruling.failure == f"the first token is likely {almost!r}, 'The', and neither m nor M"


def test_the_sixth_token_does_not_count(tmp_path):
    benchmark = opened(tmp_path, questions(1))
    others = {letter: -1.0 - i for i, letter in enumerate("vwxyz")}
    assert math.isnan(benchmark.read(Case("q", "", (), True), (reply(others | {"m": -9.0}),)).value)
    fifth = dict(list(others.items())[:4]) | {"m": -9.0}
    assert benchmark.read(Case("q", "", (), True), (reply(fifth),)).value == 1.0


def test_a_reply_without_log_probs(tmp_path):
    ruling = opened(tmp_path, questions(1)).read(Case("q", "", (), True), (reply(None),))
    assert math.isnan(ruling.value)
    assert ruling.failure == "the reply holds no log-probs"


@pytest.mark.parametrize(
    ("text", "chance"),
    [
        ("m", 1.0),
        ("M", 0.0),
        (' "m"\n', 1.0),
        ("**M**.", 0.0),
        ("<think>\nM is worse, m\n</think>\n\nm", 1.0),
        ("m or M", None),
        ("Model m", None),
        ("mm", None),
        ("", None),
    ],
)
def test_the_text_where_there_are_no_log_probs(tmp_path, text, chance):
    benchmark = opened(tmp_path, questions(1), without_logprobs="text").discrete()
    assert benchmark.options == (0.0, 16, None)
    for model_first, right in ((True, chance), (False, None if chance is None else 1 - chance)):
        ruling = benchmark.read(Case("q", "", (), model_first), (reply(None, text),))
        if right is None:
            assert math.isnan(ruling.value)
            assert ruling.failure == f"the reply is {text!r}, and neither m nor M"
        else:
            assert ruling.value == right


def test_without_log_probs_the_run_stops_by_default(tmp_path):
    with pytest.raises(SettingsError, match=r"set protocol\.without_logprobs to text"):
        opened(tmp_path, questions(1)).discrete()


# Files and results


def saved(tmp_path, benchmark, found) -> Path:
    return benchmark.save(tmp_path / "some model-1.5", found)


def test_the_file_is_the_package_s(tmp_path):
    benchmark = opened(tmp_path, questions(2))
    found = judge(benchmark, answers_to(benchmark), lambda case: reply(SURE, "m"))
    path = saved(tmp_path, benchmark, found)
    assert path.name == "some model-1.5.json"
    one, two = json.loads(path.read_text())
    raw = one.pop("raw_completion")
    assert one == {
        "instruction": instructions(2)[0],
        "output_1": "base",
        "generator_1": "b",
        "dataset": "made up",
        "output_2": "mine",
        "generator_2": "cand",
        "annotator": f"judge-1 (weighted, prompt {benchmark.prompts.digest[:8]})",
        "preference": pytest.approx(1.1),  # the model is second, and the first wins with 0.9
    }
    assert two["preference"] == pytest.approx(1.9)
    assert raw["logprobs"]["content"][0]["top_logprobs"] == [
        {"token": "m", "logprob": math.log(0.9)},
        {"token": "M", "logprob": math.log(0.1)},
    ]
    assert (raw["text"], raw["total_tokens"], raw["finish_reason"]) == ("m", 101, "length")


def test_both_orders_are_averaged_and_kept(tmp_path):
    benchmark = opened(tmp_path, questions(2), order="both")
    one, two = instructions(2)
    # of the first instruction, whose drawn order shows the model second: 0.1 then, 0.6 as first
    chances = {(one, False): 0.9, (one, True): 0.6, (two, True): 0.3}

    def say(case):
        first = chances.get((case.question, case.model_first))
        if first is None:
            return "HTTP 500"
        return reply({"m": math.log(first), "M": math.log(1 - first)})

    found = judge(benchmark, answers_to(benchmark), say)
    rows = read_annotations(saved(tmp_path, benchmark, found))
    assert rows[0].preference == pytest.approx(1 + (0.1 + 0.6) / 2)
    # one order alone would count the judge's taste for places
    assert math.isnan(rows[1].preference)
    assert rows[1].more["failure"] == "HTTP 500"
    columns = ("raw_completion", "raw_completion_reversed")
    firsts = [
        rows[0].more[column]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"]
        for column in columns
    ]
    assert firsts == [math.log(0.9), math.log(0.6)]
    assert rows[1].more[columns[1]] is None
    assert "both orders" in rows[0].annotator
    result = benchmark.result(found)
    assert [score.score for score in result.scores] == [pytest.approx(35)]
    assert result.made["n_invalid"] == 1


def test_the_file_gives_the_same_numbers_as_the_result(tmp_path):
    rng = random.Random(3)
    benchmark = opened(tmp_path, questions(30, "baseline"))
    tokens = itertools.cycle([SURE, {" m": -0.1}, {"m": -2.0, "M": -1.5}, None, {"M": -1.0}])
    answers = {q.id: "a" * rng.randrange(20) for q in benchmark.questions[:25]}
    found = judge(benchmark, answers, lambda case: reply(next(tokens)))
    result = benchmark.result(found)
    again = score_alpaca(
        AlpacaFiles(saved(tmp_path, benchmark, found)), LengthControlSettings(), draws=False
    )
    length = int(sum(map(len, answers.values())) / 25)
    assert result.summary == again.numbers() | {"avg_length": length}
    assert result.scores == again.result.scores
    assert result.summary["n"] == len(result.scores) == 15
    assert result.made["n_invalid"] == 10
    assert result.made["n_unanswered"] == 5
    assert result.made["failures"] == {
        "the first token is likely ' m', and neither m nor M": 5,
        "the reply holds no log-probs": 5,
    }
    assert result.scores[0].length == len(answers[instructions(1)[0]])
    assert result.scores[0].baseline_length == len("baseline")
    save_results(tmp_path / "results", [result])
    assert load_result(tmp_path / "results/cand.json") == result


def test_no_verdict_at_all_names_the_reason(tmp_path):
    benchmark = opened(tmp_path, questions(3))
    reasons = itertools.cycle(["cut", "HTTP 503", "HTTP 503"])
    found = judge(benchmark, answers_to(benchmark), lambda case: next(reasons))
    with pytest.raises(DataError, match=r"judge-1 on cand: .* in 3 .* reason: HTTP 503"):
        benchmark.result(found)
    assert len(json.loads(saved(tmp_path, benchmark, found).read_text())) == 3


def annotator_of(tmp_path, name="judge-1", says="judge-1", **settings) -> str:
    text = settings.pop("text", False)
    benchmark = opened(tmp_path, questions(2), **settings)
    benchmark = benchmark.discrete() if text else benchmark
    found = judge(benchmark, answers_to(benchmark), lambda case: reply(SURE, "m", says), name)
    [annotator] = {row.annotator for row in read_annotations(saved(tmp_path, benchmark, found))}
    assert benchmark.result(found).protocol.judge == annotator
    return annotator


def test_only_the_published_annotator_has_its_name(tmp_path, monkeypatch):
    own = annotator_of(tmp_path, JUDGE, JUDGE)
    assert re.fullmatch(re.escape(JUDGE) + r" \(weighted, prompt [0-9a-f]{8}\)", own)
    texts = opened(tmp_path, questions(1)).prompts.of[""]
    digests = tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts)
    monkeypatch.setitem(judge_prompts._DIGESTS, "alpaca_eval2", {"": digests})
    assert annotator_of(tmp_path, JUDGE, JUDGE) == ANNOTATOR
    assert annotator_of(tmp_path, "gpt-5", "gpt-5") == "gpt-5 (weighted)"
    # a recipe that names the published judge, at an endpoint with another one
    assert annotator_of(tmp_path, JUDGE, "gpt-4-turbo") == f"{JUDGE} (weighted)"
    assert annotator_of(tmp_path, JUDGE, JUDGE, order="both") == f"{JUDGE} (weighted, both orders)"
    text = annotator_of(tmp_path, JUDGE, JUDGE, text=True, without_logprobs="text")
    assert text == f"{JUDGE} (text)"
    benchmark, names = opened(tmp_path, questions(2)), itertools.cycle([JUDGE, "gpt-4-turbo"])
    said = judge(benchmark, answers_to(benchmark), lambda c: reply(SURE, "m", next(names)), JUDGE)
    result = benchmark.result(said)
    assert result.protocol.judge == f"{JUDGE} (weighted)"
    assert result.made["judge_names"] == [JUDGE, "gpt-4-turbo"]


def records(tmp_path):
    def one(rows=None, limit=None, text=False, says="judge-1", **settings):
        benchmark = opened(tmp_path, rows or questions(6), **settings)
        benchmark = benchmark.discrete() if text else benchmark
        benchmark.questions = benchmark.questions[:limit]
        found = judge(benchmark, answers_to(benchmark), lambda case: reply(SURE, "m", says), says)
        return benchmark.result(found).protocol

    return one


def test_what_differs_is_in_the_record(tmp_path):
    one = records(tmp_path)
    plain = one()
    assert differences(plain, one()) == []
    assert len(differences(plain, one(without_logprobs="text"))) == 0  # it was not needed

    def named(other) -> set[str]:
        return {line.partition(":")[0] for line in differences(plain, other)}

    assert named(one(text=True, without_logprobs="text")) == {"judge", "judging"}
    assert named(one(order="both")) == {"judge", "judging"}
    assert named(one(limit=5)) == {"data", "baseline"}
    assert named(one(rows=questions(6, "another answer"))) == {"baseline"}
    assert named(one(rows=questions(7)[1:])) == {"data"}
    assert named(one(says="judge-2")) == {"judge"}
    (tmp_path / "other").mkdir()
    prompt = write_prompt(tmp_path / "other", PROMPT.replace("Choose.", "Decide."))
    assert named(one(prompt=prompt)) == {"judge", "prompts"}


def test_a_baseline_of_one_s_own(tmp_path):
    rows = [{"prompt": text} for text in instructions(3)]
    with pytest.raises(
        DataError, match=r"questions.json: found no answer .* set protocol.baseline"
    ):
        opened(tmp_path, rows)
    answers = [{"prompt": text, "output": "theirs"} for text in instructions(3)]
    path = tmp_path / "old model.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in answers[::-1]))
    benchmark = opened(tmp_path, rows, baseline=str(path))
    found = judge(benchmark, answers_to(benchmark), lambda case: reply(SURE))
    rows = read_annotations(saved(tmp_path, benchmark, found))
    assert {(row.output_1, row.generator_1) for row in rows} == {("theirs", "old model")}
    assert not benchmark.is_official
    assert benchmark.result(found).protocol.baseline.startswith("old model ")
    path.write_text(json.dumps(answers[0]))
    with pytest.raises(DataError, match="no answer of the baseline old model to 2 of 3"):
        opened(tmp_path, rows=[{"prompt": text} for text in instructions(3)], baseline=str(path))


def test_a_baseline_without_a_name_has_that_of_its_file(tmp_path):
    benchmark = opened(tmp_path, [{"prompt": "Say 0.", "output": "base"}])
    assert benchmark.baseline == benchmark.questions[0].baseline_model == "questions"


def test_two_baselines_in_one_file(tmp_path):
    rows = questions(2)
    rows[1]["generator"] = "c"
    with pytest.raises(DataError, match="found answers of b, c; expected one baseline"):
        opened(tmp_path, rows)


# Length control


def test_length_control_of_other_instructions_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"protocol\.solver, .* not AlpacaEval's"):
        opened(tmp_path, questions(2), solver="exact")


@pytest.mark.parametrize(
    "model", ["vicuna-13b-v1.5", "gpt4_gamed", "phi-2", "FuseChat-Llama-3.1-8B-Instruct"]
)
def test_the_published_numbers_from_the_judge_s_log_probs(tmp_path, eval_data, model, monkeypatch):
    data = golden(eval_data, model, monkeypatch)
    right = json.loads((eval_data / "alpaca_eval2/expected.json").read_text())[model]
    gamed = str(eval_data / "alpaca_eval2/df_gamed.csv")
    position = {"align": "position"} if model == "phi-2" else {}
    settings = {"gamed": gamed, "c": right["C_published"], **position}
    benchmark = opened(tmp_path, data.questions, **settings)
    found = judge(benchmark, data.answers, lambda case: reply(data.logprobs[case.question]))
    result = benchmark.result(found)
    for ours, theirs in (
        ("win_rate", "win_rate"),
        ("standard_error", "standard_error"),
        ("discrete_win_rate", "discrete_win_rate"),
        ("n", "n_total"),
    ):
        assert result.summary[ours] == pytest.approx(right[theirs], abs=1e-7), ours
    assert result.summary["lc_win_rate"] == pytest.approx(right["lc_at_C_published"], abs=1e-6)
    if model != "phi-2":  # two instructions were never answered
        assert result.summary["avg_length"] == right["avg_length"]
    assert result.protocol.baseline.startswith(BASELINE)


def fetched(tmp_path, eval_data) -> None:
    place = tmp_path / "cache/alpaca_eval2/df_gamed.csv"
    place.parent.mkdir(parents=True)
    place.write_bytes((eval_data / "alpaca_eval2/df_gamed.csv").read_bytes())


@pytest.mark.parametrize("align", ["instruction", "position"])
def test_gamed_rows_are_of_all_instructions(tmp_path, align, monkeypatch):
    """Length control is found to fail before a judge is paid, not after."""
    for at, row in enumerate(questions(3)):
        key = _index._hash(row["instruction"])[: _index._DIGITS]
        monkeypatch.setitem(_index._INDEX, key, 2 - at)
    rows = "".join(f"0.5,{number},0.0,1.0\n" for number in (0, 1))
    gamed = tmp_path / "gamed.csv"
    gamed.write_text(f"preference,index,std_delta_len,instruction_difficulty\n{rows}")
    missing = questions(3)[2 if align == "position" else 0]["instruction"]
    with pytest.raises(DataError, match=f"gamed.csv: found no row of the instruction '{missing}'"):
        opened(tmp_path, questions(3), gamed=str(gamed), align=align)


def test_what_was_fetched_is_used_where_it_fits(tmp_path, eval_data, monkeypatch, caplog):
    data = golden(eval_data, "vicuna-13b-v1.5", monkeypatch)
    few = data.questions[:6]
    assert opened(tmp_path, few).gamed is None
    with pytest.raises(DataError, match="inarch evaluate fetch"):
        opened(tmp_path, few, c=2.5)
    fetched(tmp_path, eval_data)
    assert opened(tmp_path, questions(3)).gamed is None
    assert opened(tmp_path, [{**row, "generator": "b"} for row in few]).gamed is None
    assert opened(tmp_path, [{**row, "generator": "b"} for row in few], c=2.5).gamed is not None
    assert "length control knows gpt4_1106_preview, and is told of b" in caplog.text

    def lc_of(number, **settings):
        benchmark = opened(tmp_path, few[:number], **settings)
        some = {row["instruction"]: data.answers[row["instruction"]] for row in few[:number]}
        found = judge(benchmark, some, lambda case: reply(data.logprobs[case.question]))
        return benchmark.result(found).summary["lc_win_rate"]

    assert 0 < lc_of(6, c=2.5) < 100
    assert lc_of(4) is None
    assert "length control needs 5 preferences" in caplog.text
