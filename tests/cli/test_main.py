"""The command line: a frozen surface, light to start, and honest about errors."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import inarch
from inarch.cli import main as cli
from inarch.errors import DataError
from inarch.match.report import MatchReport, ViewToken

RECIPE = """
target: models/t
sources: [models/a, models/b]
data: {path: corpus.jsonl}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mix.yaml").write_text(RECIPE)
    return "mix.yaml"


@pytest.fixture
def calls(monkeypatch):
    """What the flows are called with, instead of running them."""
    from inarch.flows import fuse, teach

    calls: list[tuple[object, ...]] = []
    plan = {"tokens": 12_000_000, "disk": "0.5 GiB"}
    monkeypatch.setattr(fuse, "plan", lambda settings, train=True: plan | {"train": train})
    for flow in (fuse, teach):
        name = flow.__name__.rpartition(".")[2]
        monkeypatch.setattr(
            flow, "run", lambda settings, out, name=name, **more: calls.append((name, out, more))
        )
    return calls


# ----------------------------------------------------------------------------------- the surface


def test_verbs_and_flags_are_frozen():
    """A new flag is a decision: most of what a run needs belongs into its settings."""
    command = typer.main.get_command(cli.app)

    def surface(group):
        return {
            name: [opt for param in verb.params for opt in param.opts]
            for name, verb in group.commands.items()
        }

    assert [opt for param in command.params for opt in param.opts] == ["--verbose", "--version"]
    assert surface(command) == {
        "fuse": ["recipe", "--set", "--out", "--dry-run"],
        "teach": ["recipe", "--only", "--set", "--out", "--dry-run"],
        "match": ["target", "sources", "--text", "--json", "--out", "--set", "--dry-run"],
        "demo": ["--seed", "--quick", "--set", "--out", "--dry-run"],
        "report": ["run", "--reveal", "--set", "--out", "--dry-run"],
        "diff": ["a", "b", "--json", "--out", "--set", "--dry-run"],
        "extract": ["finetuned", "--base", "--out", "--rank", "--json", "--set", "--dry-run"],
        "merge": [],
        "align": [],
        "spans": [],
        "evaluate": [],
        "prune": [
            "model",
            "--data",
            "--ratio",
            "--blocks",
            "--size-gb",
            "--kv-bytes",
            "--latency",
            "--method",
            "--compare",
            "--format",
            "--heal",
            "--devices",
            "--json",
            "--set",
            "--out",
            "--dry-run",
        ],
    }
    assert surface(command.commands["align"]) == {
        "train": ["recipe", "--set", "--out", "--dry-run"],
        "seft": ["recipe", "--set", "--out", "--dry-run"],
        "build": ["recipe", "--set", "--out", "--dry-run"],
    }
    assert surface(command.commands["evaluate"]) == {
        "judge": ["recipe", "--set", "--out", "--json", "--dry-run"],
        "fetch": ["benchmarks", "--from", "--json"],
        "alpaca": [
            *("--annotations", "--gamed", "--c", "--align", "--solver", "--weights", "--model"),
            *("--leaderboard", "--json", "--out"),
        ],
        "arena": [
            *("--battles", "--baseline", "--protocol", "--category", "--intervals", "--control"),
            *("--style", "--anchor", "--json", "--out"),
        ],
        "mtbench": [
            *("--judgments", "--questions", "--references", "--baseline", "--json", "--out"),
        ],
        "likelihood": [
            *("--model", "--text", "--window", "--stride", "--joined", "--json", "--out", "--set"),
        ],
        "tasks": ["--model", "--tasks", "--limit", "--json", "--out", "--set"],
        "compare": [
            *("a", "b", "--candidates", "--any-protocol", "--gamed", "--c", "--solver", "--json"),
        ],
    }
    assert surface(command.commands["spans"]) == {
        "train": ["recipe", "--set", "--out", "--dry-run"],
        "tag": ["--model", "file", "--min-votes", "--decode", "--threshold", "--format"],
        "export": ["model", "--out"],
        "score": ["--gold", "--pred", "--against", "--train", "--out", "--skip-bad", "--json"],
        "screen": [
            *("data", "--model", "--action", "--min-votes", "--skip-bad", "--json", "--plain"),
            *("--set", "--out", "--dry-run"),
        ],
    }
    assert surface(command.commands["merge"]) == {
        "recipe": [
            *("recipe", "folder", "--explain", "--json", "--threads", "--device", "--shard-gb"),
            *("--set", "--out", "--dry-run"),
        ],
        "search": ["recipe", "--set", "--out", "--json", "--dry-run"],
    }


def test_the_version(inarch_says):
    assert inarch_says("--version") == (0, f"inarch {inarch.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["merge", "--help"], ["align", "--help"], ["evaluate", "--help"], ["--version"]],
)
def test_help_loads_nothing_heavy(arguments):
    code = """if True:
        import atexit, sys
        heavy = {"torch", "transformers", "numpy", "pyarrow", "datasets", "matplotlib"}
        atexit.register(lambda: print("HEAVY", sorted(heavy & sys.modules.keys())))
        from inarch.cli.main import main
        main()
    """
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("HEAVY []\n")


