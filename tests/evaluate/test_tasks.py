"""Questions, choices and written answers: by hand, and what is refused."""

import json

import pytest
import torch
from tests import tiny

from inarch.errors import DataError, SettingsError
from inarch.evaluate import choices, exact_match
from inarch.evaluate._questions import TaskSettings, WriteForm, read_questions
from inarch.settings import validate

CHOICE = {"choices": "options", "answer": "label"}
ROW = {"q": "1 plus 2 is", "options": ["3", "10"], "label": 0}


@pytest.fixture
def questions_of(tmp_path):
    """A function that reads rows as a task."""

    def read(*rows, **task):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = {"data": str(path), "prompt": "q"} | task
        if not {"generate", "multiple_choice"} & given.keys():
            given["multiple_choice"] = CHOICE
        return read_questions(validate(TaskSettings, given, "here"))

    return read


@pytest.fixture
def logps(monkeypatch):
    """What a model is made to think of the choices, row by row."""
    rows = []
    monkeypatch.setattr(choices, "summed_logps", lambda *_: [torch.tensor(r).numpy() for r in rows])
    return rows


def test_three_ways_to_be_right(questions_of, logps):
    hf = tiny.byte_level()
    (question,) = questions_of({"q": "?", "options": ["中中", "abcd", "x"], "label": 1})
    # per character -4.5, -3, -4 and per byte -1.5, -3, -4
    logps.append([-9.0, -12.0, -4.0])
    for right, scores in ((0, (0, 0, 1)), (1, (0, 1, 0)), (2, (1, 0, 0))):
        (found,) = choices.choose(None, hf, [question._replace(right=(right,))], " ", 64)
        assert found[1:] == scores
        assert found.logps == (-9, -12, -4)
    (found,) = choices.choose(None, hf, [question._replace(right=(0, 2))], " ", 64)
    assert found[1:] == (1, 0, 1)


def test_the_first_of_equals(questions_of, logps, caplog):
    (question,) = questions_of({"q": "?", "options": ["b", "b"], "label": 0})
    logps.append([-2.0, -2.0])
    assert choices.choose(None, tiny.byte_level(), [question], " ", 64)[0].acc == 1
    assert "1 questions have equal choices" in caplog.text


def test_questions(questions_of):
    template = {"choices": "options", "answer": "{{ label - 1 }}"}
    (question,) = questions_of(
        ROW | {"label": 2, "topic": "sums"},
        prompt="Q: {{q}}\n",
        category="topic",
        multiple_choice=template,
    )
    assert question[1:] == ("0", "Q: 1 plus 2 is\n", "sums", ("3", "10"), (1,), ())
    # a field is the text of a choice, a template's digits are its number
    assert questions_of(ROW | {"options": ["1", "0"], "label": "0"})[0].right == (1,)
    fixed = {"choices": ["yes", "no"], "answer": "label"}
    assert questions_of(ROW | {"label": ["no", 0]}, multiple_choice=fixed)[0].right == (1, 0)
    written = questions_of(ROW, ROW, skip=1, generate={"answer": "label"})
    assert [(row.name, row.answers) for row in written] == [("1", ("0",))]


@pytest.mark.parametrize(
    ("row", "task", "said"),
    [
        (ROW | {"options": ["a", ""]}, {}, "none empty"),
        (ROW | {"options": ["a"]}, {}, "at least two"),
        (ROW | {"options": "ab"}, {}, "expected a list of texts"),
        (ROW | {"label": 2}, {}, "answer: found 2; expected a choice's number, 0 to 1"),
        (ROW | {"label": -1}, {}, "found -1"),
        (ROW | {"label": True}, {}, "found True"),
        (ROW | {"label": []}, {}, "found none"),
        (ROW | {"q": 3}, {}, "prompt: found 3; expected a text"),
        (ROW | {"q": "\ud800"}, {}, "surrogate"),
        (ROW, {"prompt": "{{nope}}"}, "rows.jsonl:1: prompt: 'nope' is undefined; the row has q"),
        (ROW, {"prompt": "{{ q.__class__ }}"}, "unsafe"),
        (ROW, {"generate": {"answer": "options2"}, "multiple_choice": None}, None),
        ([1], {}, "found list; expected an object"),
    ],
)
def test_rows_that_do_not_fit(questions_of, row, task, said):
    if said is None:  # a text that is no field is a template, here of nothing
        assert questions_of(row, **task)[0].answers == ("options2",)
        return
    with pytest.raises(DataError) as refused:
        questions_of(row, **task)
    assert said in str(refused.value)
    assert "rows.jsonl:1" in str(refused.value)


