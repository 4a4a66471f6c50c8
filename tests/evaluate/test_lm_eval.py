"""The same numbers as lm-evaluation-harness on the same texts and questions, and what differs."""

import json
import math
import random
import sys
from types import SimpleNamespace

import pytest
import torch
from tests import tiny
from transformers import LlamaConfig, LlamaForCausalLM

from inarch.evaluate.lm import choices, exact_match
from inarch.evaluate.lm._examples import as_chat, as_text, with_examples
from inarch.evaluate.lm._questions import TaskSettings, read_questions
from inarch.evaluate.lm._reader import Reader
from inarch.evaluate.lm._texts import read_texts
from inarch.evaluate.lm.harness import Harness, HarnessSettings, results, rows
from inarch.evaluate.lm.likelihood import LikelihoodSettings, score_texts
from inarch.settings import validate

pytest.importorskip("lm_eval")

WINDOW = 40
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "Zürich",
    "中文字符",
    "🙂",
    "jumps",
    "over",
    "10th",
    "dog.",
]


def bos_first():
    """A tokenizer that puts its begin token in front of what it reads, as Llama's does."""
    from tokenizers.processors import TemplateProcessing

    made = tiny.sentencepiece()
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", made.bos_token_id)]
    )
    assert made("a")["input_ids"][0] == made.bos_token_id
    return made


def no_bos():
    made = tiny.byte_level()
    made.bos_token = None
    return made


TOKENIZERS = {
    "bytes": tiny.byte_level,
    "pieces": tiny.sentencepiece,
    "bos": bos_first,
    "eos": no_bos,
}


