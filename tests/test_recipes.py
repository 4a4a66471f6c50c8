"""Every published recipe resolves and can be planned, offline."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from inarch.cli.main import app
from inarch.errors import WeightsError
from inarch.flows.recipe import FuseRun
from inarch.merge import METHODS, load_config
from inarch.settings import load

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
MERGES = [path for path in RECIPES if "merge_method" in yaml.safe_load(path.read_text())]
FUSIONS = [path for path in RECIPES if path not in MERGES]


@pytest.mark.parametrize("path", FUSIONS, ids=lambda p: str(p.relative_to(ROOT)))
def test_dry_run(path: Path):
    shown = CliRunner().invoke(app, ["fuse", str(path), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "tokens" in shown.output
    assert "unknown" in shown.output  # their models and corpora are not on this machine


@pytest.mark.parametrize("path", MERGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_merges_are_carried_out_once_their_models_are_there(path: Path):
    load_config(path, METHODS)
    shown = CliRunner().invoke(app, ["merge", str(path), "--dry-run"])
    assert isinstance(shown.exception, WeightsError)
    assert re.search("there is no folder runs/|cannot be asked", str(shown.exception))


def test_merges_are_of_what_the_fusions_make():
    """Every pair that a first stage writes is a model of the second."""
    for version in ("v1", "v2"):
        pairs = load(FuseRun, ROOT / f"recipes/fusechat/{version}.yaml")
        merge = load_config(ROOT / f"recipes/fusechat/{version}-merge.yaml", METHODS)
        assert str(merge.base_model) == pairs.target.path
        assert [str(entry.model) for entry in merge.models] == [
            f"runs/{version}/pairs/{source.label}/model" for source in pairs.sources
        ]


def test_published_settings_are_there():
    # facts/fusechat.md, section 1.3
    llm = load(FuseRun, ROOT / "recipes/fusellm/llama2-7b.yaml")
    assert (llm.fuse.lambda_, llm.teach.top_k, llm.train.lr, llm.train.batch_size) == (
        0.9,
        10,
        1e-5,
        128,
    )
    assert (llm.train.warmup_frac, llm.train.weight_decay, llm.train.betas) == (
        0.008,
        0.1,
        (0.9, 0.95),
    )
    for version, num_sources in (("v1", 2), ("v2", 5)):
        chat = load(FuseRun, ROOT / f"recipes/fusechat/{version}.yaml")
        assert len(chat.sources) == num_sources
        assert chat.fuse.pairwise
        assert (chat.train.epochs, chat.train.lr, chat.train.warmup_frac) == (3, 5e-6, 0.03)
        assert (chat.train.weight_decay, chat.train.betas) == (0.0, (0.9, 0.999))


def test_recipes_are_plain_yaml():
    for path in RECIPES:
        assert isinstance(yaml.safe_load(path.read_text()), dict)
