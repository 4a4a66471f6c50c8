"""Scorers of four kinds, and what is kept of what they say."""

import json
import math
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForSequenceClassification, LlamaConfig

from inarch.errors import DataError, SettingsError, WeightsError
from inarch.flows._scoring.checks import is_right, last_number
from inarch.flows._scoring.question import NoScore, Question
from inarch.flows._scoring.rating import rating, request_of
from inarch.flows._scoring.run_code import code_of, passes
from inarch.flows._scoring.scorers import check_scorer, scores_of
from inarch.flows._scoring.settings import CheckSettings, JudgeSettings, ScorerSettings
from inarch.io.endpoints import Failure, Reply
from inarch.records import Message
from tests.io.fake_endpoint import Fault, serving
from tests.tiny import byte_level, save_model

ASKED = (Message("user", "你好 😀?"),)


def question(number: int, *answers: str, reference: str | None = None) -> Question:
    return Question(f"p.jsonl:{number}", ASKED, answers, reference)


@pytest.fixture
def rewards(tmp_path, monkeypatch):
    """Writes a module of rewards into the working directory, and tells its dotted name."""
    monkeypatch.chdir(tmp_path)
    counter = iter(range(100))

    def write(body: str) -> str:
        name = f"rewards_{tmp_path.name.replace('-', '_')}_{next(counter)}"
        Path(f"{name}.py").write_text(textwrap.dedent(body))
        return f"{name}:score"

    return write


def scored(settings: dict | str, questions, folder=Path("scores"), **more):
    made = ScorerSettings.model_validate(settings)
    return scores_of(questions, made.model_copy(update=more), folder, "cpu")


# -------------------------------------------------------------------------------------- callables


def test_a_callable_gets_messages_and_texts(rewards):
    name = rewards("""
        def score(prompt, answers, reference=None):
            assert prompt == [{"role": "user", "content": "你好 😀?"}], prompt
            assert isinstance(answers, list)
            return [len(a) + 100 * (a == reference) for a in answers]
    """)
    assert scored(name, [question(1, "😀", "abc"), question(2)]) == [[1.0, 3.0], []]
    # The reference is part of what is asked, so that nothing is taken from before.
    assert scored(name, [question(1, "😀", "abc", reference="abc")]) == [[1.0, 103.0]]


DYING = """
    import json
    from pathlib import Path

    def score(prompt, answers):
        seen = Path("seen.jsonl")
        with seen.open("a") as file:
            file.write(json.dumps(answers) + "\\n")
        if "bad" in answers and Path("ill").exists():
            raise RuntimeError("reward server is gone")
        return [float(len(a)) for a in answers]
"""


def seen() -> list[list[str]]:
    return [json.loads(line) for line in Path("seen.jsonl").read_text().splitlines()]


def test_a_scorer_that_dies_half_way_loses_nothing(rewards):
    name = rewards(DYING)
    asked = [question(1, "a"), question(2, "bb", "bad"), question(3, "ccc")]
    Path("ill").touch()
    told = r"p\.jsonl:2: no score for the answer 'bb': .* failed: RuntimeError: reward server is"
    with pytest.raises(DataError, match=told):
        scored(name, asked)
    Path("ill").unlink()
    assert scored(name, asked) == [[1.0], [2.0, 3.0], [3.0]]
    assert seen() == [["a"], ["bb", "bad"], ["bb", "bad"], ["ccc"]]  # the first only once
    assert scored(name, asked) == [[1.0], [2.0, 3.0], [3.0]]
    assert len(seen()) == 4


