"""AlpacaEval's files: read, written, and refused with the row's name."""

import csv
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import DataError
from inarch.evaluate.alpaca import files
from inarch.evaluate.alpaca._index import index_of, prompt_id
from inarch.evaluate.alpaca.files import Annotation

FIRST = "What are the names of some famous actors that started their careers on Broadway?"


def annotation(number: int = 0, **change) -> dict:
    return {
        "instruction": f"instruction {number}",
        "output_1": "base " * (number + 1),
        "output_2": "model" * (number + 1),
        "generator_1": "b",
        "generator_2": "m",
        "annotator": "judge",
        "preference": 1.5,
        "dataset": "koala",
    } | change


def written(tmp_path, rows, name="annotations.json"):
    path = tmp_path / name
    path.write_text(json.dumps(rows) if not isinstance(rows, str) else rows, encoding="utf-8")
    return path


CSV = "row,idx805,len_1,len_2,preference,is_switched,same_output\n"


# ------------------------------------------------------------------------------------ reading


def test_numbers_are_read_from_texts_in_characters(tmp_path):
    # an emoji is one character of Python, four bytes of UTF-8; words would be 2 and 3
    rows = [
        annotation(
            0, output_1="two words", output_2="🌱 is one", preference=1.9, instruction=FIRST
        ),
        annotation(1, output_1="", output_2="é\n", preference=None, dataset=None),
        annotation(2, preference=math.nan, price_per_example=0.1),
    ]
    found = files.read_judged(written(tmp_path, rows))
    assert found.baseline_chars_N.tolist() == [9, 0, 15]
    assert found.model_chars_N.tolist() == [8, 2, 15]
    assert found.preference_N[0] == 1.9
    assert [math.isnan(p) for p in found.preference_N] == [False, True, True]
    assert found.index_N.tolist() == [0, -1, -1]
    assert found.prompts[0] == "idx805:0"
    assert len(set(found.prompts)) == 3
    assert (found.model, found.baseline, found.annotator) == ("m", "b", "judge")
    assert found.datasets == ("koala", "", "koala")
    assert not found.is_baseline


def test_a_csv_of_numbers(tmp_path):
    path = written(tmp_path, CSV + "0,4,10,20,1.25,1,0\n1,6,30,5,,0,0\n", "some-model.csv")
    found = files.read_judged(path)
    assert found.model == "some-model"
    assert found.index_N.tolist() == [4, 6]
    assert (found.baseline_chars_N.tolist(), found.model_chars_N.tolist()) == ([10, 30], [20, 5])
    assert found.preference_N[0] == 1.25
    assert math.isnan(found.preference_N[1])
    assert found.where == (f"{path}:2", f"{path}:3")
    assert files.read_judged(path, "other").model == "other"


def test_the_baseline_is_known_by_its_answers(tmp_path):
    same = written(tmp_path, CSV + "0,0,7,7,1.5,1,1\n1,1,8,8,1.5,0,1\n", "x.csv")
    assert files.read_judged(same).is_baseline
    rows = [annotation(0, generator_2="b", output_2="other")]
    assert files.read_judged(written(tmp_path, rows)).is_baseline
    rows = [annotation(0, output_1="same", output_2="same"), annotation(1)]
    assert not files.read_judged(written(tmp_path, rows)).is_baseline


def test_the_instructions_are_known_by_their_hash(eval_data):
    with (eval_data / "alpaca_eval2/instructions_index.csv").open() as file:
        rows = list(csv.DictReader(file))
    from inarch.evaluate.alpaca._index import _DIGITS, _INDEX

    assert len(_INDEX) == len(rows) == 805
    for row in rows:
        assert _INDEX[row["instruction_sha256"][:_DIGITS]] == int(row["idx"])


