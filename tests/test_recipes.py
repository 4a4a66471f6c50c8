"""Every published recipe resolves and can be planned, offline."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from inarch.cli.main import app
from inarch.flows.recipe import FuseRun
from inarch.settings import load

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: str(p.relative_to(ROOT)))
def test_dry_run(path: Path):
    shown = CliRunner().invoke(app, ["fuse", str(path), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "tokens" in shown.output
    assert "unknown" in shown.output  # their models and corpora are not on this machine


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