def test_python_m_inarch():
    command = [sys.executable, "-m", "inarch", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == f"inarch {inarch.__version__}\n"


def test_public_functions_are_the_flows():
    from inarch.flows import fuse, match, teach

    assert inarch.run_fuse is fuse.run
    assert inarch.run_teach is teach.run
    assert inarch.run_match is match.run
    with pytest.raises(AttributeError, match="no attribute 'run_away'"):
        inarch.run_away  # noqa: B018


# ------------------------------------------------------------------------------------- the verbs


def test_a_run_goes_into_a_folder_of_the_recipes_name(recipe, calls, inarch_says):
    assert inarch_says("fuse", recipe)[:2] == (0, "runs/mix\n")
    assert inarch_says("teach", recipe, "--only", "a", "--only", "b", "--out", "x")[:2] == (
        0,
        "x\n",
    )
    assert calls == [
        ("fuse", Path("runs/mix"), {}),
        ("teach", Path("x"), {"only": ("a", "b")}),
    ]


@pytest.mark.parametrize(("verb", "trains"), [("fuse", "True"), ("teach", "False")])
def test_a_dry_run_prints_settings_and_plan_and_does_nothing(
    recipe, calls, inarch_says, verb, trains
):
    code, printed, _ = inarch_says(verb, recipe, "--set", "teach.top_k=4", "--dry-run")
    assert code == 0
    assert calls == []
    assert "top_k: 4\n" in printed
    plan = [line.split("│")[1:3] for line in printed.splitlines() if "│" in line]
    assert [[cell.strip() for cell in row] for row in plan] == [
        ["tokens", "12,000,000"],
        ["disk", "0.5 GiB"],
        ["train", trains],
        ["out", "runs/mix"],
    ]
    assert sorted(path.name for path in Path().iterdir()) == ["mix.yaml"]


def test_what_a_dry_run_prints_is_a_recipe(recipe, calls, inarch_says):
    from inarch.flows.recipe import FuseRun
    from inarch.settings import load

    printed = inarch_says("fuse", recipe, "--dry-run")[1]
    Path("again.yaml").write_text(printed.partition("┏")[0])
    assert load(FuseRun, "again.yaml") == load(FuseRun, recipe)


@pytest.fixture
def fake_match(monkeypatch):
    from inarch.flows import match

    report = MatchReport(30, 29, 24, 24, 1, 0.79312, 1.0, 507_276.4, 1, 0)
    tokens = [ViewToken(" the", "used", " the"), ViewToken("z", "prefix", "zt")]
    monkeypatch.setattr(match, "run", lambda target, source, text, settings: report)
    monkeypatch.setattr(match, "look", lambda target, source, text: tokens)
    monkeypatch.setattr(match, "sentence_of", lambda text: " thez")
    return report


def test_match_prints_one_object_per_source(fake_match, tmp_path, inarch_says):
    out = tmp_path / "new" / "m.jsonl"
    code, printed, _ = inarch_says("match", "t", "a", "b", "--text", "x", "--json", "--out", out)
    assert code == 0
    assert out.read_text() == printed
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["source"] for row in rows] == ["a", "b"]
    assert rows[0] == {"target": "t", "source": "a", **fake_match._asdict()}


def test_match_shows_a_table_and_a_sentence(fake_match, inarch_says):
    code, printed, _ = inarch_says("match", "t", "org/a", "--text", "x")
    assert code == 0
    for part in ("onto 30 tokens of t", "org/a", "507,276", "0.793", "·the z[zt]"):
        assert part in printed


def test_match_without_work(inarch_says):
    code, printed, _ = inarch_says("match", "t", "a", "b", "--text", "absent.txt", "--dry-run")
    assert code == 0
    assert "a, b" in printed


# ------------------------------------------------------------------------------------ the errors


def test_a_mistake_in_the_recipe_is_told_in_one_line(recipe, inarch_says):
    code, printed, told = inarch_says("fuse", recipe, "--set", "fuze.method=mince")
    assert (code, printed) == (2, "")
    assert told == "--set fuze.method=mince: fuze: unknown key; did you mean `fuse`?\n"


def test_an_error_of_the_users_has_no_traceback_and_keeps_its_brackets(
    recipe, calls, inarch_says, monkeypatch
):
    def fail(settings: object, out: Path) -> None:
        raise DataError("row [red] 3: " + "long " * 40)

    monkeypatch.setattr("inarch.flows.fuse.run", fail)
    code, printed, told = inarch_says("fuse", recipe)
    assert (code, printed) == (2, "")
    assert told == "row [red] 3: " + "long " * 40 + "\n"


def test_a_bug_shows_its_traceback(recipe, calls, monkeypatch):
    def fail(settings: object, out: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("inarch.flows.fuse.run", fail)
    monkeypatch.setattr(sys, "argv", ["inarch", "fuse", recipe])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_ctrl_c_says_how_to_go_on(recipe, calls, inarch_says, monkeypatch):
    def stop(settings: object, out: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inarch.flows.fuse.run", stop)
    code, _, told = inarch_says("fuse", recipe)
    assert code == 130
    assert told == "interrupted; the same command goes on from the last whole shard or checkpoint\n"


@pytest.mark.parametrize(("flag", "level"), [([], logging.INFO), (["--verbose"], logging.DEBUG)])
def test_only_the_command_line_makes_the_log_speak(recipe, calls, inarch_says, flag, level):
    assert logging.getLogger("inarch").handlers == []
    inarch_says(*flag, "fuse", recipe)
    assert logging.getLogger("inarch").getEffectiveLevel() == level
    assert len(logging.getLogger("inarch").handlers) == 1