def test_other_instructions_go_by_their_place(tmp_path, caplog):
    found = files.read_judged(written(tmp_path, [annotation(0), annotation(1)]))
    assert found.index_N.tolist() == [0, 1]
    assert "none of the 2 instructions is AlpacaEval's" in caplog.text
    assert index_of("instruction 0") == -1
    assert prompt_id("instruction 0") != prompt_id("instruction 1")
    assert prompt_id("\ud83d alone")


def test_one_model_of_several(tmp_path):
    rows = [annotation(0), annotation(0, generator_2="n", preference=2), annotation(1)]
    path = written(tmp_path, rows)
    assert files.read_judged(path, "n").preference_N.tolist() == [2]
    with pytest.raises(DataError, match=r"row 1: generator_2: found 'n' after 'm'"):
        files.read_judged(path)
    with pytest.raises(DataError, match="no answer by 'k'"):
        files.read_judged(path, "k")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ANNOTATIONS = st.builds(
    Annotation,
    *[TEXTS] * 6,
    st.one_of(st.floats(1, 2), st.just(0.0)),
    TEXTS,
    st.dictionaries(st.sampled_from(["price", "raw_completion"]), st.one_of(st.integers(), TEXTS)),
)


@given(st.lists(ANNOTATIONS, min_size=1, max_size=4))
def test_annotations_are_read_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("a") / "annotations.json"
    files.write_annotations(path, rows)
    assert files.read_annotations(path) == tuple(rows)


def test_what_is_written_has_the_official_shape(tmp_path):
    row = Annotation("i", "o", "p", "b", "m", "judge", math.nan, "koala", {"price": 1})
    files.write_annotations(tmp_path / "a.json", [row])
    (found,) = json.loads((tmp_path / "a.json").read_text())
    assert list(found.items()) == [
        ("instruction", "i"),
        ("output_1", "o"),
        ("generator_1", "b"),
        ("dataset", "koala"),
        ("output_2", "p"),
        ("generator_2", "m"),
        ("annotator", "judge"),
        ("preference", None),
        ("price", 1),
    ]


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", "", "holds no rows"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", '[{"instruction": "x"', "was the file cut"),
        ("a.json", '{"instruction": "x"}', "found dict, expected a list"),
        ("a.json", "[3]", r"row 0: found int, expected an object"),
        ("a.json", '[{"text": "x"}]', r"row 0: found the columns text, without instruction"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.txt", "x", "found a .txt file"),
        ("a.csv", "", "holds no rows"),
        ("a.csv", CSV, "holds no rows"),
        ("a.csv", "a,b\n1,2\n", r":2: found the columns a, b, without instruction"),
        ("a.csv", CSV + "0,0,10,20,1.5,1,0\n1,1,10,2", r":3: found 4 fields, expected 7"),
        ("a.csv", CSV + '0,0,10,20,1.5,1,"', r"not CSV .* was the file cut"),
        ("a.csv", CSV + "0,0,10,,1.5,1,0\n", r":2: len_2: found none, expected a number"),
        ("a.csv", CSV + "0,0,nan,1,1.5,1,0\n", r":2: len_1: found none, expected a number"),
        ("a.csv", CSV + "0,0,ten,1,1.5,1,0\n", r":2: len_1: found 'ten', expected a number"),
        ("a.csv", CSV + "0,0,inf,1,1.5,1,0\n", r":2: len_1: found 'inf', expected a number"),
        ("a.csv", CSV + "0,0,1,1,🌱,1,0\n", r":2: preference: found '🌱', expected a number"),
        ("a.csv", CSV + "0,1.5,1,1,1,1,0\n", r":2: idx805: found 1.5, expected a whole number"),
        ("a.csv", CSV + "0,3,1,1,1,1,0\n1,3,1,1,1,1,0\n", r":3: found an instruction that .*:2"),
        ("a.csv", CSV.replace("len_1", "len_2"), "found a column twice"),
    ],
)
def test_a_wrong_file_is_refused_by_its_row(tmp_path, name, content, complaint):
    with pytest.raises(DataError, match=complaint):
        files.read_judged(written(tmp_path, content, name))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"preference": "good"}, "row 1: preference: found 'good', expected a number"),
        ({"preference": True}, "row 1: preference: found True, expected a number"),
        ({"preference": [1]}, r"row 1: preference: found \[1\], expected a number"),
        ({"output_2": None}, "row 1: output_2: found None, expected a text"),
        ({"generator_1": "c"}, "row 1: generator_1: found 'c' after 'b'"),
        ({"annotator": "c"}, "row 1: annotator: found 'c' after 'judge'"),
        ({"instruction": "instruction 0"}, "row 1: found an instruction that .* row 0 has"),
    ],
)
def test_a_wrong_annotation_is_refused_by_its_row(tmp_path, change, complaint):
    with pytest.raises(DataError, match=complaint):
        files.read_judged(written(tmp_path, [annotation(0), annotation(1, **change)]))


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        files.read_judged(tmp_path / "absent.json")
    (tmp_path / "latin.csv").write_bytes(CSV.encode() + b"\xe9")
    with pytest.raises(DataError, match=f"byte {len(CSV)} is not UTF-8"):
        files.read_judged(tmp_path / "latin.csv")