def test_failures_can_be_counted_and_stay(rewards):
    name = rewards(DYING)
    asked = [question(1, "a"), question(2, "bb", "bad")]
    Path("ill").touch()
    [[one], failed] = scored(name, asked, on_error="drop")
    assert one == 1.0
    assert [type(result) for result in failed] == [NoScore, NoScore]
    assert "RuntimeError" in failed[0].reason
    Path("ill").unlink()
    # The rows that were chosen do not change when a run goes on; asked to stop, it asks again.
    assert scored(name, asked, on_error="drop")[1] == failed
    assert scored(name, asked) == [[1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    "value",
    ["float('nan')", "float('inf')", "None", "'x'", "10**400", "__import__('torch').ones(2)"],
)
def test_a_score_is_a_finite_number(rewards, value: str):
    name = rewards(f"""
        def score(prompt, answers):
            return [{value} if a == "odd" else 1.0 for a in answers]
    """)
    asked = [question(7, "fine", "odd")]
    with pytest.raises(DataError, match=r"p\.jsonl:7: no score for the answer 'odd': .* gave"):
        scored(name, asked)
    [[fine, odd]] = scored(name, asked, on_error="drop")
    assert fine == 1.0
    assert isinstance(odd, NoScore)


def test_the_good_answers_of_a_row_are_not_scored_again(rewards):
    name = rewards("""
        from pathlib import Path

        def score(prompt, answers):
            with Path("seen").open("a") as file:
                file.write(",".join(answers) + "\\n")
            return [float("nan") if a == "odd" and Path("ill").exists() else 1.0 for a in answers]
    """)
    Path("ill").touch()
    with pytest.raises(DataError, match="'odd'"):
        scored(name, [question(1, "fine", "odd", "good")])
    Path("ill").unlink()
    assert scored(name, [question(1, "fine", "odd", "good")]) == [[1.0, 1.0, 1.0]]
    assert Path("seen").read_text() == "fine,odd,good\nodd\n"


def test_a_number_per_answer(rewards):
    name = rewards("def score(prompt, answers): return [1.0]")
    with pytest.raises(DataError, match="gave 1 numbers for 2"):
        scored(name, [question(1, "a", "b")])


def test_a_journal_that_a_kill_cut_goes_on(rewards):
    name = rewards(DYING)
    asked = [question(1, "a"), question(2, "bb")]
    scored(name, asked)
    journal = Path("scores/scores.jsonl")
    whole = journal.read_text()
    journal.write_text(whole[:-20])
    assert scored(name, asked) == [[1.0], [2.0]]
    assert seen() == [["a"], ["bb"], ["bb"]]
    assert journal.read_text() == whole


def test_a_changed_callable_is_another_scorer(rewards):
    name = rewards("def score(prompt, answers): return [1.0 for _ in answers]")
    scored(name, [question(1, "a")])
    with Path(f"{name.partition(':')[0]}.py").open("a") as file:
        file.write("\n# changed\n")
    with pytest.raises(SettingsError, match=r"inputs\.callable: .* there, .* now"):
        scored(name, [question(1, "a")])


def test_what_is_no_callable_is_said_at_once(rewards):
    with pytest.raises(SettingsError, match=r"cannot import nowhere_at_all .* nowhere_at_all\.py"):
        check_scorer(ScorerSettings(callable="nowhere_at_all:score"))
    for body, problem in (("score = [", "SyntaxError"), ("score = nothing", "NameError: name 'no")):
        with pytest.raises(SettingsError, match=f"cannot import rewards_.* \\({problem}"):
            check_scorer(ScorerSettings(callable=rewards(body)))
    name = rewards("x = 1").replace(":score", ":sore")
    with pytest.raises(SettingsError, match="has no function 'sore'"):
        check_scorer(ScorerSettings(callable=name))


def test_one_kind_of_scorer():
    with pytest.raises(ValidationError, match="found none, expected one of callable"):
        ScorerSettings()
    with pytest.raises(ValidationError, match="found callable and reward_model"):
        ScorerSettings(callable="a:b", reward_model="c")
    with pytest.raises(ValidationError, match="expected module:function"):
        ScorerSettings(callable="a.b")


# ----------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    ("kind", "extract", "answer", "reference", "expected"),
    [
        ("exact", None, " Paris\n", "Paris", True),
        ("exact", None, "paris", "Paris", False),
        ("exact", r"answer is (\w+)", "The answer is 4. No: the answer is 5.", "5", True),
        ("exact", r"answer is \w+", "The answer is 4.", "answer is 4", True),
        ("exact", r"answer is (\w+)", "It is 5", "5", False),
        ("number", None, "3 apples and 4 make 7.", "7", True),
        ("number", None, "7 is what 3 and 4 make", "7", False),
        ("number", None, "1,234.50", "1234.5", True),
        ("number", None, "x = -2", "2", False),
        ("number", None, "none", "2", False),
        ("number", r"####\s*(\S+)", "5 #### 7 is it, not 8", "so #### 7", True),
        ("number", None, "1e3", "1000", True),
        ("regex", None, "你好, 世界", "你.*世", True),
        ("regex", None, "abc", "^b", False),
    ],
)
def test_checks(kind, extract, answer, reference, expected):
    settings = CheckSettings(kind=kind, extract=extract)
    assert is_right(answer, reference, settings) == expected


