"""What `inarch diff` prints, read back line by line."""

import io

import pytest
from rich.console import Console

from inarch.cli import show
from inarch.cli.show_diff import _cosines, show_diff

NUMBERS = {"norm": 2.0, "relative": 0.5, "cosine": 0.875, "largest": 0.25, "changed_frac": 0.5}
Q = "model.layers.{}.self_attn.q_proj.weight"


def row(tensor, **changes):
    formats = {"shape": [4, 4], "dtype_a": "BF16", "dtype_b": "BF16", "nonfinite": 0}
    return {"tensor": tensor, **formats, **NUMBERS} | changes


@pytest.fixture
def printed(monkeypatch):
    """A function that prints a comparison, and returns its lines."""

    def printed(**changes):
        found = {
            "a": "models/[a]",
            "b": "models/b",
            "same_weights": False,
            "whole": NUMBERS,
            "layers": [
                {"layer": "model.layers.0", **NUMBERS},
                {"layer": "lm_head.weight", **NUMBERS, "relative": 0.25},
            ],
            "tensors": [row(Q.format(0)), row("lm_head.weight", relative=0.25, changed_frac=0.0)],
            **dict.fromkeys(("only_a", "only_b", "shapes", "files"), ()),
            "tokens": {},
        }
        screen = io.StringIO()
        monkeypatch.setattr(show, "output", Console(file=screen, width=100))
        show_diff(found | changes)
        return [" ".join(line.split()) for line in screen.getvalue().splitlines() if line.strip()]

    return printed


def test_what_moved(printed):
    lines = printed()
    assert lines[:8] == [
        "a models/[a]",
        "b models/b",
        "tensors that changed 1 of 2",
        "elements that changed 50.0%",
        "||b - a|| 2",
        "||b - a|| / ||a|| 0.5",
        "cosine of a and b 0.8750",
        "largest |b - a| 0.25",
    ]
    bars = [line for line in lines if "█" in line]
    assert [(line.split()[0], line.count("█")) for line in bars] == [
        ("model.layers.0", 50),  # 100 columns less 36 and the longest name
        ("lm_head", 25),
    ]
    assert bars[1].split()[2:] == ["0.25", "0.8750", "50.0%"]
    assert lines[-3:] == ["layer q", "0 0.500", "lm_head 0.250"]


def test_the_same(printed):
    assert printed(same_weights=True) == ["a models/[a]", "b models/b", "The weights are the same."]


def test_what_is_apart(printed):
    lines = printed(
        only_a=[f"x{i}" for i in range(10)],
        shapes=[{"tensor": "s", "a": [2], "b": [3]}],
        tensors=[row(Q.format(i), dtype_b="F32", nonfinite=2) for i in range(3)],
    )
    assert "only in a (10): x0, x1, x2, x3, x4, x5, x6, x7 and 2 more" in lines
    assert "other shape (1): s [2] and [3]" in lines
    assert "stored as BF16 in a and F32 in b: 3 tensors" in lines
    assert "NaN or infinite, left out 6" in lines


def test_what_is_beside_the_weights(printed):
    files = [{"file": "config.json", "key": f"k{i}", "a": "[1]", "b": None} for i in range(30)]
    tokens = {"num_only_a": 12, "num_only_b": 0, "num_other_id": 1}
    tokens |= {"only_a": [f"t{i}" for i in range(12)], "only_b": [], "other_id": ["[/]\n"]}
    lines = printed(same_weights=True, files=files, tokens=tokens)
    assert "config.json k0 [1] –" in lines
    assert "and 6 more; see --json" in lines
    assert lines[-2].startswith("tokens only in a (12): 't0', 't1'")
    assert lines[-2].endswith("and 4 more")
    assert lines[-1] == r"tokens with another id (1): '[/]\n'"


def test_nothing_in_common(printed):
    assert printed(tensors=[], layers=[], only_a=["x"])[2:] == ["only in a (1): x"]


def test_only_whole_numbers_in_common(printed):
    nothing = dict.fromkeys(("norm", "relative", "cosine", "largest"))
    whole = {"norm": 0.0, "relative": 0.0, "cosine": None, "largest": 0.0, "changed_frac": 0.0}
    lines = printed(tensors=[row("ids", **nothing)], layers=[], whole=whole)
    assert "cosine of a and b –" in lines


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 1.0], ["0.5000", "1.0000"]),
        ([0.99, 0.9999999], ["0.990000000", "0.999999900"]),  # two digits behind the nines
        ([1.0, None], ["1.0000", "–"]),
        ([-0.25], ["-0.2500"]),
    ],
)
def test_cosines_can_be_told_from_one(values, expected):
    assert _cosines(values) == expected
