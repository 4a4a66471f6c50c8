"""`inarch evaluate` from files to what is printed; what it loads."""

import json
import subprocess
import sys

import pytest

GAMED = "preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model\n"
NUMBERS = "row,idx805,len_1,len_2,preference\n"


@pytest.fixture
def alpaca(tmp_path):
    """Annotations and gamed rows of ten instructions."""
    gamed = [
        f"{0.1 + 0.08 * (i % 10)},{i % 10},{(i - 9) / 5},{(i % 10 - 4) / 3},False,v"
        for i in range(20)
    ]
    (tmp_path / "g.csv").write_text(GAMED + "\n".join(gamed) + "\n")
    rows = [f"{i},{i},{100 + 10 * i},{150 - 7 * i},{1.2 + 0.07 * i}" for i in range(9)] + [
        "9,9,5,10,"
    ]
    (tmp_path / "a.csv").write_text(NUMBERS + "\n".join(rows) + "\n")
    return ["alpaca", "--annotations", tmp_path / "a.csv", "--gamed", tmp_path / "g.csv"]


def test_alpaca(alpaca, inarch_says, tmp_path):
    code, printed, said = inarch_says("evaluate", *alpaca, "--c", "2.5", "--json")
    found = json.loads(printed)
    assert code == 0
    assert list(found) == [
        *("win_rate", "standard_error", "discrete_win_rate", "lc_win_rate"),
        *("lc_standard_error", "n", "c"),
    ]
    # 20 + 7 i for i in 0..8, mean 48; over half from i = 5 on
    assert found["win_rate"] == pytest.approx(48)
    assert found["discrete_win_rate"] == pytest.approx(100 * 4 / 9)
    assert (found["n"], found["c"]) == (9, 2.5)
    assert "1 rows without a preference are left out" in said
    exact = json.loads(
        inarch_says("evaluate", *alpaca, "--c", "2.5", "--solver", "exact", "--json")[1]
    )
    assert exact["lc_win_rate"] == pytest.approx(found["lc_win_rate"], abs=0.1)
    board = tmp_path / "l.csv"
    code, printed, _ = inarch_says(
        "evaluate", *alpaca, "--out", tmp_path / "r", "--leaderboard", board, "--model", "mine"
    )
    assert code == 0
    assert "mine" in printed
    assert "1 rows without a preference left out; C = " in printed
    # the mean of 150 - 7 i over nine, and of 10: 1108 / 10, cut
    row = dict(zip(*(line.split(",") for line in board.read_text().splitlines()), strict=True))
    assert (row[""], row["n_total"], row["avg_length"]) == ("mine", "9", "110")
    assert float(row["length_controlled_winrate"]) == pytest.approx(found["lc_win_rate"], abs=2)
    scores = json.loads((tmp_path / "r/mine.json").read_text())["scores"]
    assert [row["prompt"] for row in scores] == [f"idx805:{i}" for i in range(9)]


def test_alpaca_names_the_instructions_without_a_row(alpaca, inarch_says, tmp_path):
    _, printed, said = inarch_says("evaluate", *alpaca[:3])
    assert "9 of 805 judgments: 4 won" in printed
    assert "795 of the 805 instructions have no row: all numbers are of the other 10" in said
    rows = [f"{i},{i},5,6,1.7" for i in range(805)]
    (tmp_path / "a.csv").write_text(NUMBERS + "\n".join(rows) + "\n")
    _, printed, said = inarch_says("evaluate", *alpaca[:3])
    assert "805 of 805 judgments: 805 won" in printed
    assert "no row" not in said
    own = {name: name for name in ("output_1", "generator_1", "generator_2")}
    row = own | {"instruction": "not of the set", "output_2": "b", "preference": 2}
    (tmp_path / "own.json").write_text(json.dumps([row]))
    _, printed, said = inarch_says("evaluate", "alpaca", "--annotations", tmp_path / "own.json")
    assert "1 judgments: 1 won" in printed
    assert "no row" not in said


def test_alpaca_by_position(alpaca, inarch_says, tmp_path):
    rows = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([rows[0], *rows[3:], rows[1]]) + "\n")
    one = json.loads(inarch_says("evaluate", *alpaca, "--c", "2", "--json")[1])
    code, printed, said = inarch_says(
        "evaluate", *alpaca, "--c", "2", "--align", "position", "--json"
    )
    assert code == 0
    assert "9 rows stand at another place than their instruction" in " ".join(said.split())
    assert json.loads(printed)["lc_win_rate"] != one["lc_win_rate"]
    assert json.loads(printed)["win_rate"] == one["win_rate"]


