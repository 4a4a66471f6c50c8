"""The demo from end to end, tiny in the fast lane and real in the slow one."""

import json
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.tiny import byte_level, save_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from inarch.demo.experiment import Size, fused
from inarch.demo.merges import MERGES, merged
from inarch.demo.results import ALL_SKILLS, Results
from inarch.demo.run import SEEDS, DemoSettings, grow, plan, run
from inarch.demo.world import SKILLS
from inarch.errors import SettingsError
from inarch.flows._prune import models as _prune_models

TINY = Size(
    ("plain", "pairs"),
    teaching_frac=0.002,
    num_lessons=60,
    num_chats=12,
    epochs=1,
    num_test=4,
    merges=("merge-mean", "merge-varm"),
    pruned="plain",
)
PAIRS = ["pair-facts", "pair-translator", "pair-reckoner"]
NAMES = ["facts", "translator", "reckoner", "target", "plain", *PAIRS, *TINY.merges]


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """One thread of this process, which has torch loaded already."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, pool: Executor) -> tuple[Path, Results]:
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_prune_models, "verify", lambda *args, **kwargs: None)
        return out, grow(out, (9,), _with_stories(out), pool)


def _with_stories(out: Path) -> Size:
    """The tiny demo, and a model that writes."""
    writer = out.parent / "writer"
    save_model(writer, byte_level())
    return TINY._replace(stories=str(writer))


def _manifests(out: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in out.glob("seed-*/**/manifest.json")}


def test_every_model_has_a_score_on_every_skill(tiny: tuple[Path, Results]) -> None:
    out, results = tiny
    assert [row.model for row in results.rows] == NAMES
    told = json.loads((out / "results.json").read_text())
    cells = [(s["seed"], s["model"], s["skill"]) for s in told["scores"]]
    assert cells == [(9, name, skill) for name in NAMES for skill in SKILLS]
    assert all(0 <= s["piece_frac"] <= 1 and s["bits_per_byte"] > 0 for s in told["scores"])


def test_gains_are_differences_to_plain_training(tiny: tuple[Path, Results]) -> None:
    rows = {row.model: row for row in tiny[1].rows}
    for name, row in rows.items():
        assert bool(row.gain) == (name in NAMES[5:])
        for skill, gain in row.gain.items():
            plain = rows["plain"].piece_frac[skill][0]
            assert gain == pytest.approx((row.piece_frac[skill][0] - plain,))
        assert row.piece_frac[ALL_SKILLS][0] == pytest.approx(
            statistics.fmean(row.piece_frac[skill][0] for skill in SKILLS)
        )


def test_winners_and_matches_are_told(tiny: tuple[Path, Results]) -> None:
    facts = tiny[1].facts
    for name in PAIRS:
        assert {s: sum(n.values()) for s, n in facts["winners"][name].items()} == dict.fromkeys(
            SKILLS, TINY.num_chats // 3
        )
    assert [(m["source"], m["wrong"]) for m in facts["match"]] == [(n, 0) for n in NAMES[:3]]
    assert all(m["used"] == m["available"] for m in facts["match"])
    assert {"".join(tokens).strip() for tokens in facts["sentence"].values()} != {""}


def test_merges_are_compared_with_the_mean_of_the_pairs(tiny: tuple[Path, Results]) -> None:
    rows = {row.model: row for row in tiny[1].rows}
    mean = statistics.fmean(rows[name].piece_frac[ALL_SKILLS][0] for name in PAIRS)
    for name, row in rows.items():
        if name in TINY.merges:
            assert row.over_pairs == pytest.approx((row.piece_frac[ALL_SKILLS][0] - mean,))
        else:
            assert row.over_pairs == ()


def test_merges_are_told_with_their_weights(tiny: tuple[Path, Results]) -> None:
    told = json.loads((tiny[0] / "results.json").read_text())["merges"]
    assert list(told) == list(TINY.merges)
    assert told["merge-mean"]["method"] == "linear"
    (weights,) = told["merge-mean"]["coefficients"]
    assert weights == pytest.approx(dict.fromkeys(NAMES[:3], 1 / 3))
    (weights,) = told["merge-varm"]["coefficients"]
    assert sum(weights.values()) == pytest.approx(1.0)


def test_removals_begin_with_the_model_that_was_scored(tiny: tuple[Path, Results]) -> None:
    out, results = tiny
    told = json.loads((out / "results.json").read_text())["pruned"]
    plain = {s["skill"]: s["piece_frac"] for s in results.facts["scores"] if s["model"] == "plain"}
    whole = [row for row in told["removals"] if row["blocks"] == 0]
    assert [row["method"] for row in whole] == list(told["methods"])
    assert all(row["seed"] == 9 and row["piece_frac"] == plain for row in whole)
    assert told["label"] == "plain training"
    assert told["stories"]["num_blocks"] == 4
    assert sum("BlockPruner" in finding for finding in results.findings) == 5


def test_a_story_teller_that_is_not_there_is_told_at_once(tmp_path: Path, pool: Executor) -> None:
    with pytest.raises(SettingsError, match="found no model in nowhere"):
        grow(tmp_path / "out", (9,), TINY._replace(stories="nowhere"), pool)
    assert not (tmp_path / "out").exists()


def test_only_a_whole_demo_prunes_and_tells_stories_if_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert DemoSettings().size.stories == ""
    monkeypatch.setattr(sys.modules[DemoSettings.__module__], "STORIES", tmp_path)
    assert DemoSettings().size.stories == str(tmp_path)
    assert DemoSettings(stories="").size.stories == ""
    assert DemoSettings().size.pruned == "fusellm-0.5"
    quick = DemoSettings(quick=True, stories="x").size
    assert (quick.pruned, quick.aligned, quick.stories) == ("", False, "")


def test_what_it_leaves_is_a_plain_model(tiny: tuple[Path, Results]) -> None:
    seed = tiny[0] / "seed-9"
    for folder in (*fused("pairs", seed).values(), merged("merge-varm", seed)):
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(folder))
        assert model.config.eos_token_id == AutoTokenizer.from_pretrained(folder).eos_token_id


def test_a_second_run_does_only_what_is_missing(tiny: tuple[Path, Results], pool: Executor) -> None:
    out, results = tiny
    before = _manifests(out)
    (out / "results.json").unlink()
    (out / "seed-9" / "scores" / "plain" / "manifest.json").unlink()
    again = grow(out, (9,), _with_stories(out), pool)
    assert again.rows == results.rows
    assert again.facts["pruned"] == results.facts["pruned"]
    changed = {path for path, text in _manifests(out).items() if text != before[path]}
    assert changed == {out / "seed-9" / "scores" / "plain" / "manifest.json"}
    assert (out / "results.json").exists()


def test_the_plan_counts_every_step() -> None:
    # Taught: 600 + 300 + 800 + 800. Plain, two FuseLLM runs, three pairs: 6 x 12 x 600 / 32. The
    # first stage of alignment, and three that follow it. SEFT's reviser, two rounds, twice.
    aligned = 38 + 3 * 30 + 400 + 2 * 2 * 30
    assert plan(DemoSettings())["training steps"] == 3 * (2500 + 6 * 225 + aligned)
    assert len(plan(DemoSettings())["merges"]) == len(MERGES)
    assert DemoSettings(quick=True).worlds == SEEDS[:1]


@pytest.mark.slow
def test_fusion_beats_plain_training(tmp_path: Path) -> None:
    results = run(tmp_path, DemoSettings(seeds=(104,), quick=True))
    rows = {row.model: row for row in results.rows}
    for source, skill in zip(NAMES[:3], SKILLS, strict=True):
        assert rows[source].piece_frac[skill][0] > 0.75
    assert rows["fusellm-0.5"].gain[ALL_SKILLS][0] > 0
