"""The page of `inarch fuse` runs: numbers of the folder, and a word for whatever is not there."""

import json

import pytest

from inarch import report
from inarch.errors import DataError


def test_the_numbers_are_those_of_the_folder(fuse_run, page):
    found = page(fuse_run())
    for words in ("25,317", "160", "20 s", "0.8 GiB", "96.8% of the target's tokens"):
        assert words in found.text
    # last line: 0.75 + 5.5 / 8 = 1.4375; speeds 4100 ... 4800, median 4450
    assert "last loss, nats per token1.438" in found.text.replace("\n", "")
    assert "4,450" in found.text
    assert found.row("The models", "tiny") == ["target", "LlamaForCausalLM", "100", "6,400"]
    assert found.row("The models", "stories260K") == ["source", "–", "–", "–"]
    assert found.row("Documents by who", "all") == ["20", "131", "9", "160"]
    assert found.tables["Documents by who was believed, in documents"][0] == [
        "domain", "tiny", "stories260K", "label only", "documents",
    ]  # fmt: skip
    assert found.row("Settings, defaults", "train.lr") == ["0.003"]
    assert found.row("Settings, defaults", "sources.0.path") == ["/models/stories260K"]
    assert found.row("Versions", "torch") == ["2.13.0"]
    assert found.row("Digests", "stories260K") == ["afe9dd6f"]
    # first line: clm 0.6 + 6, fused 0.9 + 5, loss 0.75 + 5.5; last: 1.35, 1.525, 1.4375
    (alt,) = [label for label in found.labels if label.startswith("Over training")]
    assert alt == (
        "Over training, in nats per token. loss from 6.25 to 1.44; next token from 6.60 to 1.35; "
        "fused from 5.90 to 1.52"
    )


def test_skipped_rows_are_shown(fuse_run, page):
    folder = fuse_run()
    write(folder / "corpus-06075ab2" / "manifest.json", num_documents=157,
          skipped={"empty rows": 2, "chats that end with the user": 1})  # fmt: skip
    write(folder / "teach" / "stories260K-db8de520" / "manifest.json", num_inexact_rows=3)
    found = page(folder)
    assert found.tables["Rows of the corpus"][1:] == [
        ["documents used", "157"],
        ["skipped: empty rows", "2"],
        ["skipped: chats that end with the user", "1"],
        ["matched by characters, as stories260K changes the text", "3"],
    ]
    assert "No row was skipped" not in found.text


def test_a_run_that_was_cut_says_how_far_it_came(fuse_run, page):
    folder = fuse_run(status="running", ended=None, wall_s=0.0)
    metrics = folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-25])  # a killed run leaves half a line
    found = page(folder)
    assert "“run” is not finished (status: running)" in found.text
    assert "up to step 70" in found.text


def test_a_run_without_a_step_has_a_page(fuse_run, page):
    folder = fuse_run(status="running", facts={})
    (folder / "metrics.jsonl").unlink()
    (folder / "model" / "config.json").unlink()
    (folder / "model" / "model.safetensors").unlink()
    found = page(folder)
    assert "before the first step was logged" in found.text
    assert "Who was believed is not recorded: the run did not come so far" in found.text
    assert found.row("The models", "tiny") == ["target", "llama", "–", "–"]


def test_values_that_are_no_number_are_left_out_of_the_curves(fuse_run, page):
    folder = fuse_run()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 90, "loss": NaN, "clm": 1.0}\n')
    assert "loss from 6.25 to 1.44" in "".join(page(folder).labels)


def test_plain_training_is_called_so(fuse_run, page):
    folder = fuse_run(settings={"target": {"path": "gpt2", "name": ""}, "sources": []}, facts={})
    found = page(folder)
    assert "No sources: plain continued training" in found.text
    assert found.row("The models", "gpt2")[0] == "target"


def test_teachers_in_the_training_step_leave_no_record(fuse_run, page):
    settings = {"target": {"path": "a"}, "sources": [{"path": "b"}], "teach": {"online": True}}
    found = page(fuse_run(settings=settings, facts={"num_documents": 3}))
    assert "the teachers ran in the training step" in found.text


def test_pairwise_runs_share_a_page(fuse_run, page, tmp_path):
    for name in ("reckoner", "facts"):
        fuse_run(f"both/pairs/{name}")
    found = page(tmp_path / "both")
    assert "2 runs, facts and reckoner" in found.text
    assert found.text.index("With facts") < found.text.index("With reckoner")
    plots = sorted(path.name for path in (tmp_path / "both" / "plots").iterdir())
    assert plots[0] == "01-believed-1.svg"
    assert len(plots) == 6


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found an empty folder, expected a run folder of `inarch fuse`"),
        ({"notes.txt": "x"}, "found notes.txt, expected"),
        ({"manifest.json": '{"stage": "teach"}'}, "is a folder of the stage 'teach'"),
        ({"manifest.json": "[]"}, "found a list, expected a JSON object"),
        ({"manifest.json": "{"}, "manifest.json is no JSON"),
        ({"manifest.json": '{"stage": "fuse"}', "metrics.jsonl": "{\n"}, "metrics.jsonl:1"),
    ],
)
def test_other_folders_are_refused_with_a_reason(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        report.build(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("files", [{}, {"manifest.json": '{"stage": "teach"}'}])
def test_a_refusal_names_all_that_have_pages(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as told:
        report.build(tmp_path)
    verbs = ("fuse", "merge", "merge search", "prune", "evaluate", "demo")
    for verb in (*verbs, "spans train", "spans score", "spans screen"):
        assert f"`inarch {verb}`" in str(told.value)
    assert "its numbers" not in str(told.value)


def test_folders_without_a_page_say_where_their_numbers_are(tmp_path):
    aligned = tmp_path / "aligned"
    aligned.mkdir()
    (aligned / "manifest.json").write_text('{"stage": "align"}')
    (aligned / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match=f"numbers are in {aligned}/metrics.jsonl; reports exist"):
        report.build(aligned)


def test_an_absent_folder_is_not_made(tmp_path):
    with pytest.raises(DataError, match="found no such folder"):
        report.build(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{", b"\xff" * 20])
def test_weights_that_were_cut_are_an_error(fuse_run, content):
    folder = fuse_run()
    (folder / "model" / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="has no header of safetensors"):
        report.build(folder)


def test_the_page_may_go_elsewhere_and_is_replaced(fuse_run, tmp_path):
    folder, elsewhere = fuse_run(), tmp_path / "a" / "b.html"
    assert report.build(folder, elsewhere) == elsewhere
    first = elsewhere.read_bytes()
    report.build(folder, elsewhere)
    assert elsewhere.read_bytes() == first
    assert not (folder / "report.html").exists()
    assert [path.name for path in elsewhere.parent.iterdir()] == ["b.html"]


def write(path, **facts):
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"facts": facts}))