def test_the_last_number():
    assert last_number("in 2024, 1,000,000.25") == 1_000_000.25
    assert last_number("3-4") == -4.0
    assert last_number("😀") is None


def test_checks_name_a_reference_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"p\.jsonl:3: found the reference 'seven', with no number"):
        scored({"check": {"kind": "number"}}, [question(3, "7", reference="seven")], tmp_path / "a")
    with pytest.raises(DataError, match=r"p\.jsonl:3: the reference '\(' is no regular expression"):
        scored({"check": {"kind": "regex"}}, [question(3, "7", reference="(")], tmp_path / "b")
    with pytest.raises(SettingsError, match="name its column as"):
        scored({"check": {"kind": "exact"}}, [question(3, "7")], tmp_path / "c")


def test_dead_settings_of_checks():
    with pytest.raises(ValidationError, match="timeout_s has an effect with kind: code only"):
        CheckSettings(kind="exact", timeout_s=1.0)
    with pytest.raises(ValidationError, match="extract is no regular expression"):
        CheckSettings(kind="exact", extract="(")


TEST = "assert add(2, 3) == 5\nassert add('a', 'b') == 'ab'"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def add(a, b):\n    return a + b", True),
        ("def add(a, b):\n    return a - b", False),
        ("def add(a, b:\n    return", False),
        ("import sys\nsys.exit(0)", False),
        ("import os\nos._exit(0)", False),
        ("def add(a, b):\n    return a + b\nif __name__ == '__main__':\n    input()", True),
        ("x = bytearray(3 * 2**30)\ndef add(a, b):\n    return a + b", False),
        ("def add(a, b):\n    return a + b\nopen('large', 'wb').write(bytes(2**25))", False),
    ],
)
def test_code_passes_its_test(code: str, expected: bool):
    assert passes(code, TEST, timeout_s=20.0, memory_mib=1024) == expected


def test_code_that_never_ends_is_ended_with_its_children(tmp_path):
    pid = tmp_path / "pid"
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pid)!r}, "w").write(str(child.pid))
while True:
    time.sleep(1)
