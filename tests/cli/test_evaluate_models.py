"""`inarch evaluate likelihood` and `tasks`, from files to what is printed and compared."""

import builtins
import json

import pytest
from tests import tiny

TEXTS = ["The quick brown fox.", "中文 and 🙂 sleep on the mat.", "A cat sat; 1 plus 2 is 3."]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two models of one tokenizer, one of another; texts and questions."""
    folder = tmp_path_factory.mktemp("evaluate")
    for name, hf, seed in (("a", tiny.byte_level, 0), ("b", tiny.byte_level, 1)):
        tiny.save_model(folder / name, hf(), seed=seed)
    tiny.save_model(folder / "c", tiny.sentencepiece(), seed=2)
    rows = [
        {
            "text": text,
            "q": text[:9],
            "options": ["cat", "dog"],
            "label": i % 2,
            "kind": f"k{i % 2}",
        }
        for i, text in enumerate(TEXTS * 3)
    ]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "pick.yaml").write_text(
        f"data: {folder}/t.jsonl\nprompt: q\ncategory: kind\n"
        "multiple_choice: {choices: options, answer: label}\n"
    )
    (folder / "say.yaml").write_text(
        f"data: {folder}/t.jsonl\nprompt: q\ngenerate: {{answer: text, max_new_tokens: 3}}\n"
    )
    return folder


def objects(said):
    code, printed, told = said
    assert code == 0, told
    return [json.loads(line) for line in printed.splitlines()]


def test_likelihood_and_what_compares(world, tmp_path, inarch_says):
    text = ("--text", world / "t.jsonl")
    a, b, c = (("--model", world / name) for name in "abc")
    both = objects(
        inarch_says("evaluate", "likelihood", *a, *b, *text, "--json", "--out", tmp_path)
    )
    assert [row["model"] for row in both] == ["a", "b"]
    assert all(row["token_perplexity"] > 1 for row in both)
    (alone,) = objects(inarch_says("evaluate", "likelihood", *b, *text, "--json"))
    assert alone == both[1]
    said = inarch_says("evaluate", "likelihood", *a, *c, *text, "--json", "--out", tmp_path)
    mixed = objects(said)
    assert [row["token_perplexity"] for row in mixed] == [None, None]
    assert "longer ones has fewer" in mixed[0]["token_perplexity_left_out"]
    assert "perplexity per token is left out" in said[2]
    assert mixed[0]["bits_per_byte"] == both[0]["bits_per_byte"]

    def compared(unit, *names):
        paths = (tmp_path / unit / f"{name}.json" for name in names)
        return inarch_says("evaluate", "compare", *paths, "--json")

    (found,) = objects(compared("bits_per_byte", "a", "c"))
    assert found["difference"] == pytest.approx(
        mixed[0]["bits_per_byte"] - mixed[1]["bits_per_byte"]
    )
    assert objects(compared("nats_per_token", "a", "b"))[0]["n"] == len(TEXTS) * 3
    code, _, told = compared("nats_per_token", "a", "c")
    assert code == 2
    assert "different tokens" in told
    joined = ("evaluate", "likelihood", *text, "--joined", "--window", 8, "--out", tmp_path / "j")
    code, _, told = inarch_says(*joined, *a, *c)
    assert code == 2
    assert "per token only" in told
    assert not (tmp_path / "j").exists()  # refused before a model is scored
    code, printed, _ = inarch_says(*joined, *a, *b, "--json")
    assert code == 0
    assert all(json.loads(line)["token_perplexity"] for line in printed.splitlines())
    code, printed, _ = inarch_says("evaluate", "likelihood", *a, *text, "--stride", 4)
    assert code == 0
    assert "stride 4" in printed


def test_the_window_is_that_of_the_shortest_model(world, tmp_path, inarch_says):
    tiny.save_model(tmp_path / "short", tiny.byte_level(), seed=0)
    config = tmp_path / "short/config.json"
    config.write_text(config.read_text().replace("256", "128"))
    models = ("--model", world / "a", "--model", tmp_path / "short")
    text = ("--text", world / "t.jsonl", "--json")
    for row in objects(inarch_says("evaluate", "likelihood", *models, *text)):
        assert row["reading"].startswith("window 128,")


def test_models_read_alike(world, inarch_says):
    text = ("--text", world / "t.jsonl", "--json")
    model = ("--model", world / "a")
    for more, said in (
        (("--window", 300), "has 256 positions"),
        (("--window", 8, "--stride", 9), "at most the window"),
        (("--stride", 300), "--stride 300 and --window 256"),
        (("--stride", "long"), "expected"),
        (model, "a model twice"),
        (("--model", world / "none"), "there is no folder"),
    ):
        code, printed, told = inarch_says("evaluate", "likelihood", *model, *text, *more)
        assert (code, printed) == (2, "")
        assert said in told


def test_tasks_of_files(world, tmp_path, inarch_says):
    both = f"{world}/pick.yaml,{world}/say.yaml"
    given = ("tasks", "--model", world / "a", "--tasks", both)
    pick, say = objects(inarch_says("evaluate", *given, "--json", "--out", tmp_path))
    assert (pick["task"], pick["kind"], pick["n"]) == ("pick", "multiple_choice", 9)
    share = pick["acc"]
    # sd of nine zeros and ones, over the root of nine
    assert pick["acc_stderr"] == pytest.approx((share * (1 - share) / 8) ** 0.5)
    parts = pick["by_category"]
    assert (parts["k0"]["acc"] * 5 + parts["k1"]["acc"] * 4) / 9 == pytest.approx(share)
    assert (say["kind"], say["exact_match"]) == ("generate", 0)
    inarch_says("evaluate", "tasks", "--model", world / "c", "--tasks", both, "--out", tmp_path)
    paths = [tmp_path / f"pick/acc/{name}.json" for name in "ac"]
    (found,) = objects(inarch_says("evaluate", "compare", *paths, "--json"))
    assert (found["n"], found["a_score"]) == (9, pytest.approx(share))
    (few,) = objects(
        inarch_says("evaluate", *given[:-1], world / "pick.yaml", "--limit", 1, "--json")
    )
    assert (few["n"], few["acc_stderr"]) == (1, None)
    code, printed, _ = inarch_says("evaluate", *given)
    assert code == 0
    assert "exact_match" in printed
    lines = [line.split() for line in printed.splitlines()]
    for name, part in parts.items():
        assert [name, f"{part['acc_norm']:.4f}"] in lines
    # shares of right answers and bits per byte differ behind the second digit
    _, printed, _ = inarch_says("evaluate", "compare", *paths)
    assert f"{found['a_score']:.4f}) less" in printed
    assert f"{found['lower']:+.4f} to {found['upper']:+.4f}" in printed


def test_what_decides_a_score_is_kept_with_it(world, tmp_path, inarch_says):
    from inarch.io.files import digest_file

    examples, task = tmp_path / "shown.jsonl", tmp_path / "shot.yaml"
    examples.write_text(json.dumps({"q": "x", "options": ["y", "z"], "label": 0, "kind": "k"}))
    shown = f"fewshot: {{num: 1, data: {examples}}}\n"
    task.write_text((world / "pick.yaml").read_text() + shown)
    given = ("evaluate", "tasks", "--model", world / "a", "--tasks", task, "--out", tmp_path / "o")
    code, _, told = inarch_says(*given, "--set", "window=20")
    assert code == 0, told
    record = json.loads((tmp_path / "o/shot/acc/a.json").read_text())["protocol"]
    assert record["reading"].startswith("window 20,")
    assert record["reading"].endswith(f"examples {digest_file(examples)}")
    code, _, told = inarch_says(*given, "--set", "window=20", "--set", "chat=true")
    assert code == 2
    assert "chat" in told


def test_tasks_that_cannot_be(world, monkeypatch, inarch_says):
    pick = world / "pick.yaml"
    given = ("evaluate", "tasks", "--model", world / "a", "--tasks")
    for more, said in (
        ((f"{pick},{pick}",), "a task twice"),
        ((f"{pick},",), "empty name"),
        ((pick, "--set", "batch_size=2"), "batch_size has no effect"),
        ((pick, "--set", "num_fewshot=9"), "found 9 examples asked for"),
        ((pick, "--set", "window=999"), "has 256 positions"),
        ((world / "no.yaml",), "no.yaml"),
    ):
        code, printed, told = inarch_says(*given, *more)
        assert (code, printed) == (2, "")
        assert said in told
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("lm_eval"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    code, _, told = inarch_says(*given, "arc_easy")
    assert code == 2
    assert "pip install 'inarch[eval]'" in told


class Manager:
    """An index of one task, whose questions are out of reach."""

    all_tasks = ("arc_easy",)

    def load(self, names):
        raise ConnectionError("Couldn't reach the hub (OfflineModeIsEnabled)\nmore")


def test_named_tasks_that_cannot_be_read():
    pytest.importorskip("lm_eval")
    from inarch.errors import DataError, SettingsError
    from inarch.evaluate.lm.harness import Harness, HarnessSettings

    with pytest.raises(DataError, match=r"arc_easy .*OfflineModeIsEnabled.*run once"):
        Harness(["arc_easy"], HarnessSettings(), Manager())
    with pytest.raises(SettingsError, match="did you mean `arc_easy`"):
        Harness(["arc_esay"], HarnessSettings(), Manager())


def test_killed_runs_go_on(world, tmp_path, monkeypatch, inarch_says):
    from inarch.flows import evaluate_likelihood, evaluate_tasks

    models = ("--model", world / "a", "--model", world / "b")
    texts = ("evaluate", "likelihood", *models, "--text", world / "t.jsonl", "--json")
    tasks = ("evaluate", "tasks", *models, "--tasks", f"{world}/pick.yaml,{world}/say.yaml")
    for given, flow in ((texts, evaluate_likelihood), ((*tasks, "--json"), evaluate_tasks)):
        alone, own, loaded = objects(inarch_says(*given)), flow.load_for, []

        def dying(path, *rest, own=own, loaded=loaded):
            loaded.append(path[-1])
            if path.endswith("b") and loaded.count("b") == 1:
                raise KeyboardInterrupt
            return own(path, *rest)

        monkeypatch.setattr(flow, "load_for", dying)
        assert inarch_says(*given, "--out", tmp_path / flow.__name__)[0] != 0
        again = objects(inarch_says(*given, "--out", tmp_path / flow.__name__))
        assert loaded == ["a", "b", "b"]
        assert again == alone
        assert objects(inarch_says(*given, "--out", tmp_path / flow.__name__)) == alone
        assert loaded == ["a", "b", "b"]
    code, _, told = inarch_says(*texts, "--window", 9, "--out", tmp_path / texts_folder())
    assert code == 2
    assert "window: 256 there, 9 now" in told
    code, _, told = inarch_says(
        *tasks, "--set", "num_fewshot=1", "--out", tmp_path / "inarch.flows.evaluate_tasks"
    )
    assert code == 2
    assert "fewshot" in told


def texts_folder():
    return "inarch.flows.evaluate_likelihood"


def test_results_say_what_they_are_of(world, tmp_path, inarch_says):
    import torch

    from inarch.evaluate.protocol import load_result

    model = ("--model", world / "a")
    text = ("--text", world / "t.jsonl")
    (row,) = objects(
        inarch_says("evaluate", "likelihood", *model, *text, "--json", "--out", tmp_path)
    )
    token, byte = (
        load_result(tmp_path / f"{u}/a.json") for u in ("nats_per_token", "bits_per_byte")
    )
    assert {"model": "a", **token.summary} == row
    # what compares for the same tokens only is with the score that does
    assert {"model": "a", **byte.summary} == row | {"token_perplexity": None}
    assert byte.made["dtype"] == "float32"
    assert byte.made["device"] == "cpu"
    assert byte.made["torch"] == torch.__version__
    given = ("tasks", *model, "--tasks", world / "pick.yaml", "--json", "--out", tmp_path)
    (row,) = objects(inarch_says("evaluate", *given))
    found = load_result(tmp_path / "pick/acc_norm/a.json")
    assert found.summary == row
    assert found.made["files"].keys() == {"questions"}


def test_other_texts_and_questions_are_refused(world, tmp_path, inarch_says):
    rows, task = tmp_path / "t.jsonl", tmp_path / "pick.yaml"
    rows.write_text((world / "t.jsonl").read_text())
    task.write_text((world / "pick.yaml").read_text().replace(str(world), str(tmp_path)))
    model = ("--model", world / "a", "--out", tmp_path / "out")
    texts = ("evaluate", "likelihood", *model, "--text", rows)
    tasks = ("evaluate", "tasks", *model, "--tasks", task)
    assert [inarch_says(*given)[0] for given in (texts, tasks)] == [0, 0]
    rows.write_text(rows.read_text().replace("fox", "cat"))
    for given, name in ((texts, "inputs.text"), (tasks, "inputs.questions")):
        code, _, told = inarch_says(*given)
        assert code == 2
        assert name in told


def test_a_chat_has_its_template_and_no_delimiter(world, monkeypatch, inarch_says):
    from inarch.evaluate.lm import choices

    asked, own = [], choices.choose

    def choose(reader, questions, delimiter):
        asked.append((reader.hf, [question.prompt for question in questions], delimiter))
        return own(reader, questions, delimiter)

    monkeypatch.setattr(choices, "choose", choose)
    given = ("tasks", "--model", world / "a", "--tasks", world / "pick.yaml", "--limit", 2)
    few = ("--set", "num_fewshot=1", "--set", "chat=true")
    assert inarch_says("evaluate", *given, *few)[0] == 0
    ((hf, prompts, delimiter),) = asked
    # the third question reads like the first one, and the second one is answered with dog
    turns = (("user", TEXTS[1][:9]), ("assistant", "dog"), ("user", TEXTS[0][:9]))
    chat = [{"role": role, "content": text} for role, text in turns]
    whole = hf.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert (prompts[0], delimiter) == (whole, "")


def test_named_tasks_are_kept_one_by_one(world, tmp_path, monkeypatch, inarch_says):
    from inarch.evaluate.protocol import load_result
    from inarch.flows import evaluate_tasks

    ran = []

    class Two:
        """Stands in for lm-eval, with two tasks of two questions."""

        tasks, version = ("one", "two"), "0.4.13"

        def __init__(self, names, settings):
            assert names == ["one", "two"]

        def run(self, model, hf, task):
            ran.append(task)
            if ran == ["one", "two"]:
                raise KeyboardInterrupt
            names = ["acc", "perplexity"]
            samples = [
                {"doc_id": i, "metrics": names, "acc": i, "perplexity": -2.0} for i in range(2)
            ]
            numbers = {"alias": task, "acc,none": 0.5, "perplexity,none": 7.389}
            return {
                "results": {task: numbers},
                "n-samples": {task: {"effective": 2}},
                "samples": {task: samples},
                "n-shot": {task: 0},
                "versions": {task: 1},
            }

    monkeypatch.setattr(evaluate_tasks, "Harness", Two)
    given = ("tasks", "--model", world / "a", "--tasks", "one,two", "--json", "--out", tmp_path)
    assert inarch_says("evaluate", *given)[0] != 0
    rows = objects(inarch_says("evaluate", *given))
    assert ran == ["one", "two", "two"]
    assert [(row["task"], row["acc"], row["n"]) for row in rows] == [
        ("one", 0.5, 2),
        ("two", 0.5, 2),
    ]
    found = load_result(tmp_path / "two/acc/a.json")
    assert [row.score for row in found.scores] == [0, 1]
    assert (found.summary["acc"], found.made["lm_eval"]) == (0.5, "0.4.13")
    assert not (tmp_path / "two/perplexity").exists()  # no mean of the log-probs per question
    assert found.protocol.version == "lm-eval 0.4.13, two version 1"
    code, _, told = inarch_says("evaluate", *given, "--limit", 1)
    assert code == 2
    assert "limit" in told
