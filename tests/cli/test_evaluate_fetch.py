"""`inarch evaluate fetch` from a folder, and what other verbs do with what is fetched."""

import hashlib
import json
import subprocess
import sys

import pytest

from inarch.evaluate.judges import official
from inarch.evaluate.judges.official import OfficialFile

GAMED = (
    "preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model\n"
    + "".join(
        f"{0.1 + 0.08 * (i % 10)},{i % 10},{(i - 9) / 5},{(i % 10 - 4) / 3},False,v\n"
        for i in range(20)
    )
)
TEXTS = {"alpaca_eval2/df_gamed.csv": GAMED, "mt_bench/question.jsonl": "{}\n"}


@pytest.fixture(autouse=True)
def source(tmp_path, monkeypatch):
    """A folder with the official files, which are two here, and an empty cache."""
    files = []
    for name, text in TEXTS.items():
        path = tmp_path / "usb" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        licence = official.NON_COMMERCIAL if "alpaca" in name else "Apache-2.0"
        digest = hashlib.sha256(text.encode()).hexdigest()
        files.append(OfficialFile(name, "it", len(text), digest, (f"https://a/{name}",), licence))
    monkeypatch.setattr("inarch.evaluate.judges.official_fetch.FILES", tuple(files))
    monkeypatch.setattr(official, "_BY_NAME", {file.name: file for file in files})
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "usb"


def test_fetched_files_are_listed(inarch_says, source, tmp_path):
    code, printed, _ = inarch_says("evaluate", "fetch", "mtbench", "--from", source, "--json")
    assert code == 0
    digest = hashlib.sha256(b"{}\n").hexdigest()
    path = tmp_path / "cache/mt_bench/question.jsonl"
    row = {"name": "mt_bench/question.jsonl", "path": str(path), "size": 3, "digest": digest}
    assert json.loads(printed) == {
        "folder": str(tmp_path / "cache"),
        "files": [row | {"licence": "Apache-2.0", "how": "taken"}],
    }
    assert path.read_text() == "{}\n"
    code, printed, _ = inarch_says("evaluate", "fetch", "--from", source)
    assert code == 0
    assert "CC BY-NC 4.0, no commercial use: alpaca_eval2/df_gamed.csv\n" in printed
    assert [printed.count(how) for how in ("was there", "taken")] == [1, 1]
    assert f"in {tmp_path / 'cache'}" in printed


def test_without_a_network_it_says_what_to_do(inarch_says, source):
    code, printed, said = inarch_says("evaluate", "fetch", "alpaca")
    assert (code, printed) == (2, "")
    assert "found HF_HUB_OFFLINE set, so alpaca_eval2/df_gamed.csv is not fetched" in said
    assert "https://a/alpaca_eval2/df_gamed.csv elsewhere and give its folder with --from" in said
    (source / "alpaca_eval2/df_gamed.csv").write_text(GAMED[:-1])
    code, _, said = inarch_says("evaluate", "fetch", "alpaca", "--from", source)
    assert code == 2
    assert "has other content" in said
    code, _, said = inarch_says("evaluate", "fetch", "lpaca")
    assert code == 2
    assert "found no benchmark 'lpaca'; expected some of alpaca, arena, mtbench" in said


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{i},{100 + 10 * i},{150 - 7 * i},{1.2 + 0.07 * i}" for i in range(10)]
    path.write_text("\n".join(["idx805,len_1,len_2,preference", *rows]) + "\n")
    return ["evaluate", "alpaca", "--annotations", path, "--json"]


def test_alpaca_takes_what_is_fetched_and_says_so(inarch_says, source, annotations, tmp_path):
    own = source / "alpaca_eval2/df_gamed.csv"
    expected = json.loads(inarch_says(*annotations, "--gamed", own)[1])
    _, printed, said = inarch_says(*annotations)
    assert json.loads(printed)["lc_win_rate"] is None
    assert "fetched" not in said
    code, _, said = inarch_says(*annotations, "--c", "2")
    assert code == 2
    assert "--c: no effect, as length is not controlled without --gamed; give it, too, or" in said
    assert inarch_says("evaluate", "fetch", "alpaca", "--from", source)[0] == 0
    for more in ([], ["--c", str(expected["c"])]):
        _, printed, said = inarch_says(*annotations, *more)
        assert json.loads(printed) == expected
        assert "controlled by" in " ".join(said.split())
    own.write_text(GAMED.replace("0.1,0,", "0.9,0,"))
    given = json.loads(inarch_says(*annotations, "--gamed", own)[1])
    assert given["lc_win_rate"] != expected["lc_win_rate"]
    (tmp_path / "cache/alpaca_eval2/df_gamed.csv").write_text(GAMED[:-1])
    code, _, said = inarch_says(*annotations)
    assert code == 2
    assert "found other content" in said


@pytest.mark.parametrize("is_of_set", [False, True])
def test_gamed_rows_are_of_the_official_set_and_baseline_only(
    inarch_says, source, tmp_path, monkeypatch, is_of_set
):
    inarch_says("evaluate", "fetch", "alpaca", "--from", source)
    monkeypatch.setattr("inarch.evaluate.alpaca.score.is_of_set", lambda _: is_of_set)
    same = {"generator_2": "m", "annotator": "j", "output_1": "a"}
    same["generator_1"] = "another" if is_of_set else "gpt4_1106_preview"
    own = [
        same | {"instruction": f"own {i}", "output_2": "b" * i, "preference": 1 + i / 10}
        for i in range(10)
    ]
    path = tmp_path / "own.json"
    path.write_text(json.dumps(own))
    code, printed, _ = inarch_says("evaluate", "alpaca", "--annotations", path, "--json")
    assert code == 0
    assert json.loads(printed)["lc_win_rate"] is None


def test_help_and_fetch_load_nothing_heavy(source):
    code = """if True:
        import atexit, sys
        heavy = {"torch", "transformers", "pyarrow", "datasets", "huggingface_hub"}
        atexit.register(lambda: print("HEAVY", sorted(heavy & sys.modules.keys())))
        from inarch.cli.main import main
        main()
    """
    command = [sys.executable, "-c", code, "evaluate", "fetch", "lpaca"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == "HEAVY []\n"
