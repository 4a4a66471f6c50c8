"""A page is one file that any browser shows, whatever the names in it, in light and dark."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from inarch import report
from inarch.report._html import tag
from inarch.report._style import COLOURS

ODD = ('<b>&"', "'", "🌳 树", "</svg><script>alert(1)</script>", "a\x00b\ud800", "x" * 300, " ")


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_shown_and_break_nothing(tmp_path, results, page, name):
    shown = re.sub("[\x00\ud800]", "\ufffd", name)
    results["skills"][0] = name
    results["models"][0]["name"] = name
    results["variants"]["plain"] = name
    results["match"][0]["source"] = name
    results["sentence"] = {name: [name]}
    for row in results["scores"]:
        row["skill"] = name if row["skill"] == "fact" else row["skill"]
        row["model"] = name if row["model"] == "facts" else row["model"]
    winners = results["winners"]["fusellm-0.5"]
    results["winners"]["fusellm-0.5"] = {name: winners["fact"] | {name: 3}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    found = page(tmp_path)
    assert "<script" not in found.html
    assert found.row("The models", shown)[0] == "source"
    assert any(shown in label for label in found.labels)
    all_are_well_formed(found, tmp_path)


@pytest.mark.parametrize("name", ODD[:4])
def test_odd_names_in_a_fuse_run(fuse_run, page, name):
    run = fuse_run(
        settings={"target": {"name": name, "path": name}, "sources": [{"name": name}], name: name},
        facts={"winners": {name: {name: 3, "label": 1}}, "spoken_frac": 1.0},
    )
    found = page(run)
    assert "<script" not in found.html
    assert found.row("Documents by who", name) == ["3", "1", "4"]
    assert found.row("Settings", name) == [name]
    all_are_well_formed(found, run)


def test_the_file_needs_nothing_beside_it(demo, results, page):
    html = page(demo(results)).html
    assert re.findall(r"https?://[^\"' ]+", html) == []
    assert not re.search(r"<(script|img|iframe|object|link(?! rel=\"icon\" href=\"data:))", html)
    assert not re.search(r"@import|url\(", html)


def test_every_plot_has_words_for_those_who_cannot_see_it(demo, results, page):
    folder = demo(results)
    found = page(folder)
    plots = sorted((folder / "plots").glob("*.svg"))
    assert found.html.count("<svg ") == found.html.count('role="img" aria-label="') == len(plots)
    assert all(len(label) > 5 for label in found.labels)
    assert "FuseLLM, λ 0.5 74" in " ".join(found.labels)
    assert '<html lang="en">' in found.html
    assert 'content="width=device-width, initial-scale=1"' in found.html
    for plot in plots:
        described = {child.tag.split("}")[1] for child in ET.parse(plot).getroot()}
        assert {"title", "desc", "style"} <= described


def test_text_escapes_and_markup_does_not():
    inner = tag("b", 'a<&"')
    assert inner == "<b>a&lt;&amp;&quot;</b>"
    assert tag("p", inner, None, 3, class_='"') == f'<p class="&quot;">{inner}3</p>'
    assert tag("line", stroke_width=2, x1=None) == '<line stroke-width="2"></line>'


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_can_be_read(mode):
    blocks = re.findall(r":root \{(.*?)\}", COLOURS, re.S)
    colour = {name: rgb(code) for name, code in re.findall(r"--(\w+): (#\w+);", blocks[mode])}
    for text in ("text", "soft", "accent", "second"):
        for ground in ("ground", "card"):
            assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground)
    assert contrast(colour["text"], colour["warn"]) >= 4.5
    # the darkest cell of a heat map: 60% of its colour over the card
    for kind in ("cell", "below"):
        cell = [0.6 * a + 0.4 * b for a, b in zip(colour[kind], colour["card"], strict=True)]
        assert contrast(colour["text"], cell) >= 4.5
    for line in ("accent", "second", "quiet"):
        assert contrast(colour[line], colour["card"]) >= 3.0


def test_a_report_loads_no_model_library(demo, results):
    code = (
        "import sys; from inarch import report; report.build(sys.argv[1]);"
        "sys.exit(bool({'torch', 'transformers', 'matplotlib'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(demo(results))], check=False)
    assert ended.returncode == 0


def test_building_twice_gives_the_same_bytes(demo, results):
    folder = demo(results)
    first = report.build(folder).read_bytes()
    (folder / "plots" / "99-old.svg").write_text("of an earlier report")
    assert report.build(folder).read_bytes() == first
    assert not (folder / "plots" / "99-old.svg").exists()


def all_are_well_formed(found, folder):
    for svg in re.findall(r"<svg .*?</svg>", found.html, re.S):
        ET.fromstring(svg)
    for plot in (folder / "plots").iterdir():
        ET.parse(plot)


def rgb(code):
    return [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def contrast(a, b):
    """The ratio of WCAG 2: (lighter + 0.05) / (darker + 0.05) of relative luminance."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
