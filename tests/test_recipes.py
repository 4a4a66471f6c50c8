"""Every published recipe resolves and can be planned, offline."""

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from inarch.cli.main import app
from inarch.errors import DataError, WeightsError
from inarch.flows.align import AlignRun
from inarch.flows.align_build import BuildRun
from inarch.flows.prune import PruneRun, plan
from inarch.flows.recipe import FuseRun
from inarch.flows.seft import SeftRun
from inarch.merge import METHODS, load_config
from inarch.settings import load

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
MERGES = [path for path in RECIPES if "merge_method" in yaml.safe_load(path.read_text())]
CUTS = sorted((ROOT / "recipes/blockpruner").glob("*.yaml"))
SPANS = sorted((ROOT / "recipes/spans").glob("*.yaml"))
BUILDS = [path for path in RECIPES if path.stem.endswith("-build")]
ALIGNMENTS = [path.with_name(path.name.replace("-build", "")) for path in BUILDS]
SEFTS = sorted((ROOT / "recipes/seft").glob("*.yaml"))
EVALUATIONS = sorted((ROOT / "recipes/evaluate").glob("*.yaml"))
OWN = ROOT / "recipes/evaluate/own_prompts.yaml"
JUDGE = ROOT / "recipes/evaluate/own_judge.yaml"
"""No recipe, but what a judge is asked in one."""
OTHERS = (*MERGES, *CUTS, *SPANS, *BUILDS, *ALIGNMENTS, *SEFTS, *EVALUATIONS)
FUSIONS = [path for path in RECIPES if path not in OTHERS]