def test_alpaca_without_length_control(alpaca, inarch_says):
    found = json.loads(inarch_says("evaluate", *alpaca[:3], "--json")[1])
    assert found["lc_win_rate"] is found["c"] is None
    assert found["win_rate"] == pytest.approx(48)


def test_alpaca_from_weights(alpaca, inarch_says, tmp_path):
    weights = tmp_path / "w.csv"
    names = "np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)"
    weights.write_text(f",{names}\na,-1,0,0.5\n")
    found = json.loads(inarch_says("evaluate", *alpaca, "--weights", weights, "--json")[1])
    assert found["lc_win_rate"] == pytest.approx(100 / (1 + 2.718281828459045**-0.5))
    assert found["c"] is None
    said = inarch_says("evaluate", *alpaca, "--weights", weights, "--model", "b")
    assert said[0] == 2
    assert "weights of 1 models, none of 'b'" in said[2]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--c", "0"], "c: "),
        (["--c", "soon"], "c: "),
        (["--c", "inf"], "c: "),
        (
            ["--weights", "w.csv", "--c", "1", "--solver", "exact"],
            "--c, --solver: no effect, as --weights are not fitted",
        ),
    ],
)
def test_alpaca_refuses_dead_and_wrong_flags(alpaca, inarch_says, flags, complaint):
    code, _, said = inarch_says("evaluate", *alpaca, *flags)
    assert code == 2
    assert complaint in said
    for flag in (("--c", "1"), ("--align", "position"), ("--solver", "exact")):
        code, _, said = inarch_says("evaluate", *alpaca[:3], *flag)
        assert code == 2
        assert f"{flag[0]}: no effect, as length is not controlled without --gamed" in said


def test_published_over_the_command_line(shared_data, inarch_says):
    folder = shared_data / "eval/alpaca_eval2"
    if not folder.is_dir():
        pytest.skip(f"needs the published judgments of {folder}, which is absent")
    expected = json.loads((folder / "expected.json").read_text())
    for model, c in (
        ("FuseChat-Qwen-2.5-7B-Instruct", "2.782559402207126"),
        ("gpt4_1106_preview", "cv"),
    ):
        code, printed, _ = inarch_says(
            *("evaluate", "alpaca", "--annotations", folder / f"annotations/{model}.csv"),
            *("--gamed", folder / "df_gamed.csv", "--c", c, "--json"),
        )
        assert code == 0
        right = expected[model]["length_controlled_winrate"]
        assert json.loads(printed)["lc_win_rate"] == pytest.approx(right, abs=1e-6)


@pytest.fixture
def arena(tmp_path):
    """Two models: one wins three rows of four, the other one of four."""
    rows = []
    for question in range(20):
        for model, wins in (("m", question % 4), ("n", question % 4 == 0)):
            winner = "model_b" if wins else "model_a"
            rows.append(
                {"question_id": f"q{question}", "model_a": "b", "model_b": model, "winner": winner}
            )
    path = tmp_path / "battles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_arena_and_compare(arena, inarch_says, tmp_path):
    code, printed, _ = inarch_says("evaluate", "arena", "--battles", arena, "--json")
    found = json.loads(printed)
    assert code == 0
    assert {model: row["score"] for model, row in found.items()} == {"m": 75, "b": 50, "n": 25}
    assert found["m"]["n_prompts"] == 20
    assert found["m"]["lower"] < 75 < found["m"]["upper"]
    turned = json.loads(
        inarch_says("evaluate", "arena", "--battles", arena, "--baseline", "b", "--json")[1]
    )
    assert turned == found
    code, printed, _ = inarch_says("evaluate", "arena", "--battles", arena, "--out", tmp_path / "r")
    assert code == 0
    assert "75.00" in printed
    a, b = tmp_path / "r/m.json", tmp_path / "r/n.json"
    code, printed, _ = inarch_says("evaluate", "compare", a, b, "--json")
    assert code == 0
    pair = json.loads(printed)
    assert (pair["a"], pair["b"], pair["difference"], pair["n"]) == ("m", "n", 50, 20)
    assert pair["lower"] < 50 < pair["upper"]
    # 15 of 20 prompts one way: as many or more by 20 tosses of a coin, either way
    assert pair["p_value"] == pytest.approx(0.0414, abs=0.008)
    assert inarch_says("evaluate", "compare", a, b, "--candidates", "0")[0] == 2
    code, printed, said = inarch_says("evaluate", "compare", a, b, b)
    assert code == 0
    assert "the best of 2 candidates" in said
    assert "97.5 % interval" in printed
    assert "of 2 comparisons, all at once (Holm): p 0.0" in printed