"""
    assert not passes(code, "", timeout_s=3.0, memory_mib=1024)
    stat = Path(f"/proc/{pid.read_text()}/stat")
    for _ in range(200):  # a child that was killed ends at its own time
        with suppress(OSError):
            if ") Z " not in stat.read_text():
                time.sleep(0.05)
                continue
        break
    else:
        pytest.fail("the child is still there")


def test_other_blocks_than_code_are_not_run():
    answer = "Do\n```bash\nrm x\n```\n```Python\nx = 1\n```\nIt says\n```text\n1 way\n```"
    assert code_of(answer) == "x = 1\n"
    assert code_of("```py3\ny = 1\n```") == "y = 1\n"


def test_code_stands_between_fences():
    answer = "Here:\n```python\nx = 1\n```\nand\n```\ny = 2\n```\nDone."
    assert code_of(answer) == "x = 1\n\ny = 2\n"
    assert code_of("```py\nx = 1\n") == "x = 1\n"  # an answer that was cut
    assert code_of("x = 1") == "x = 1"


def test_code_by_the_scorer(tmp_path):
    good, bad = "```python\ndef add(a, b):\n    return a + b\n```", "def add(a, b): return 1"
    asked = [question(1, good, bad, reference=TEST)]
    assert scored({"check": {"kind": "code"}}, asked, tmp_path / "s") == [[1.0, 0.0]]


# ------------------------------------------------------------------------------------------ judge


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good. Rating: [[7]]", 7.0),
        ("First I thought [[3]], but: [[ 8.5 ]]", 8.5),
        ("Rating: 7", "no rating"),
        ("[[11]]", "rated 11, expected 1 to 10"),
        ("[[0]]", "rated 0"),
        ("", "no rating"),
    ],
)
def test_ratings(text: str, expected):
    found = rating(Reply(text, "stop", "m"))
    assert found == expected if isinstance(expected, float) else expected in found.reason


def test_a_judge_that_fails_gives_no_rating():
    assert rating(Failure("timed out")) == NoScore("the judge did not answer: timed out")


def test_what_a_judge_reads():
    judge = JudgeSettings.model_validate({"endpoint": {"url": "http://x/v1", "model": "m"}})
    asked = question(1, "a", reference="right")._replace(
        prompt=(Message("system", "s"), Message("user", "你好"))
    )
    [message] = request_of(asked, "my answer", judge).messages
    told, *parts = message.content.split("\n\n<")
    assert told == judge.instruction
    assert parts == [
        "conversation>\n[system]\ns\n\n[user]\n你好\n</conversation>",
        "reference>\nright\n</reference>",
        "response>\nmy answer\n</response>",
    ]


def test_a_judge_at_an_endpoint_is_asked_once(tmp_path):
    def say(body, before):
        text = body["messages"][-1]["content"]
        if "<response>\nbusy\n" in text and before == 0:
            return Fault(429, "{}", (("Retry-After", "0"),))
        return f"Rating: [[{text.count('e') % 10 + 1}]]" if "odd" not in text else "I refuse."

    asked = [question(1, "ee", "busy"), question(2, "odd", "good"), question(3)]
    with serving(say) as fake:
        judge = {"judge": {"endpoint": {"url": fake.url, "model": "m"}, "instruction": "Rt:"}}
        with pytest.raises(DataError, match=r"p\.jsonl:2: no score for the answer 'odd': the judg"):
            scored(judge, asked, tmp_path / "s")
        found = scored(judge, asked, tmp_path / "s", on_error="drop")
        num_calls = len(fake.calls)
        assert scored(judge, asked, tmp_path / "s", on_error="drop") == found
        assert len(fake.calls) == num_calls
        # Every reply was kept at once, that without a rating too.
        for call in fake.calls:
            busy = "<response>\nbusy\n" in call["messages"][-1]["content"]
            assert busy or fake.times_asked(call) == 1
        e_in_frame = 2 * ("conversation".count("e") + "response".count("e")) + "user".count("e")
    assert found[0] == [(2 + e_in_frame) % 10 + 1, e_in_frame % 10 + 1]
    assert isinstance(found[1][0], NoScore)
    assert found[2] == []


# ----------------------------------------------------------------------------------- reward models


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """A tiny reward model with a wide spread of scores."""
    folder, hf = tmp_path_factory.mktemp("reward") / "model", byte_level()
    hf.pad_token = "<eos>"
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    size |= {"intermediate_size": 32, "vocab_size": len(hf), "max_position_embeddings": 128}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(
        LlamaConfig(**size, num_labels=1, pad_token_id=hf.pad_token_id)
    )
    for weight in model.parameters():
        weight.data.mul_(8.0)
    model.save_pretrained(folder)
    hf.save_pretrained(folder)
    return folder


ANSWERS = ["yes", "the quick brown fox jumps", "你好 😀", "no, and the cat sat on the mat"]


def alone(folder: Path, answer: str) -> float:
    """The score of a chat that is read on its own, without padding."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = byte_level()(f"<|user|>{ASKED[0].content}<|end|><|assistant|>{answer}<|end|>").input_ids
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits.item()


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_reward_model_reads_the_whole_chat(classifier, tmp_path, batch_size: int):
    expected = [alone(classifier, answer) for answer in ANSWERS]
    assert max(expected) - min(expected) > 0.1
    settings = {"reward_model": {"path": str(classifier), "batch_size": batch_size}}
    asked = [question(1, *ANSWERS[:3]), question(2, *ANSWERS[3:])]
    found = scored(settings, asked, tmp_path / "s")
    assert [score for row in found for score in row] == pytest.approx(expected, abs=1e-4)
    assert [len(row) for row in found] == [3, 1]


def test_a_chat_that_is_too_long_has_no_score(classifier, tmp_path):
    settings = {"reward_model": str(classifier)}
    [[fine, long]] = scored(settings, [question(1, "a", "x" * 300)], tmp_path, on_error="drop")
    assert math.isfinite(fine)
    assert long == NoScore("longer than the reward model reads")


def test_a_language_model_is_no_reward_model(tmp_path):
    folder = save_model(tmp_path / "lm", byte_level())
    with pytest.raises(WeightsError, match="has 2 outputs, expected one"):
        check_scorer(ScorerSettings(reward_model=str(folder)))
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"no weights that fit score\.weight, so that its scor"):
        scored({"reward_model": str(folder)}, [question(1, "a")], tmp_path / "s")


def test_a_reward_model_with_code_of_its_own_is_not_run(classifier, tmp_path):
    config = json.loads((classifier / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_custom.Gated"}
    folder = tmp_path / "armo"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_custom.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(WeightsError, match=r"as ArmoRM does, .* never run; serve it and write a"):
        check_scorer(ScorerSettings(reward_model=str(folder)))
    with pytest.raises(WeightsError, match="cannot load the reward model"):
        check_scorer(ScorerSettings(reward_model=str(tmp_path / "absent")))
