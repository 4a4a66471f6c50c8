"""The page of a merged model, and of a recipe that is explained."""

import json

import pytest

from inarch import report

RECIPE = "merge_method: sce\nmodels:\n- model: a<b>\n"


def rows(coefficients=(0.25, 0.75)):
    names = ["model.embed_tokens.weight", *(f"model.layers.{i}.mlp.up_proj.weight" for i in (0, 1))]
    return [
        {
            "tensor": name,
            "method": "sce",
            "models": ["hub/math", "hub/code"],
            "base": "hub/base",
            "parameters": {"select_topk": 0.1},
            "coefficients": list(coefficients) if coefficients else None,
        }
        for name in names
    ]


@pytest.fixture
def merged(tmp_path):
    """Write a folder as a merge leaves it."""

    def write(lines=None, **manifest):
        whole = {
            "stage": "merge",
            "settings": {"merge_method": "sce"},
            "status": "done",
            "wall_s": 75.0,
            "peak_memory_gib": 0.12,
            "facts": {"notes": ["variant: mergekit, as the recipe says none"]},
        }
        (tmp_path / "manifest.json").write_text(json.dumps(whole | manifest))
        (tmp_path / "merge.yaml").write_text(RECIPE)
        lines = rows() if lines is None else lines
        (tmp_path / "tensors.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
        return tmp_path

    return write


def test_what_the_page_says(merged, page):
    found = page(merged())
    for part in ("sce", "1 min 15 s", "0.12 GiB", "variant: mergekit", "- model: a<b>"):
        assert part in found.text
    assert "Factor on each model, by layer and matrix; sce." in found.text
    assert found.row("math", "0–1") == ["0.25"]
    assert found.row("code", "embed_tokens") == ["0.75"]
    assert "code: factor on each model from 0.75 to 0.75" in found.labels
    assert "not finished" not in found.text


def test_the_largest_of_all_models_is_the_darkest(merged, page):
    html = page(merged()).html
    # .04 + .56 / 3 for .25, .60 for .75
    assert html.count('fill-opacity="0.227"') == 2
    assert html.count('fill-opacity="0.600"') == 2


def test_a_merge_that_goes_on(merged, page):
    found = page(merged(rows()[:2], status="running"))
    assert "This merge is not finished: 2 tensors are." in found.text


def test_a_merge_that_has_just_begun(merged, page):
    folder = merged([], status="running")
    for name in ("tensors.jsonl", "merge.yaml"):
        (folder / name).unlink()
    assert "0 tensors are" in page(folder).text


def test_a_method_without_coefficients(merged, page):
    found = page(merged(rows(None)))
    assert "sce: no single number says how much of a model is in a tensor." in found.text
    assert "<svg" not in found.html


def test_a_recipe_explained(tmp_path):
    path = report.build_explained(rows(), "my recipe", tmp_path / "new" / "page.html")
    html = path.read_text()
    assert "Merge explained: my recipe" in html
    assert html.count("<svg") == 2
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["page.html"]