GAMED = "preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model\n"


def test_gamed_rows_and_the_first_difficulty_of_each_instruction(tmp_path):
    rows = "0.9,0,-1.5,0.5,False,v\n0.8,1,-2,0.25,False,v\n0.1,0,1,0.75,False,c\n"
    found = files.read_gamed(written(tmp_path, GAMED + rows, "g.csv"))
    assert found.chance_G.tolist() == [0.9, 0.8, 0.1]
    assert found.length_G.tolist() == [-1.5, -2, 1]
    assert found.difficulty_G.tolist() == [0.5, 0.25, 0.75]
    assert found.difficulty_of == {0: 0.5, 1: 0.25}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (GAMED + "1.9,0,-1.5,0.5,False,v\n", r":2: preference: found 1.9, expected a chance"),
        (GAMED + "0.9,0,-1.5,,False,v\n", r":2: instruction_difficulty: found none"),
        (CSV + "0,0,10,20,1.5,1,0\n", r"without index, std_delta_len, .* df_gamed.csv"),
    ],
)
def test_a_wrong_gamed_file(tmp_path, content, complaint):
    with pytest.raises(DataError, match=complaint):
        files.read_gamed(written(tmp_path, content, "g.csv"))


# ------------------------------------------------------------------------------------ leaderboards


def test_a_leaderboard_is_read_as_it_was_written(eval_data, tmp_path):
    path = eval_data / "alpaca_eval2/leaderboard_published.csv"
    rows = files.read_leaderboard(path)
    assert len(rows) > 200
    assert rows["NullModel"]["n_total"] == "805"
    files.write_leaderboard(tmp_path / "l.csv", rows)
    assert (tmp_path / "l.csv").read_bytes() == path.read_bytes().replace(b"\r\n", b"\n")


def test_a_row_is_added_or_replaced(tmp_path):
    from inarch.evaluate.alpaca.preferences import WinRate

    path = tmp_path / "l.csv"
    for win_rate in (40.0, 41.5):
        rate = WinRate(win_rate, 1.25, 42.0, 4, 1, 2, 1, 0)
        files.add_to_leaderboard(path, "m, x", files.leaderboard_row(rate, None, 17))
    assert path.read_text() == (
        ",win_rate,standard_error,n_wins,n_wins_base,n_draws,n_total,discrete_win_rate,mode,"
        "avg_length,length_controlled_winrate,lc_standard_error\n"
        '"m, x",41.5,1.25,1,2,1,4,42.0,community,17,,\n'
    )
    other = files.read_leaderboard(path)["m, x"]
    files.write_leaderboard(path, {"n": {name: v for name, v in other.items() if name != "mode"}})
    with pytest.raises(DataError, match="found the columns"):
        files.add_to_leaderboard(path, "m", other)