def test_compare_at_equal_length(alpaca, inarch_says, tmp_path):
    for model in ("x", "y", "z"):
        inarch_says("evaluate", *alpaca[:3], "--model", model, "--out", tmp_path)
    paths = [tmp_path / f"{model}.json" for model in ("x", "y", "z")]
    given = ("evaluate", "compare", *paths[:2], "--gamed", alpaca[-1], "--c", "2.5")
    code, printed, said = inarch_says(*given, "--solver", "exact", "--json")
    assert code == 0, said
    found = json.loads(printed)["length_controlled"]
    assert (found["difference"], found["n"], found["c"]) == (0, 9, [2.5, 2.5])
    alone = inarch_says("evaluate", *alpaca, "--c", "2.5", "--solver", "exact", "--json")[1]
    # alone also counts the instruction without a preference
    assert found["a_score"] == pytest.approx(json.loads(alone)["lc_win_rate"], abs=5)
    code, printed, _ = inarch_says("evaluate", "compare", *paths, *given[4:])
    assert code == 0
    assert printed.count("all, at equal length") == 2
    assert "p 1.0000, at equal length 1.0000" in printed
    assert "C = 2.5, 2.5" in printed
    code, _, said = inarch_says("evaluate", "compare", *paths[:2], "--c", "2")
    assert code == 2
    assert "--c and --solver have no effect without --gamed" in said
    code, _, said = inarch_says("evaluate", "compare", *paths, "--candidates", "1")
    assert code == 2
    assert "found 2 comparisons and candidates: 1" in said


def test_arena_with_style(arena, inarch_says, tmp_path):
    style = tmp_path / "s.csv"
    rows = [
        f"q{q},{model},{100 + 13 * q * (model == 'm')},1,{q % 3},0"
        for q in range(20)
        for model in "bmn"
    ]
    style.write_text(
        "question_id,model,token_len,header_count,list_count,bold_count\n" + "\n".join(rows) + "\n"
    )
    given = ["evaluate", "arena", "--battles", arena, "--style", style]
    code, printed, _ = inarch_says(*given, "--control", "length")
    assert code == 0
    assert "style, per standard deviation: length " in printed
    kept = (*given, "--control", "length", "--out", tmp_path / "r", "--json")
    found = json.loads(inarch_says(*kept)[1])
    assert found["m"]["score"] != 75
    made = json.loads((tmp_path / "r/m.json").read_text())["made"]
    assert made["settings"]["control"] == "length"
    assert {name: told.split()[0] for name, told in made["files"].items()} == {
        "battles": "battles.jsonl",
        "style": "s.csv",
    }
    for flags in (given, [*given[:4], "--control", "style"]):
        code, _, said = inarch_says(*flags)
        assert code == 2
        assert "--style and --control need each other" in said


def test_arena_of_one_category(inarch_says, tmp_path):
    path = tmp_path / "j.jsonl"
    games = [{"score": "B>A", "judgment": ""}, {"score": "A>B", "judgment": ""}]
    rows = [
        {
            "uid": str(i),
            "category": name,
            "model": "m",
            "judge": "j",
            "games": games[:: 1 - 2 * (i > 1)],
        }
        for i, name in enumerate(["hard_prompt", "hard_prompt", "creative_writing"])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["evaluate", "arena", "--battles", path, "--category"]
    found = json.loads(inarch_says(*given, "hard_prompt", "--json")[1])
    assert found["m"]["score"] == 100
    assert set(found) == {"m", "o3-mini-2025-01-31"}
    assert json.loads(inarch_says(*given, "creative_writing", "--json")[1])["m"]["score"] == 0
    code, _, said = inarch_says(*given, "maths")
    assert code == 2
    assert "found the categories hard_prompt, creative_writing, not 'maths'" in said


def test_arena_by_the_rules_of_either_version(inarch_says, tmp_path):
    # Won, and no verdict; lost twice. v2 leaves the first pair out.
    labels = {"q": ("B>A", None), "r": ("A>B", "B>A")}
    rows = [
        {"uid": uid, "model": "m", "games": [{"score": label, "judgment": ""} for label in two]}
        for uid, two in labels.items()
    ]
    path = tmp_path / "j.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("evaluate", "arena", "--battles", path)
    for flags, score, counts in (((), "0.00", "1 2"), (("--protocol", "v0.1"), "33.33", "2 1")):
        printed = inarch_says(*given, *flags)[1]
        [line] = [line.split() for line in printed.splitlines() if line.startswith(" m ")]
        assert (line[1], " ".join(line[-2:])) == (score, counts)


def test_arena_without_categories(arena, inarch_says):
    code, _, said = inarch_says("evaluate", "arena", "--battles", arena, "--category", "nocat")
    assert code == 2
    assert "the file has no categories; leave --category out" in " ".join(said.split())


def test_compare_with_the_gamed_rows_that_were_fetched(
    alpaca, shared_data, inarch_says, monkeypatch, tmp_path
):
    official = shared_data / "eval/alpaca_eval2/df_gamed.csv"
    if not official.is_file():
        pytest.skip(f"needs {official}, which is absent")
    for model in ("x", "y"):
        inarch_says("evaluate", *alpaca[:3], "--model", model, "--out", tmp_path)
    given = ("evaluate", "compare", tmp_path / "x.json", tmp_path / "y.json", "--c", "2", "--json")
    (tmp_path / "cache/alpaca_eval2").mkdir(parents=True)
    (tmp_path / "cache/alpaca_eval2/df_gamed.csv").write_bytes(official.read_bytes())
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))
    code, printed, said = inarch_says(*given)
    assert code == 0, said
    assert json.loads(printed)["length_controlled"]["c"] == [2, 2]


