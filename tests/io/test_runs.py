"""Run folders: nothing is reused by accident, and a kill loses little."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from inarch.errors import DataError, SettingsError
from inarch.io.files import append_metrics, read_metrics
from inarch.io.runs import flat, stage


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class TestStage:
    def test_a_finished_stage_is_not_done_again(self, tmp_path):
        with stage(tmp_path / "run", "teach", {"k": 10, "seed": 3}, {"corpus": "ab"}) as first:
            assert not first.done
            first.note(rows=np.int64(7))
        with stage(tmp_path / "run", "teach", {"k": 10, "seed": 3}, {"corpus": "ab"}) as again:
            assert again.done
        found = manifest(tmp_path / "run")
        assert found["status"] == "done"
        assert found["stage"] == "teach"
        assert found["seed"] == 3
        assert found["facts"] == {"rows": 7}
        assert found["versions"]["torch"]
        for moment in (found["started"], found["ended"]):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", moment)
        assert (
            0.01 < found["peak_memory_gib"] < 100
        )  # a Python with numpy; KiB or bytes would not fit

    @pytest.mark.parametrize(
        ("settings", "seed"), [({"k": 1}, None), ({"train": {"seed": 5}, "k": {}}, 5)]
    )
    def test_the_seed_is_found_in_a_section(self, tmp_path, settings, seed):
        with stage(tmp_path, "train", settings, {}):
            pass
        assert manifest(tmp_path)["seed"] == seed

    def test_wall_time_and_facts_add_up_over_resumed_runs(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), stage(tmp_path, "teach", {}, {}) as run:
            run.note(first=1)
            time.sleep(0.2)
            raise KeyboardInterrupt
        broken_off = manifest(tmp_path)
        assert broken_off["status"] == "running"
        with stage(tmp_path, "teach", {}, {}) as run:
            assert not run.done
            run.note(second=2)
            time.sleep(0.2)
        found = manifest(tmp_path)
        assert found["facts"] == {"first": 1, "second": 2}
        assert found["started"] == broken_off["started"]
        assert 0.4 <= found["wall_s"] < 5

    def test_words_of_any_script_are_readable(self, tmp_path):
        with stage(tmp_path, "teach", {"model": "模型 😀"}, {}):
            pass
        with (
            pytest.raises(SettingsError, match='model: "模型 😀" there, "über" now'),
            stage(tmp_path, "teach", {"model": "über"}, {}),
        ):
            pass
        assert flat({"half of a pair": "\ud800"}) == {"half of a pair": '"\\ud800"'}

    def test_other_settings_are_refused_with_both_values(self, tmp_path):
        with stage(tmp_path, "teach", {"k": 10, "train": {"lr": 1e-5, "same": 1}}, {"a": "x"}):
            pass
        with (
            pytest.raises(SettingsError) as caught,
            stage(tmp_path, "teach", {"k": 11, "train": {"same": 1}}, {"a": "y"}),
        ):
            pass
        assert str(caught.value).splitlines() == [
            f"{tmp_path} holds a run that differs from this one:",
            '  inputs.a: "x" there, "y" now',
            "  settings.k: 10 there, 11 now",
            "  settings.train.lr: 1e-05 there, absent now",
            "Give --out another folder, or delete this one",
        ]

    def test_settings_that_survive_json_only_in_meaning_are_the_same(self, tmp_path):
        settings = {"sources": ("a", "b"), "floor": float("nan"), "none": {}, "x": np.float32(2)}
        for done in (False, True):
            with stage(tmp_path, "teach", settings, {}) as run:
                assert run.done is done

    def test_files_of_strangers_are_never_touched(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("x")
        with (
            pytest.raises(DataError, match="no run of inarch made it"),
            stage(tmp_path, "t", {}, {}),
        ):
            pass
        assert (tmp_path / "thesis.tex").read_text() == "x"
        assert "manifest.json" not in os.listdir(tmp_path)

    def test_a_folder_that_holds_only_other_stages_is_no_stranger(self, tmp_path):
        with stage(tmp_path / "teach" / "0", "teach", {}, {}):
            pass
        with stage(tmp_path, "fuse", {}, {}) as run:
            assert not run.done

    def test_a_file_in_the_way_is_an_error_that_a_user_can_fix(self, tmp_path):
        (tmp_path / "run").write_text("x")
        with pytest.raises(
            DataError, match=r"cannot make the folder .*run: File exists; give --out"
        ):
            with stage(tmp_path / "run", "teach", {}, {}):
                pass

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": "teach"}'])
    def test_a_foreign_manifest_is_refused(self, tmp_path, text):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(DataError, match="is no manifest"), stage(tmp_path, "teach", {}, {}):
            pass

    def test_a_second_run_names_the_process_of_the_first(self, tmp_path):
        code = """if True:
            import sys
            from inarch.errors import DataError
            from inarch.io.runs import stage
            try:
                with stage(sys.argv[1], "teach", {}, {}):
                    print("entered")
            except DataError as error:
                print(error)
        """
        with pytest.raises(ZeroDivisionError), stage(tmp_path, "teach", {}, {}):
            raise ZeroDivisionError  # an earlier run has left its number
        with stage(tmp_path, "teach", {}, {}):
            told = run_python(code, tmp_path).stdout
            assert told.startswith(f"process {os.getpid()} is at work in {tmp_path}; ")
        assert run_python(code, tmp_path).stdout == "entered\n"

    def test_later_processes_of_a_launch_neither_lock_nor_write(self, tmp_path, monkeypatch):
        with stage(tmp_path, "train", {}, {}) as first:
            monkeypatch.setenv("RANK", "1")
            with stage(tmp_path, "train", {}, {}) as second:
                second.note(x=1)
                assert not second.done
            monkeypatch.delenv("RANK")
            assert manifest(tmp_path)["status"] == "running"
            first.note(y=2)
        assert manifest(tmp_path)["facts"] == {"y": 2}

    def test_cut_off_files_of_a_killed_run_are_cleared(self, tmp_path):
        (tmp_path / ".0001.parquet.4711.tmp").write_text("half")
        with stage(tmp_path, "teach", {}, {}):
            pass
        assert sorted(os.listdir(tmp_path)) == [".lock", "manifest.json"]

    def test_a_kill_at_any_moment_leaves_a_folder_to_go_on_with(self, tmp_path):
        code = """if True:
            import itertools, sys
            from inarch.io.files import append_metrics, write_atomic
            from inarch.io.runs import stage
            with stage(sys.argv[1], "teach", {}, {}) as run:
                print("go", flush=True)
                for i in itertools.count():
                    run.note(i=i)
                    append_metrics(run.folder / "metrics.jsonl", {"i": i, "pad": "x" * 10_000})
                    with write_atomic(run.folder / "shard") as temp:
                        temp.write_text("whole" * 10_000)
        """
        for wait_s in (0.0, 0.013, 0.031):
            command = [sys.executable, "-c", code, str(tmp_path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout.readline() == b"go\n"
                time.sleep(wait_s)
                process.send_signal(signal.SIGKILL)
            with pytest.raises(ZeroDivisionError), stage(tmp_path, "teach", {}, {}) as run:
                assert not run.done
                raise ZeroDivisionError
            append_metrics(tmp_path / "metrics.jsonl", {"after": wait_s})
            assert read_metrics(tmp_path / "metrics.jsonl")[-1] == {"after": wait_s}
            if (tmp_path / "shard").exists():
                assert (tmp_path / "shard").stat().st_size == 50_000