def model_of(hf, seed=0):
    """A model whose log-probs differ by nats, and with the tokens in front."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(hf),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = hf.eos_token_id
    return model


FAST = "bytes"
KINDS = [pytest.param(name, marks=() if name == FAST else pytest.mark.slow) for name in TOKENIZERS]


@pytest.fixture(params=KINDS, scope="module")
def pair(request):
    hf = TOKENIZERS[request.param]()
    return model_of(hf), hf


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts from a word to several windows, and questions with two to four choices."""
    folder = tmp_path_factory.mktemp("tasks")
    draw = random.Random(0)

    def text(most):
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    texts = [{"text": text(40)} for _ in range(12)] + [{"text": "a"}, {"text": "<bos> b  \n\nc\n"}]
    questions = []
    for number in range(40):
        options = list(dict.fromkeys(text(2) for _ in range(draw.randint(2, 4))))
        options += ["none"] * (len(options) < 2)
        end = "  \n" * (number % 5 == 0)
        prompt = text(60 if number % 7 == 0 else 8) + end
        questions.append({"question": prompt, "options": options, "label": number % 2, "say": "x"})
    for name, made in (("texts", texts), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return folder


def harness(task, pair, **more):
    """lm-eval's results of one task that is written out."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    made = object.__new__(Harness)
    made.__dict__ |= {
        "_lm_eval": __import__("lm_eval"),
        "_settings": HarnessSettings(**{"window": WINDOW, "batch_size": 3} | more),
        "_manager": manager,
        "_tasks": manager.load([task])["tasks"],
    }
    return made.run(*pair, task["task"])


def data(path):
    return {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
    }


def test_texts(pair, folder):
    path = folder / "texts.jsonl"
    theirs = harness(
        data(path)
        | {
            "task": "texts",
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
            "metric_list": [
                {"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")
            ],
        },
        pair,
    )["results"]["texts"]
    texts, _ = read_texts(path)
    ours = score_texts(*pair, texts, LikelihoodSettings(window=WINDOW)).numbers()
    for name in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        assert ours[name] == pytest.approx(theirs[f"{name},none"], rel=2e-6)
    # bits per byte = log2(perplexity per token) tokens / bytes
    per_token = math.log2(ours["token_perplexity"]) * ours["n_tokens"] / ours["n_bytes"]
    assert ours["bits_per_byte"] == pytest.approx(per_token, rel=1e-9)


def test_multiple_choice(pair, folder):
    path = folder / "questions.jsonl"
    theirs = harness(
        data(path)
        | {
            "task": "questions",
            "output_type": "multiple_choice",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "options",
            "doc_to_target": "label",
            "metric_list": [{"metric": name} for name in choices.METRICS],
        },
        pair,
    )
    task = validate(
        TaskSettings,
        {
            "data": str(path),
            "prompt": "{{question}}",
            "multiple_choice": {"choices": "options", "answer": "label"},
        },
        "here",
    )
    questions = read_questions(task)
    ours = choices.choose(Reader(*pair, WINDOW), questions, " ")
    samples = sorted(theirs["samples"]["questions"], key=lambda row: row["doc_id"])
    for one, other in zip(ours, samples, strict=True):
        logps = [response[0] for response in other["filtered_resps"]]
        assert one.logps == pytest.approx(logps, rel=1e-5, abs=1e-5)
        assert one[1:] == tuple(other[name] for name in choices.METRICS)
    for name in choices.METRICS:
        mean = sum(getattr(row, name) for row in ours) / len(ours)
        assert mean == theirs["results"]["questions"][f"{name},none"]
    assert 0 < sum(row.acc for row in ours) < len(ours)
    assert len({tuple(getattr(row, name) for row in ours) for name in choices.METRICS}) > 1
    kept = dict(results(theirs, "m", HarnessSettings(), {"lm_eval": "0"}))
    assert [row.score for row in kept["questions/acc"].scores] == [row.acc for row in ours]
    (shown,) = rows(theirs)
    assert (shown["task"], shown["n"]) == ("questions", 40)
    share = sum(row.acc for row in ours) / 40
    assert shown["acc"] == pytest.approx(share)
    assert shown["acc_stderr"] == pytest.approx((share * (1 - share) / 39) ** 0.5)


def test_a_number_that_is_not_there_is_null():
    found = {"results": {"t": {"alias": "t", "acc,none": 0.5, "acc_stderr,none": "N/A"}}}
    (row,) = rows(found)
    assert row == {"task": "t", "kind": "lm_eval", "acc": 0.5, "acc_stderr": None, "n": None}


def test_what_lm_eval_prints_is_not_among_our_json(pair, capsys):
    made = object.__new__(Harness)
    made.__dict__ |= {
        "_lm_eval": SimpleNamespace(simple_evaluate=lambda **_: sys.stdout.write("drawing") and {}),
        "_settings": HarnessSettings(window=WINDOW),
        "_manager": None,
        "_tasks": {"t": None},
    }
    made.run(*pair, "t")
    assert capsys.readouterr().out == ""


def test_written_answers(pair, folder):
    path = folder / "questions.jsonl"
    filters = [
        {"function": "regex", "regex_pattern": r"([a-z]+)", "group_select": -1},
        {"function": "take_first"},
    ]
    theirs = harness(
        data(path)
        | {
            "task": "written",
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "say",
            "generation_kwargs": {"until": ["e", "\n\n"], "max_gen_toks": 12},
            "filter_list": [{"name": "last", "filter": filters}],
            "metric_list": [{"metric": "exact_match"}],
        },
        pair,
    )
    task = validate(
        TaskSettings,
        {
            "data": str(path),
            "prompt": "question",
            "generate": {
                "answer": "say",
                "stop": ["e", "\n\n"],
                "max_new_tokens": 12,
                "regex": "([a-z]+)",
                "match": -1,
            },
        },
        "here",
    )
    ours = exact_match.write(Reader(*pair, WINDOW), read_questions(task), task.generate)
    samples = sorted(theirs["samples"]["written"], key=lambda row: row["doc_id"])
    assert [row.text for row in ours] == [row["resps"][0][0] for row in samples]
    assert [row.answer for row in ours] == [row["filtered_resps"][0] for row in samples]
    assert [row.exact_match for row in ours] == [row["exact_match"] for row in samples]
    assert len({row.text for row in ours}) > 10


SHOTS = {"num_fewshot": 3, "fewshot_config": {"sampler": "first_n"}}
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """Short questions, two of them alike, and other ones as examples."""
    folder = tmp_path_factory.mktemp("fewshot")
    rows = [
        {"q": f"{a} the {b}?", "options": ["cat", "dog over", "10"], "label": n % 3, "say": f"x{n}"}
        for n, (a, b) in enumerate(zip(WORDS, WORDS[3:] + WORDS[:3], strict=True))
    ]
    rows.append(rows[1])
    for name, made in (("questions", rows), ("other", [row | {"q": "so?"} for row in rows[:5]])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return folder


def asked(pair, folder, chat, *, fewshot, **kind):
    """Our questions as they are put, and the task."""
    given = {"data": str(folder / "questions.jsonl"), "prompt": "q", "fewshot": fewshot} | kind
    task = validate(TaskSettings, given, "here")
    questions = with_examples(task, read_questions(task))
    return task, as_chat(pair[1], questions) if chat else as_text(task, questions)


@pytest.mark.parametrize(("chat", "other"), [(False, False), (False, True), (True, False)])
def test_examples_in_front_of_choices(solved, chat, other):
    hf = tiny.byte_level()
    hf.chat_template = CHAT
    pair, window = (model_of(hf), hf), 200
    given = data(solved / "questions.jsonl") | SHOTS | {"task": "t", "doc_to_text": "q"}
    given |= {"fewshot_split": "other" if other else "test", "output_type": "multiple_choice"}
    given |= {"doc_to_choice": "options", "doc_to_target": "label"}
    files = {"test": "questions", "other": "other"}
    paths = {split: str(solved / f"{name}.jsonl") for split, name in files.items()}
    given["dataset_kwargs"] = {"data_files": paths}
    theirs = harness(given, pair, window=window, chat=chat)
    fewshot = {"num": 3} | ({"data": str(solved / "other.jsonl")} if other else {})
    form = {"choices": "options", "answer": "label"}
    _, questions = asked(pair, solved, chat, fewshot=fewshot, multiple_choice=form)
    ours = choices.choose(Reader(*pair, window), questions, "" if chat else " ")
    samples = sorted(theirs["samples"]["t"], key=lambda row: row["doc_id"])
    asked_there = [row["arguments"][0][0] for row in samples]
    assert [question.prompt for question in questions] == asked_there
    for one, there in zip(ours, samples, strict=True):
        logps = [response[0] for response in there["filtered_resps"]]
        assert one.logps == pytest.approx(logps, rel=1e-5, abs=1e-5)


def test_examples_in_front_of_what_is_written(solved):
    hf = tiny.byte_level()
    pair, window = (model_of(hf), hf), 200
    given = data(solved / "questions.jsonl") | SHOTS | {"task": "t", "doc_to_text": "q"}
    given |= {"fewshot_split": "test", "output_type": "generate_until", "doc_to_target": "say"}
    given |= {"generation_kwargs": {"until": ["e"], "max_gen_toks": 6}}
    given |= {"metric_list": [{"metric": "exact_match"}]}
    theirs = harness(given, pair, window=window)
    form = {"answer": "say", "stop": ["e"], "max_new_tokens": 6}
    task, questions = asked(pair, solved, False, fewshot=3, generate=form)
    ours = exact_match.write(Reader(*pair, window), questions, task.generate)
    samples = sorted(theirs["samples"]["t"], key=lambda row: row["doc_id"])
    assert [row.text for row in ours] == [row["resps"][0][0] for row in samples]
    assert len({row.text for row in ours}) > 3
