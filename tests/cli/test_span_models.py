"""``inarch spans train`` and ``tag`` from the command line."""

import io
import json
from pathlib import Path

import pytest
from tests.spans.made_up import made
from tests.tiny import byte_level, save_model

from inarch.spans.lexicon import LexiconTagger

RECIPE = """
data: {train: train.jsonl}
encoder: {words: {hidden: 8}}
train: {epochs: 2}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Two taggers that disagree."""
    folder = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        model, coder = made("words", seed=seed)
        model.save_pretrained(folder / str(seed))
        coder.save(folder / str(seed))
    return [str(folder / "0"), str(folder / "1")]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(printed: str) -> list[dict]:
    return [json.loads(line) for line in printed.splitlines()]


def test_train_calls_the_flow(place, inarch_says, monkeypatch):
    from inarch.flows import spans_train

    calls = []
    monkeypatch.setattr(spans_train, "run", lambda settings, out: calls.append((settings, out)))
    Path("w.yaml").write_text(RECIPE)
    code, printed, _ = inarch_says("spans", "train", "w.yaml", "--set", "aux=onatt")
    assert (code, printed) == (0, "runs/w\n")
    ((settings, out),) = calls
    assert (settings.aux, settings.loss_name, out) == ("onatt", "crf", Path("runs/w"))
    assert settings.train.batch_size == 32
    code, _, error = inarch_says("spans", "train", "w.yaml", "--set", "axu=onatt")
    assert code == 2
    assert "axu" in error


def test_train_shows_how_the_tagger_does_and_that_it_finds_nothing(place, inarch_says):
    Path("w.yaml").write_text(RECIPE)
    toxic, fine = '{"text": "you fool", "spans": [[4, 8]]}\n', '{"text": "a b", "spans": []}\n'
    Path("train.jsonl").write_text(toxic + fine * 63)
    Path("dev.jsonl").write_text('{"text": "c d", "spans": [[0, 1]]}\n{"text": "e", "spans": []}\n')
    flags = ("--set", "data.dev=dev.jsonl", "--set", "train.lr=0.05")
    for is_done in (False, True):
        code, printed, told = inarch_says("spans", "train", "w.yaml", *flags)
        assert code == 0
        # F1 is 0 for the first post and 1 for the second: mean 1/2, error sqrt(1/2) / sqrt(2).
        (row,) = (line.split() for line in printed.splitlines() if line.startswith(" model "))
        assert row == ["model", "0.5000", "±", "0.5000", "1.0000", "0.0000"]
        assert " lexicon " in printed
        assert "Spans: missed 1\n" in printed
        assert printed.endswith("\nruns/w\n")
        assert is_done or "no span at all in 2 posts of the development set, of which 1" in told


def test_a_dry_run_foresees(place, inarch_says):
    Path("w.yaml").write_text(RECIPE)
    Path("train.jsonl").write_text('{"text": "you fool", "spans": [[4, 8]]}\n' * 40)
    code, printed, _ = inarch_says("spans", "train", "w.yaml", "--dry-run")
    assert code == 0
    plan = [line.split("│")[1:3] for line in printed.splitlines() if "│" in line]
    plan = {key.strip(): value.strip() for key, value in plan}
    assert plan["posts"] == "40 to train on, 0 to choose by"
    assert (plan["tokens"], plan["steps"]) == ("80", "3")


def test_a_dry_run_refuses_what_the_run_would(place, inarch_says):
    Path("w.yaml").write_text(RECIPE)
    command = ("spans", "train", "w.yaml", "--dry-run", "--set", "data.dev=dev.jsonl")
    code, printed, _ = inarch_says(*command)
    assert code == 0
    assert "train.jsonl, dev.jsonl" in printed
    assert "unknown" in printed
    Path("train.jsonl").write_text('{"body": "you fool", "spans": [[4, 8]]}\n')
    for text in (None, '{"text": "a", "spans": []}\n'):  # without and with the other file
        if text:
            Path("dev.jsonl").write_text(text)
        code, _, told = inarch_says(*command)
        assert code == 2
        assert "train.jsonl:1: found no text" in told


def test_a_dry_run_without_the_encoder_counts_posts(place, inarch_says):
    Path("w.yaml").write_text("data: {train: train.jsonl}\nencoder: {path: nowhere}\n")
    Path("train.jsonl").write_text('{"text": "you fool", "spans": [[4, 8]]}\n')
    code, printed, _ = inarch_says("spans", "train", "w.yaml", "--dry-run")
    assert code == 0
    assert "1 to train on, 0 to choose by" in printed
    assert "unknown" in printed


def test_tag_prints_every_text_in_order(place, models, inarch_says):
    texts = ["the lazy dog", "", "A cat sat\u2028on", "na\u00efve \U0001f44d\U0001f3fd"]
    Path("t.txt").write_bytes("\r\n".join(texts).encode())
    code, printed, _ = inarch_says("spans", "tag", "--model", models[0], "t.txt")
    assert code == 0
    found = rows(printed.replace("\u2028", "\\u2028"))
    assert [row["text"] for row in found] == texts
    assert any(row["spans"] for row in found)
    for row in found:
        assert set(row) == {"text", "spans"}
        for span in row["spans"]:
            assert set(span) == {"start", "end", "score", "text"}
            assert row["text"][span["start"] : span["end"]] == span["text"]


def test_jsonl_keeps_what_else_a_row_holds(place, models, inarch_says):
    given = [{"id": 7, "text": "the cat\nsat", "spans": [1]}, {"text": "\ud83d dog", "source": "x"}]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    code, printed, _ = inarch_says("spans", "tag", "--model", models[0], "t.jsonl")
    assert code == 0
    found = rows(printed)
    assert [row["text"] for row in found] == [row["text"] for row in given]
    assert found[0]["id"] == 7
    assert found[1]["source"] == "x"
    assert all(isinstance(row["spans"], list) for row in found)
    assert found[0]["spans"] != [1]


