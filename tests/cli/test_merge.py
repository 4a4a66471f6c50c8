"""``inarch merge``: a recipe without the name of a command, and where the result goes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from inarch.cli.main import app
from inarch.errors import SettingsError
from inarch.flows import merge as flow

RECIPE = """
merge_method: linear
models: [{model: a}, {model: b}]
parameters: {weight: 1}
"""


@pytest.fixture
def says(tmp_path, monkeypatch):
    """A function that runs ``inarch merge``, and what the flow was called with."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)
    Path("search").write_text(RECIPE)
    calls = []

    def run(config, out, options):
        calls.append((config, out, options))
        return out

    monkeypatch.setattr(flow, "run", run)
    monkeypatch.setattr(flow, "plan", lambda config: {"tensors": 12})
    monkeypatch.setattr(flow, "explain", lambda config, options: [{"tensor": "模型.weight"}])

    def say(*arguments):
        return CliRunner().invoke(app, ["merge", *arguments], catch_exceptions=False).output, calls

    return say


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["r.yaml", "out"], "out"),
        (["r.yaml", "--out", "out"], "out"),
        (["--out", "out", "r.yaml"], "out"),
        (["recipe", "r.yaml", "out"], "out"),
        (["r.yaml", "out", "--out", "out"], "out"),
        (["r.yaml"], "runs/r"),
        (["./search", "out"], "out"),  # a recipe of that name, not the command
    ],
)
def test_where_the_result_goes(says, arguments, out):
    output, calls = says(*arguments)
    assert output == f"{out}\n"
    assert [call[1] for call in calls] == [Path(out)]


def test_flags_and_settings_arrive(says):
    _, ((config, _, options),) = says(
        *("r.yaml", "out", "--set", "parameters.weight=0.3", "--threads", "3", "--shard-gb", "0.5")
    )
    assert config.model_dump()["parameters"] == {"weight": 0.3}
    assert options == flow.MergeOptions(threads=3, max_shard_gb=0.5)


def test_two_folders_are_one_too_many(says):
    with pytest.raises(SettingsError, match="found two folders for the result, x and y"):
        says("r.yaml", "x", "--out", "y")


def test_a_shard_of_no_size(says):
    with pytest.raises(SettingsError, match=r"--shard-gb: .*found 0\.0, expected greater than 0"):
        says("r.yaml", "out", "--shard-gb", "0")


def test_a_device_that_is_none(says):
    output, calls = says("r.yaml", "out", "--device", "gpu")
    assert "--device" in output
    assert calls == []


def test_json_is_of_an_explanation(says):
    with pytest.raises(SettingsError, match="--json has no effect without --explain"):
        says("r.yaml", "out", "--json")


def test_a_dry_run_and_an_explanation_merge_nothing(says):
    output, calls = says("r.yaml", "out", "--dry-run")
    assert "12" in output
    assert "merge_method: linear" in output
    output, calls = says("r.yaml", "--explain", "--json")
    assert output == '{"tensor": "模型.weight"}\n'
    assert calls == []
