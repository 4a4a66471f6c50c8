"""Where a model is: folders as they are, ids from the hub's cache; tests have no network."""

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.numpy import save_file

from inarch.errors import WeightsError
from inarch.io.hub import find_folder
from inarch.io.weights import Checkpoint

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The hub's cache with two revisions of org/tiny, made of links as the hub's client does."""
    repo = tmp_path / "models--org--tiny"
    (repo / "blobs").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(NEW)
    (repo / "refs" / "v1").write_text(OLD)
    for value, commit in enumerate((OLD, NEW)):
        folder = repo / "snapshots" / commit
        folder.mkdir(parents=True)
        save_file({"w": np.float32([value])}, repo / "blobs" / f"w{value}")
        (repo / "blobs" / f"c{value}").write_text(json.dumps({"revision": value}))
        (folder / "model.safetensors").symlink_to(f"../../blobs/w{value}")
        (folder / "config.json").symlink_to(f"../../blobs/c{value}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"), [("org/tiny", 1), ("org/tiny@main", 1), ("org/tiny@v1", 0)]
)
def test_an_id_with_and_without_a_revision(cache, name, value):
    with Checkpoint.open(name) as checkpoint:
        assert checkpoint.label == name
        assert checkpoint.config == {"revision": value}
        assert checkpoint.raw("w").tolist() == [value]


def test_a_folder_goes_before_an_id(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("org/tiny", "org/tiny@v1"):
        Path(name).mkdir(parents=True)
        assert find_folder(name) == Path(name)


def test_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "模型").mkdir()
    assert find_folder("~/模型") == tmp_path / "模型"


@pytest.mark.parametrize("name", ["org/other", "org/tiny@v9", "gpt2"])
def test_without_network_only_what_was_fetched(cache, name):
    with pytest.raises(WeightsError, match=r"found no folder .*no network, or HF_HUB_OFFLINE is"):
        find_folder(name)


@pytest.mark.parametrize(
    "name", ["/nowhere/x", "./x", "../x", "a/b/c", "x y", "~/x", "-x", "组/x🌱"]
)
def test_a_path_is_never_asked_of_the_hub(monkeypatch, name):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(WeightsError, match=r"there is no folder .*expected one with a model in it"):
        find_folder(name)


@pytest.mark.parametrize("error", [RepositoryNotFoundError, OSError])
def test_what_the_hub_refuses(monkeypatch, error):
    def refuse(*_, **__):
        if error is OSError:
            raise OSError("disk on fire\nmore")
        raise error("401 Client Error.\nmore", response=_Response())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(
        WeightsError, match=r"no model of that name \((401|disk).*\); check the spe"
    ):
        find_folder("org/private")


class _Response:
    """What an error of the hub's client looks at."""

    headers: dict[str, str] = {}  # noqa: RUF012
    request = None


def test_neither_code_nor_pickles_are_fetched(monkeypatch):
    asked = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **how: asked.update(how))
    with pytest.raises(TypeError):  # nothing was returned
        find_folder("org/tiny@v1")
    from huggingface_hub.utils import filter_repo_objects

    wanted = [
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "chat_template.jinja",
        "adapter_config.json",
    ]
    others = [
        "modeling.py",
        "pytorch_model.bin",
        "consolidated.safetensors",
        "original/model.safetensors",
        "training_args.bin",
        "README.md",
    ]
    patterns = {key: asked[key] for key in ("allow_patterns", "ignore_patterns")}
    assert list(filter_repo_objects([*others, *wanted], **patterns)) == wanted
    assert asked["revision"] == "v1"