def test_battles_without_a_baseline(inarch_says, tmp_path):
    path = tmp_path / "battles.jsonl"
    keys = ("question_id", "model_a", "model_b", "winner")
    rows = [
        (f"q{q}", a, b, "model_a" if q % 4 else "model_b")
        for q in range(12)
        for a, b in (("x", "y"), ("y", "z"), ("z", "x"))
    ]
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    code, printed, _ = inarch_says("evaluate", "arena", "--battles", path, "--json")
    found = json.loads(printed)
    assert code == 0
    # in a circle all are equal
    assert [row["score"] for row in found.values()] == pytest.approx([50, 50, 50])
    assert found["x"].keys() >= {"score", "lower", "upper", "n_prompts", "elo", "finite"}
    given = ("evaluate", "arena", "--battles", path, "--anchor")
    code, printed, _ = inarch_says(*given, "y")
    assert code == 0
    assert "would win against y" in printed
    code, _, said = inarch_says(*given, "y", "--baseline", "x", "--out", tmp_path)
    assert code == 2
    assert "--baseline, --out: no effect" in said
    code, _, said = inarch_says(*given[:-1], "--control", "style")
    assert code == 2
    assert "--control: no effect" in said
    assert inarch_says(*given, "w")[0] == 2


def test_mtbench(inarch_says, tmp_path):
    path = tmp_path / "j.csv"
    path.write_text("question_id,model,turn,score\n81,m,1,8\n81,m,2,4\n101,m,1,3\n")
    code, printed, _ = inarch_says(
        "evaluate",
        "mtbench",
        "--judgments",
        path,
        "--out",
        tmp_path / "r",
        "--references",
        "0125",
        "--json",
    )
    assert code == 0
    found = json.loads(printed)["m"]
    assert (found["turn_1"], found["turn_2"], found["average"], found["n"]) == (5.5, 4, 5, 3)
    assert found["by_category"] == {"writing": 6, "reasoning": 3}
    record = json.loads((tmp_path / "r/m.json").read_text())["protocol"]
    assert record["references"] == "0125"
    printed = inarch_says("evaluate", "mtbench", "--judgments", path)[1]
    assert "reasoning" in printed
    [line] = [line.split() for line in printed.splitlines() if line.startswith(" m ")]
    assert (line[1:4], line[-2:]) == (["5.50", "4.00", "5.00"], ["3", "0"])


def test_mtbench_shows_whole_names_best_first(inarch_says, tmp_path):
    path = tmp_path / "j.csv"
    firsts = ["[a]", *"bcdef"]
    names = {f"{first}-{'0123456789' * 3}": 2 + i for i, first in enumerate(firsts)}
    rows = [f"81,{name},1,{score}" for name, score in names.items()] + ["81,none,1,-1"]
    path.write_text("question_id,model,turn,score\n" + "\n".join(rows) + "\n")
    printed = inarch_says("evaluate", "mtbench", "--judgments", path)[1]
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in printed
    first_table = lines[2 : lines.index(" " * 80, 4)]
    ratings = [line.split()[1] for line in first_table if "-" in line[:20]]
    assert ratings == ["7.00", "6.00", "5.00", "4.00", "3.00", "2.00"]
    assert [line.split()[1:] for line in lines if line.startswith(" writing")] == [
        ["7.00", "6.00", "5.00", "4.00"],
        ["3.00", "2.00"],
    ]
    assert "[a]-" + "0123456789" * 3 in "".join(line[1:20].strip() for line in first_table)
    assert printed.count("[a]-") == 2  # a row of the first table, and a heading


