"""Questions, choices and written answers: by hand, and what is refused."""

import json

import pytest
import torch
from tests import tiny

from inarch.errors import DataError, SettingsError
from inarch.evaluate.lm import choices, exact_match
from inarch.evaluate.lm._examples import as_chat, as_text, with_examples
from inarch.evaluate.lm._questions import TaskSettings, WriteForm, read_questions
from inarch.evaluate.lm._reader import Reader
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
        (found,) = choices.choose(Reader(None, hf, 64), [question._replace(right=(right,))], " ")
        assert found[1:] == scores
        assert found.logps == (-9, -12, -4)
    (found,) = choices.choose(Reader(None, hf, 64), [question._replace(right=(0, 2))], " ")
    assert found[1:] == (1, 0, 1)


def test_the_first_of_equals(questions_of, logps, caplog):
    (question,) = questions_of({"q": "?", "options": ["b", "b"], "label": 0})
    logps.append([-2.0, -2.0])
    assert choices.choose(Reader(None, tiny.byte_level(), 64), [question], " ")[0].acc == 1
    assert "1 questions have equal choices" in caplog.text


def test_questions(questions_of):
    template = {"choices": "options", "answer": "{{ label - 1 }}"}
    (question,) = questions_of(
        ROW | {"label": 2, "topic": "sums"},
        prompt="Q: {{q}}\n",
        category="topic",
        multiple_choice=template,
    )
    assert question[1:] == ("0", "Q: 1 plus 2 is\n", "sums", ("3", "10"), (1,), (), ())
    # a field is the text of a choice, a template's digits are its number
    assert questions_of(ROW | {"options": ["1", "0"], "label": "0"})[0].right == (1,)
    fixed = {"choices": ["yes", "no"], "answer": "label"}
    assert questions_of(ROW | {"label": ["no", 0]}, multiple_choice=fixed)[0].right == (1, 0)
    (same,) = questions_of(ROW, prompt="{{ 'Q' }}", multiple_choice=CHOICE | {"answer": "1"})
    assert (same.prompt, same.right) == ("Q", (1,))
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
        (
            ROW | {"q": "\udc00"},
            {"generate": {"answer": "q"}, "multiple_choice": None},
            "surrogate",
        ),
        (
            ROW | {"a": "\udc00"},
            {"generate": {"answer": "a"}, "multiple_choice": None},
            "surrogate",
        ),
        (ROW, {"prompt": "{{nope}}"}, "rows.jsonl:1: prompt: 'nope' is undefined; the row has q"),
        (ROW, {"prompt": "{{ q.__class__ }}"}, "unsafe"),
        # a name that is misspelt, or that one row lacks
        (ROW, {"generate": {"answer": "options2"}, "multiple_choice": None}, "no field 'options2'"),
        (ROW, {"category": "topic"}, "category: found no field 'topic'; the row has q, options"),
        (ROW, {"prompt": "Q"}, "as a template: {{ 'Q' }}"),
        ([1], {}, "found list; expected an object"),
    ],
)
def test_rows_that_do_not_fit(questions_of, row, task, said):
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
        choices.choose(Reader(None, hf, 64), questions_of(ROW | {"q": "  "}), " ")
    with pytest.raises(DataError, match="choice 1: has 201 tokens, but the model reads 64"):
        choices.choose(Reader(None, hf, 64), questions_of(ROW | {"options": ["3", "Q" * 200]}), " ")


def test_an_empty_prompt_is_the_begin_token(questions_of, logps):
    hf = tiny.byte_level()
    (question,) = questions_of(ROW | {"q": ""})
    ((pair, _),) = choices._pairs(hf, [question], "")
    assert [part.tolist() for part in pair] == [[hf.bos_token_id], hf("3")["input_ids"]]
    hf.bos_token = hf.eos_token = None
    with pytest.raises(DataError, match="the prompt is empty"):
        choices._pairs(hf, [question], "")


# ------------------------------------------------------------------------------------- examples


def solved(number):
    """Rows ``q0`` to ``qN`` whose right answers are ``a0`` to ``aN``."""
    return [{"q": f"q{n}", "options": ["no", f"a{n}"], "label": 1} for n in range(number)]