def test_tasks_that_are_none(questions_of, tmp_path):
    for task, said in (
        ({"prompt": "{{q"}, "which is none"),
        ({"generate": {"answer": "q"}, "multiple_choice": CHOICE}, "one of multiple_choice and"),
        ({"generate": {"answer": "q", "match": 1}}, "without regex"),
        ({"generate": {"answer": "q", "stop": [""]}}, "empty text in stop"),
    ):
        with pytest.raises(SettingsError, match=said):
            questions_of(ROW, **task)
    with pytest.raises(DataError, match="found no questions"):
        questions_of()
    absent = TaskSettings(data=tmp_path / "no.jsonl", prompt="q", generate=WriteForm(answer="q"))
    with pytest.raises(DataError, match="found no file"):
        read_questions(absent)


def test_prompts_and_choices_without_tokens(questions_of):
    hf = tiny.byte_level()
    with pytest.raises(DataError, match="the prompt has no token"):
        choices.choose(None, hf, questions_of(ROW | {"q": "  "}), " ", 64)
    with pytest.raises(DataError, match="choice 1: has 201 tokens, but the model reads 64"):
        choices.choose(None, hf, questions_of(ROW | {"options": ["3", "Q" * 200]}), " ", 64)


def test_an_empty_prompt_is_the_begin_token(questions_of, logps):
    hf = tiny.byte_level()
    (question,) = questions_of(ROW | {"q": ""})
    ((pair, _),) = choices._pairs(hf, [question], "")
    assert [part.tolist() for part in pair] == [[hf.bos_token_id], hf("3")["input_ids"]]
    hf.bos_token = hf.eos_token = None
    with pytest.raises(DataError, match="the prompt is empty"):
        choices._pairs(hf, [question], "")


# --------------------------------------------------------------------------------------- written


@pytest.mark.parametrize(
    ("text", "form", "answer"),
    [
        ("so 3, then 42.", {"regex": r"\d+"}, "3"),
        ("so 3, then 42.", {"regex": r"\d+", "match": -1}, "42"),
        ("so", {"regex": r"\d+"}, "[invalid]"),
        ("so 3", {"regex": r"\d+", "match": 1, "fallback": "?"}, "?"),
        ("b=7", {"regex": r"a=(\d)|b=(\d)"}, "7"),
        (" x ", {"strip": True}, "x"),
        (" x ", {}, " x "),
    ],
)
def test_filters(text, form, answer):
    settings = WriteForm(answer="a", **form)
    assert exact_match._filtered(text, settings, exact_match._compiled(settings.regex)) == answer


def test_what_is_the_same():
    def normal(text, **form):
        return exact_match._normal(text, WriteForm(answer="a", **form))

    assert normal("A.b 1") == "A.b 1"
    assert normal("A.b 1", ignore_case=True) == "a.b 1"
    assert normal("A.b 1", ignore_punctuation=True) == "Ab 1"
    assert normal("A.b 1", ignore_numbers=True) == "A.b "


def test_writing_stops_by_row_and_is_cut(tmp_path, questions_of):
    from transformers import AutoModelForCausalLM

    hf = tiny.byte_level()
    tiny.save_model(tmp_path / "m", hf, seed=3)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    questions = questions_of(
        *({"q": text} for text in ("a cat", "the quick", "1 plus 2 is 3 and")),
        generate={"answer": "q"},
    )

    def texts(stop, **more):
        form = WriteForm(answer="q", stop=stop, max_new_tokens=10)
        return [row.text for row in exact_match.write(model, hf, questions, form, 64, **more)]

    free = texts(("zzzz",))
    assert free == texts(("zzzz",), batch_tokens=1)
    stop = free[0][4]
    cut = texts((stop,))
    assert cut == [text.split(stop)[0] for text in free]
    assert cut[0] == free[0][: free[0].index(stop)]
    right = [q._replace(answers=("no", t)) for q, t in zip(questions, cut, strict=True)]
    form = WriteForm(answer="q", stop=(stop,), max_new_tokens=10)
    found = exact_match.write(model, hf, [right[0], questions[1]], form, 64)
    assert [row.exact_match for row in found] == [1, 0]
    with pytest.raises(SettingsError, match="expected fewer"):
        exact_match.write(model, hf, questions, form, 10)
    with pytest.raises(DataError, match="the prompt has no token"):
        exact_match.write(model, hf, [questions[0]._replace(prompt="")], form, 64)
    with pytest.raises(SettingsError, match="which is none"):
        exact_match.write(model, hf, questions, form.model_copy(update={"regex": "("}), 64)


def test_a_limit_counts_behind_what_is_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(ROW) + "\n") * 5)
    task = TaskSettings(data=path, prompt="q", skip=2, generate=WriteForm(answer="label"))
    assert [row.name for row in read_questions(task, 2)] == ["2", "3"]