def test_an_object_without_a_text_is_told_and_not_tagged(place, models, inarch_says):
    Path("t").write_text('{"prompt": "the cat"}\n')
    code, _, error = inarch_says("spans", "tag", "--model", models[0], "t")
    assert code == 2
    assert "t:1: found no text" in error


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_the_standard_input_is_told_by_its_first_line(
    place, models, inarch_says, monkeypatch, form
):
    texts = ["the cat", '{"text": 1', "dog"]
    lines = texts if form == "text" else [json.dumps({"text": text}) for text in texts]
    given = io.BytesIO("\n".join(lines).encode())
    from inarch.flows import spans_tag

    found = list(spans_tag.line_texts(given, "standard input", "auto"))
    assert [row.text for row in found] == texts


@pytest.mark.parametrize(
    ("lines", "texts"),
    [('\n{"text": "a"}\n', ["a"]), ("\n \na\n", ["", " ", "a"]), ("\n\n", ["", ""]), ("", [])],
)
def test_blank_lines_tell_nothing(lines, texts):
    from inarch.flows import spans_tag

    found = spans_tag.line_texts(io.BytesIO(lines.encode()), "standard input", "auto")
    assert [row.text for row in found] == texts


def test_a_vote_of_two(place, models, inarch_says):
    Path("t.txt").write_text("the quick brown fox jumps over the lazy dog\n1 plus 2 is 3\n")

    def characters(*flags: str) -> list[set[int]]:
        code, printed, _ = inarch_says("spans", "tag", *flags, "t.txt")
        assert code == 0
        return [
            {i for span in row["spans"] for i in range(span["start"], span["end"])}
            for row in rows(printed)
        ]

    one, two = (characters("--model", model) for model in models)
    assert one != two
    both = ["--model", models[0], "--model", models[1]]
    assert all(found <= a & b for found, a, b in zip(characters(*both), one, two, strict=True))
    either = characters(*both, "--min-votes", "1")
    assert all(a | b <= found for found, a, b in zip(either, one, two, strict=True))


def test_an_exported_model_is_a_model(place, models, inarch_says):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert inarch_says("spans", "export", models[0], "--out", "o")[:2] == (0, "o\n")
    Path("t.txt").write_text("the quick brown fox jumps over the lazy dog\n1 plus 2 is 3\n")
    found, screened = [], []
    Path("t.jsonl").write_text('{"text": "the quick brown fox jumps over the lazy dog"}\n')
    for model, out in ((models[0], "a"), ("o", "b")):
        found.append(rows(inarch_says("spans", "tag", "--model", model, "t.txt")[1]))
        flags = ("--model", model, "--out", out, "--json")
        screened.append(json.loads(inarch_says("spans", "screen", "t.jsonl", *flags)[1]))
    assert screened[0] == screened[1]
    assert screened[0]["flagged"]
    assert any(row["spans"] for row in found[0])
    for one, other in zip(*found, strict=True):
        assert [s["text"] for s in one["spans"]] == [s["text"] for s in other["spans"]]


@pytest.mark.parametrize(
    ("flags", "lines", "message"),
    [
        (["--min-votes", "1"], "a", "--min-votes with one --model"),
        (["--threshold", "0.2"], "a", "--threshold without --decode posterior"),
        (["--threshold", "2", "--decode", "posterior"], "a", "expected a probability"),
        (["--format", "jsonl"], '{"text": "a"}\n{"text"', "t.txt:2: this line is no JSON"),
        (["--format", "jsonl"], '{"txt": "a"}', "t.txt:1: found no text"),
    ],
)
def test_mistakes_are_told(place, models, inarch_says, flags, lines, message):
    Path("t.txt").write_text(lines)
    code, _, error = inarch_says("spans", "tag", "--model", models[0], *flags, "t.txt")
    assert code == 2
    assert message in error


def test_a_baseline_has_no_other_decoding(place, models, inarch_says):
    LexiconTagger({"fox": 1.0}).save_pretrained("words")
    Path("t.txt").write_text("a fox")
    tag = ("spans", "tag", "t.txt", "--decode", "posterior", "--model", "words")
    code, _, error = inarch_says(*tag)
    assert code == 2
    assert "--decode posterior with baselines alone" in error
    assert inarch_says(*tag, "--model", models[0])[0] == 0


@pytest.mark.parametrize("verb", ["tag", "screen"])
def test_a_model_of_another_kind_is_refused(place, inarch_says, verb):
    save_model(Path("lm"), byte_level())
    Path("t.jsonl").write_text('{"text": "a"}\n')
    code, _, error = inarch_says("spans", verb, "t.jsonl", "--model", "lm")
    assert code == 2
    assert "lm/config.json: found a model of type 'llama', expected 'inarch_spans'" in error


def test_what_is_absent_is_told(place, models, inarch_says):
    code, _, error = inarch_says("spans", "tag", "--model", "nowhere", "t.txt")
    assert code == 2
    assert "no config.json in nowhere" in error
    code, _, error = inarch_says("spans", "tag", "--model", models[0], "t.txt")
    assert code == 2
    assert "cannot read t.txt" in error
    Path("t.txt").write_bytes(b"a\n\xff\n")
    code, _, error = inarch_says("spans", "tag", "--model", models[0], "t.txt")
    assert code == 2
    assert "t.txt:2: this is no UTF-8" in error