@pytest.fixture
def prompts_of(tmp_path):
    """A function that gives the prompts of rows, with examples."""

    def read(rows, fewshot, limit=None, **task):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        kind = task.pop("kind", {"multiple_choice": CHOICE})
        given = {"data": str(path), "prompt": "q", "fewshot": fewshot, **kind} | task
        settings = validate(TaskSettings, given, "here")
        questions = with_examples(settings, read_questions(settings, limit))
        return [question.prompt for question in as_text(settings, questions)]

    return read


def test_examples_are_the_first_other_rows(prompts_of):
    assert prompts_of(solved(3), 2) == [
        "q1 a1\n\nq2 a2\n\nq0",
        "q0 a0\n\nq2 a2\n\nq1",
        "q0 a0\n\nq1 a1\n\nq2",
    ]
    assert prompts_of(solved(2), 0) == ["q0", "q1"]
    # rows that are left out may be examples, and so may those behind a limit
    assert prompts_of(solved(3), 1, skip=1, limit=1) == ["q0 a0\n\nq1"]
    assert prompts_of(solved(2), {"num": 1, "separator": "; "}) == ["q1 a1; q0", "q0 a0; q1"]
    tight = {"multiple_choice": CHOICE | {"delimiter": ": "}}
    assert prompts_of(solved(2), 1, kind=tight)[0] == "q1: a1\n\nq0"
    write = {"generate": {"answer": "options"}}
    assert prompts_of(solved(2), {"num": 1, "delimiter": "="}, kind=write)[0] == "q1=no\n\nq0"


def test_a_question_is_never_among_its_examples(prompts_of, tmp_path):
    twice = [*solved(3), solved(3)[0] | {"id": 7}]
    assert prompts_of(twice, 2)[0] == prompts_of(twice, 2)[3] == "q1 a1\n\nq2 a2\n\nq0"
    for seed in range(9):
        for number, prompt in enumerate(prompts_of(twice, {"num": 2, "seed": seed})):
            *examples, own = prompt.split("\n\n")
            assert own == f"q{number % 3}"
            assert len(examples) == 2
            assert f"{own} a{number % 3}" not in examples
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in solved(2)))
    named = {"num": 1, "data": str(other)}
    assert prompts_of(solved(3), named) == ["q1 a1\n\nq0", "q0 a0\n\nq1", "q0 a0\n\nq2"]
    with pytest.raises(SettingsError, match=r"2 examples asked for, but .*other.jsonl has 1"):
        prompts_of(solved(3), named | {"num": 2})


def test_examples_that_are_drawn(prompts_of):
    rows = solved(30)
    drawn = prompts_of(rows, {"num": 4, "seed": 1})
    assert drawn == prompts_of(rows, {"num": 4, "seed": 1})
    assert drawn[:5] == prompts_of(rows, {"num": 4, "seed": 1}, limit=5)
    assert drawn != prompts_of(rows, {"num": 4, "seed": 2})
    assert len({prompt.rpartition("\n\n")[0] for prompt in drawn}) > 25
    # 120 examples over 30 rows: each about 4 times
    counts = [sum(f"a{n}\n" in prompt for prompt in drawn) for n in range(30)]
    assert sum(counts) == 120
    assert max(counts) < 13


def test_examples_as_turns(prompts_of, tmp_path, questions_of):
    hf = tiny.byte_level()
    questions = questions_of(*solved(2))
    shown = [question._replace(examples=(("q9", "a9"),)) for question in questions]
    hf.chat_template = None
    with pytest.raises(DataError, match="no chat template"):
        as_chat(hf, shown)
    hf.chat_template = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"
    assert as_chat(hf, shown)[1].prompt == "user=q9;assistant=a9;user=q1;"


def test_a_delimiter_that_is_dead(prompts_of):
    with pytest.raises(SettingsError, match="no effect beside multiple_choice"):
        prompts_of(solved(2), {"num": 1, "delimiter": "="})


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