LLAMA2 = {"model_type": "llama", "vocab_size": 32000, "architectures": ["LlamaForCausalLM"]}
SMALL, LARGE = (
    {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": layers}
    for hidden, layers in ((4096, 32), (5120, 40))
)
QWEN = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
CONFIGS = {
    "llama2-7b": LLAMA2 | SMALL | {"intermediate_size": 11008},
    "llama2-13b": LLAMA2 | LARGE | {"intermediate_size": 13824},
    "baichuan2-7b": LLAMA2 | SMALL | {"intermediate_size": 11008, "vocab_size": 125696},
    "qwen1.5-7b": QWEN | SMALL | {"intermediate_size": 11008, "vocab_size": 151936},
    "qwen1.5-14b": QWEN | LARGE | {"intermediate_size": 13696, "vocab_size": 152064},
}
"""What the published models' config.json says."""


@pytest.mark.parametrize("path", FUSIONS, ids=lambda p: str(p.relative_to(ROOT)))
def test_dry_run(path: Path):
    shown = CliRunner().invoke(app, ["fuse", str(path), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "tokens" in shown.output
    assert "unknown" in shown.output  # their models and corpora are not on this machine


@pytest.mark.parametrize("path", SEFTS, ids=lambda p: p.name)
def test_evolutions_are_internal_and_then_external(path: Path):
    settings = load(SeftRun, path)
    assert settings.revisers["internal"].model is None
    evolutions = [one.reviser for one in settings.rounds]
    assert evolutions == sorted(evolutions, reverse=True)
    assert {*evolutions} == {"internal", "external"}
    shown = CliRunner().invoke(app, ["align", "seft", str(path), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "unknown" in shown.output
    assert "every number\n# below are ours" in path.read_text()


@pytest.mark.parametrize("path", SPANS, ids=lambda p: p.name)
def test_taggers_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    shown = CliRunner().invoke(app, ["spans", "train", str(path), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "crf, crf" in shown.output


@pytest.mark.parametrize(
    "path", [path for path in EVALUATIONS if path not in (OWN, JUDGE)], ids=lambda p: p.name
)
def test_judging_needs_only_the_official_files(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path))
    shown = CliRunner().invoke(app, ["evaluate", "judge", str(path), "--dry-run"])
    assert isinstance(shown.exception, DataError)
    assert "inarch evaluate fetch" in str(shown.exception)


def test_judging_own_prompts_needs_no_official_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "none"))
    monkeypatch.chdir(ROOT)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Sing."}\n{"prompt": "Why?"}\n')
    own = f"protocol.questions={tmp_path / 'prompts.jsonl'}"
    shown = CliRunner().invoke(app, ["evaluate", "judge", str(OWN), "--set", own, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    # 2 prompts x 2 orders x (a model and the canary), each asked at most twice
    assert "at most 16 calls" in shown.output


@pytest.mark.parametrize("path", MERGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_merges_are_carried_out_once_their_models_are_there(path: Path):
    load_config(path, METHODS)
    shown = CliRunner().invoke(app, ["merge", str(path), "--dry-run"])
    assert isinstance(shown.exception, WeightsError)
    assert re.search("there is no folder runs/|cannot be asked", str(shown.exception))


# Parameters and passes of facts/prune.md, section 1.6: passes are K N - K (K - 1) / 2.
PUBLISHED_CUTS = {
    "llama2-7b": (6_738_415_616, 952),
    "llama2-13b": (13_015_864_320, 1644),
    "baichuan2-7b": (7.506e9, 999),
    "qwen1.5-7b": (7.721e9, 999),
    "qwen1.5-14b": (14.167e9, None),
}


@pytest.mark.parametrize("path", CUTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_cuts_are_planned_from_a_config_alone(path: Path, tmp_path: Path):
    config = CONFIGS[path.stem] | {"num_key_value_heads": CONFIGS[path.stem]["num_attention_heads"]}
    config |= {"tie_word_embeddings": False, "max_position_embeddings": 4096}
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = load(PruneRun, path, [f"model={json.dumps(str(tmp_path))}"])
    found = plan(settings)
    parameters, passes = PUBLISHED_CUTS[path.stem]
    assert found["parameters"] == pytest.approx(parameters, rel=1e-4)
    if passes:
        assert found["forwards"] == passes
    ours, plain = map(int, re.findall(r"[\d]+", str(found["blocks run"]).replace(",", "")))
    assert plain / ours > 3  # facts, section 3: 3.73 by FLOPs on the recorded order
    if path.stem == "llama2-7b":
        assert "21.99" in path.read_text()
        assert "22.0%" in str(found["about to go"])
    assert "supposed" in str(found["calibration tokens"])
    assert (settings.data.samples, settings.data.length, settings.dtype) == (256, 2048, "bf16")


def test_cuts_of_models_that_are_not_here_say_so():
    shown = CliRunner().invoke(app, ["prune", str(CUTS[0]), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "unknown" in shown.output


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


@pytest.mark.parametrize(
    ("path", "follower"), [*zip(BUILDS, ALIGNMENTS, strict=True)], ids=lambda p: p.stem
)
def test_builds_and_what_is_trained_on_them(path: Path, follower: Path, monkeypatch, tmp_path):
    """The second recipe of a pair trains what the first one makes, on what it makes."""
    monkeypatch.chdir(tmp_path)
    for command, recipe in (("build", path), ("train", follower)):
        shown = CliRunner().invoke(app, ["align", command, str(recipe), "--dry-run"])
        assert shown.exit_code == 0, shown.output
        assert "unknown" in shown.output
    build, train = load(BuildRun, path), load(AlignRun, follower)
    assert train.model.path == f"runs/{path.stem}/sft/model"
    assert train.data.path == f"runs/{path.stem}/{build.choose.form}.jsonl"
    assert train.method.method.data == build.choose.form


def test_published_settings_of_alignments():
    # facts/align.md, sections 1.2, 1.4 and 1.5
    build = load(BuildRun, ROOT / "recipes/wrpo/llama-3-8b-instruct-build.yaml")
    assert len({source.endpoint.model for source in build.sources if source.endpoint}) == 10
    assert (build.samples, build.sampling.temperature, build.sampling.top_p) == (5, 0.8, 0.95)
    sft, wrpo = build.sft.train, load(AlignRun, ROOT / "recipes/wrpo/llama-3-8b-instruct.yaml")
    assert build.sft.share == pytest.approx(1 / 3)
    for train, lr in ((sft, 7e-6), (wrpo.train, 3e-7)):
        assert (train.lr, train.schedule, train.warmup_frac, train.epochs) == (lr, "cosine", 0.1, 1)
        assert (train.batch_size, train.seed, train.precision) == (128, 42, "bf16")
    own = wrpo.method.own()
    assert (own.beta, own.alpha, own.ramp) == (0.01, 0.1, True)
    assert (wrpo.data.max_tokens, wrpo.data.max_prompt_tokens) == (2048, 1800)
    # Section 1.7, and facts/fusechat.md, section 8
    published = {
        "llama-3.1-8b": (5e-6, "ln_dpo", 10.0, 8e-7),
        "qwen2.5-7b": (2e-6, "dpo", 0.01, 3e-7),
        "gemma-2-9b": (2e-6, "dpo", 0.01, 5e-7),
    }
    for name, (sft_lr, method, beta, lr) in published.items():
        build = load(BuildRun, ROOT / f"recipes/fusechat3/{name}-build.yaml")
        dpo = load(AlignRun, ROOT / f"recipes/fusechat3/{name}.yaml")
        assert (build.sft.share, build.sft.train.lr, build.sft.train.epochs) == (0.4, sft_lr, 3)
        assert (build.choose.form, build.choose.min_gap, build.choose.max_gap) == (
            "pairs",
            0.01,
            0.1,
        )
        assert (dpo.method.name, dpo.method.own().beta, dpo.train.lr) == (method, beta, lr)
        assert (dpo.train.epochs, dpo.train.batch_size, len(build.sources)) == (1, 128, 4)


def test_recipes_are_plain_yaml():
    for path in RECIPES:
        assert isinstance(yaml.safe_load(path.read_text()), dict)