def test_mtbench_in_pairs(inarch_says, tmp_path):
    keys = ("question_id", "turn", "model_1", "model_2", "g1_winner", "g2_winner")
    rows = [
        (question, turn, model, "b", "model_1", "model_1" if question % 4 else second)
        for question in range(81, 101)
        for turn in (1, 2)
        for model, second in (("m", "tie"), ("n", "model_2"))
    ]
    path = tmp_path / "j.jsonl"
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    given = ("evaluate", "mtbench", "--judgments", path)
    code, printed, _ = inarch_says(*given, "--baseline", "b", "--json")
    assert code == 0
    found = json.loads(printed)
    # 15 of 20 questions won in both orders
    assert {m: row["win_rate_adjusted"] for m, row in found.items()} == {"m": 0.875, "n": 0.875}
    assert (found["m"]["consistent_frac"], found["m"]["win"]) == (0.75, 30)
    code, printed, _ = inarch_says(*given, "--out", tmp_path / "r", "--references", "0125")
    assert code == 0
    assert json.loads((tmp_path / "r/m.json").read_text())["protocol"]["references"] == "0125"
    assert "% of turns won against all others" in printed
    assert "in 75.0 % of 80 turns; being shown first is worth +18.8 points" in printed
    code, printed, _ = inarch_says(
        "evaluate", "compare", tmp_path / "r/m.json", tmp_path / "r/n.json"
    )
    assert code == 0
    assert "turns won against the baseline in both orders, in percent" in printed
    single = {"question_id": 81, "model": "m", "turn": 1, "score": 3}
    path.write_text(json.dumps(single) + "\n")
    code, _, said = inarch_says(*given, "--baseline", "b")
    assert code == 2
    assert "--baseline: no effect, as these judgments rate each model alone" in said


def test_a_comparison_says_of_what(inarch_says, tmp_path):
    paths = []
    for benchmark, score in (
        ("alpaca_eval2", "chance"),
        ("arena_hard", "battles"),
        ("mt_bench", "mean"),
        ("likelihood", "bits per byte; less is better"),
    ):
        for model, prompts in (("[a] " + "long " * 20, "pqr"), ("b", "qrs")):
            record = {"benchmark": benchmark, "version": "", "score": score}
            rows = [{"prompt": name, "category": "", "score": 1} for name in prompts]
            kept = {"format": "inarch evaluation 1", "protocol": record, "model": model}
            paths.append(tmp_path / f"{benchmark}{model[0]}.json")
            paths[-1].write_text(json.dumps(kept | {"scores": rows}))
    for i, expected in enumerate(
        (
            "win rate in %, not length-controlled, on the 2 shared prompts",
            "score in %, style not controlled, on the 2 shared prompts",
            "rating, 1 to 10, on the 2 shared prompts",
            "bits per byte; less is better, on the 2 shared prompts",
        )
    ):
        printed = inarch_says("evaluate", "compare", *paths[2 * i : 2 * i + 2])[1]
        assert printed.startswith("[a] long")
        assert printed.splitlines()[1] == expected
    given = ("evaluate", "compare", paths[0], paths[3], "--any-protocol")
    assert "not length-controlled against score in %" in inarch_says(*given)[1]


def test_a_wrong_file_is_a_message_and_not_a_traceback(inarch_says, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "🌱"}\n')
    for verb, flag in (
        ("alpaca", "--annotations"),
        ("arena", "--battles"),
        ("mtbench", "--judgments"),
    ):
        code, printed, said = inarch_says("evaluate", verb, flag, path)
        assert (code, printed) == (2, "")
        assert f"{path}:1: found the columns text, without" in " ".join(said.split()).replace(
            "- ", "-"
        )
        assert "Traceback" not in said


def test_scoring_loads_no_torch(arena):
    code = """if True:
        import atexit, sys
        heavy = {"torch", "transformers", "pyarrow", "datasets"}
        atexit.register(lambda: print("HEAVY", sorted(heavy & sys.modules.keys())))
        from inarch.cli.main import main
        main()
    """
    command = [sys.executable, "-c", code, "evaluate", "arena", "--battles", str(arena), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("HEAVY []\n")
