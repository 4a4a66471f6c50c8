from pathlib import Path

from inarch.train.checkpoints import discard_partial, newest, publish


def write(folder: Path, step: int) -> None:
    partial = folder / ".partial" / f"checkpoint-{step}"
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_text(str(step))


def test_none() -> None:
    assert newest(Path("/nowhere")) == (None, 0)


def test_the_newest_is_by_number_and_the_others_go(tmp_path: Path) -> None:
    for step in (8, 9, 10):
        write(tmp_path, step)
        publish(tmp_path, keep=2)
    assert newest(tmp_path) == (tmp_path / "checkpoint-10", 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


def test_one_that_is_cut_off_is_not_seen(tmp_path: Path) -> None:
    write(tmp_path, 4)
    publish(tmp_path, keep=1)
    write(tmp_path, 6)
    assert newest(tmp_path) == (tmp_path / "checkpoint-4", 4)
    discard_partial(tmp_path)
    assert not (tmp_path / ".partial").exists()


def test_the_same_step_again_replaces_the_old_one(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write(tmp_path, 4)
        (tmp_path / ".partial" / "checkpoint-4" / "model.safetensors").write_text(text)
        publish(tmp_path, keep=1)
    assert (tmp_path / "checkpoint-4" / "model.safetensors").read_text() == "new"
