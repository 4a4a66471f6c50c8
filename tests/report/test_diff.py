"""The page of a comparison."""

import pytest
from tests.report.conftest import Page

from inarch import report

NUMBERS = {"norm": 2.0, "relative": 0.5, "cosine": 0.9, "largest": 0.25, "changed_frac": 0.5}


def row(tensor, **changes):
    formats = {"shape": [4, 4], "dtype_a": "BF16", "dtype_b": "BF16", "nonfinite": 0}
    return {"tensor": tensor, **formats, **NUMBERS} | changes


def found(**changes):
    """What `inarch.flows.diff.run` returns, to be changed at will."""
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(14)]
    return {
        "a": "models/a<b>",
        "b": "models/b",
        "same_weights": False,
        "whole": NUMBERS,
        "layers": [{"layer": "model.layers.3", **NUMBERS}],
        "tensors": [row(name, relative=0.1 * i) for i, name in enumerate(names)],
        "only_a": [],
        "only_b": [],
        "shapes": [],
        "files": [],
        "tokens": {},
    } | changes


@pytest.fixture
def page(tmp_path):
    return lambda **changes: Page(report.build_diff(found(**changes), tmp_path / "new" / "d.html"))


def test_what_moved(page, tmp_path):
    shown = page()
    assert "14 of 14 shared tensors changed. model.layers.3 moved most for its size." in shown.text
    table = shown.tables["The tensors that moved most for their size"]
    assert [cells[0] for cells in table[1:3]] == [
        "model.layers.13.mlp.up_proj.weight",
        "model.layers.12.mlp.up_proj.weight",
    ]
    assert len(table) == 13
    assert table[1][1:] == ["1.3", "2", "0.9", "0.25", "50%", "BF16"]
    assert len(shown.tables[""]) == 15  # all of them, behind a fold
    assert shown.html.count("<svg") == 2
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["d.html"]


def test_the_same(page):
    shown = page(same_weights=True)
    assert "The weights are the same: all 14 tensors, number for number." in shown.text
    assert "<svg" not in shown.html


def test_what_is_apart(page):
    shapes = [{"tensor": "s.weight", "a": [2], "b": [3]}]
    rows = [row("w.weight", dtype_b="F32", nonfinite=3)]
    shown = page(only_a=["x.weight"], only_b=["y.weight", "z.weight"], shapes=shapes, tensors=rows)
    assert "1 tensors are only in a, 2 tensors are only in b and 1 tensors have another shape." in (
        shown.text.replace("1 of 1 shared tensors changed, ", "")
    )
    assert shown.row("Cannot be compared", "y.weight") == ["only in b"]
    assert shown.row("Cannot be compared", "s.weight") == ["[2] in a, [3] in b"]
    assert shown.row("The tensors that", "w.weight")[-1] == "BF16 → F32"
    assert "NaN or infinite, left out" in shown.text


def test_nothing_in_common(page):
    nothing = dict.fromkeys(NUMBERS)
    shown = page(tensors=[], layers=[], whole=nothing | {"changed_frac": 0.0}, only_a=["x"])
    assert "1 tensors are only in a." in shown.text


def test_what_is_beside_the_weights(page):
    files = [
        {"file": "config.json", "key": "rope.theta", "a": "1e4", "b": None},
        {"file": "chat_template.jinja", "key": None, "a": "there", "b": "x" * 300},
    ]
    tokens = {"num_only_a": 1200, "num_only_b": 0, "num_other_id": 1}
    tokens |= {"only_a": ["<|a|>", "\n"], "only_b": [], "other_id": ["c"]}
    shown = page(files=files, tokens=tokens)
    assert shown.row("Configs", "config.json") == ["rope.theta", "1e4", "–"]
    assert shown.row("Configs", "chat_template.jinja") == ["", "there", "x" * 199 + "…"]
    assert shown.row("Tokens", "only in a") == ["1,200", r"'<|a|>' '\n'"]
    assert [cells[0] for cells in shown.tables["Tokens"][1:]] == ["only in a", "with another id"]


def test_numbers_that_are_not_known(page):
    rows = [row("w.weight", relative=None, cosine=None), row("v.weight")]
    assert page(tensors=rows).row("The tensors that", "w.weight")[:4] == ["–", "2", "–", "0.25"]


def test_shares_that_are_nearly_none_or_all(page):
    rows = [
        row(f"model.layers.{i}.q.weight", changed_frac=share)
        for i, share in enumerate([0.0, 0.001, 0.999, 1.0])
    ]
    html = page(tensors=rows).html
    cells = [f">{text}</text>" for text in ("0", "&lt;1", "99", "100")]
    assert all(cell in html for cell in cells)