def test_writing_stops_by_row_and_is_cut(tmp_path, questions_of, caplog):
    from transformers import AutoModelForCausalLM

    hf = tiny.byte_level()
    tiny.save_model(tmp_path / "m", hf, seed=3)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    reader = Reader(model, hf, 64)
    questions = questions_of(
        *({"q": text} for text in ("a cat", "the quick", "1 plus 2 is 3 and")),
        generate={"answer": "q"},
    )

    def texts(stop, **more):
        form = WriteForm(answer="q", stop=stop, max_new_tokens=10)
        return [row.text for row in exact_match.write(reader._replace(**more), questions, form)]

    free = texts(("zzzz",))
    assert "cut at their begin" not in caplog.text
    short = exact_match.write(
        reader._replace(window=12), questions, WriteForm(answer="q", max_new_tokens=10)
    )
    tail = hf.decode(hf(questions[2].prompt)["input_ids"][-2:])
    (own,) = exact_match.write(
        reader, [questions[2]._replace(prompt=tail)], WriteForm(answer="q", max_new_tokens=10)
    )
    assert short[2].text == own.text
    assert "prompts are cut at their begin to fit into 2 tokens" in caplog.text
    assert free == texts(("zzzz",), batch_tokens=1)
    stop = free[0][4]
    cut = texts((stop,))
    assert cut == [text.split(stop)[0] for text in free]
    assert cut[0] == free[0][: free[0].index(stop)]
    right = [q._replace(answers=("no", t)) for q, t in zip(questions, cut, strict=True)]
    form = WriteForm(answer="q", stop=(stop,), max_new_tokens=10)
    found = exact_match.write(reader, [right[0], questions[1]], form)
    assert [row.exact_match for row in found] == [1, 0]
    with pytest.raises(SettingsError, match="expected fewer"):
        exact_match.write(reader._replace(window=10), questions, form)
    with pytest.raises(DataError, match="the prompt has no token"):
        exact_match.write(reader, [questions[0]._replace(prompt="")], form)
    with pytest.raises(SettingsError, match="which is none"):
        exact_match.write(reader, questions, form.model_copy(update={"regex": "("}))


def test_a_stop_is_seen_across_tokens():
    hf = tiny.byte_level()
    texts = ["zq\u00e9!", "zqw!!", "q\u00e9!z"]  # of single bytes
    ids = torch.tensor([[0, *hf(text)["input_ids"]] for text in texts])
    stops = exact_match._Stops(hf, ["q\u00e9", "!!!"], 1, 3)
    seen = [stops(ids[:, :end], None).tolist() for end in range(2, ids.shape[1] + 1)]
    # q and the two bytes of \u00e9 are there after 4, never, and 3 tokens; a row stays done
    assert seen[1] == [False, False, False]
    assert seen[2] == [False, False, True]
    assert seen[3:] == [[True, False, True]] * (len(seen) - 3)


@pytest.mark.parametrize(
    "own",
    [
        {"suppress_tokens": list(range(300))},
        {"sequence_bias": [[[7], 99.0]]},
        {"repetition_penalty": 9.0},
        {"no_repeat_ngram_size": 1},
        {"guidance_scale": 5.0},
        {"exponential_decay_length_penalty": [1, 9.0]},
        {"max_time": 1e-9},
        {"do_sample": True, "temperature": 9.0},
        {"num_beams": 3, "length_penalty": -9.0},
        {"stop_strings": ["a"]},
    ],
)
def test_settings_that_came_with_the_model_are_left_aside(tmp_path, questions_of, own):
    from transformers import AutoModelForCausalLM, GenerationConfig

    hf = tiny.byte_level()
    tiny.save_model(tmp_path / "m", hf, seed=3)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    questions = questions_of({"q": "a cat"}, {"q": "so"}, generate={"answer": "q"})
    form = WriteForm(answer="q", stop=("zzzz",), max_new_tokens=8)
    plain = exact_match.write(Reader(model, hf, 64), questions, form)
    given = model.generation_config = GenerationConfig(**own)
    assert exact_match.write(Reader(model, hf, 64), questions, form) == plain
    assert model.generation_config is given


def test_a_limit_counts_behind_what_is_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(ROW) + "\n") * 5)
    task = TaskSettings(data=path, prompt="q", skip=2, generate=WriteForm(answer="label"))
    assert [row.name for row in read_questions(task, 2)] == ["2", "3"]
