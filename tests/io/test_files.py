"""Files: whole or absent, told apart by content, and lines that survive a kill."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from inarch.errors import DataError
from inarch.io.files import (
    append_metrics,
    digest_file,
    digest_folder,
    read_metrics,
    write_atomic,
    write_json,
    write_jsonl,
)


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class TestWriteAtomic:
    def test_the_file_appears_when_the_block_ends(self, tmp_path):
        with write_atomic(tmp_path / "a.txt") as temp:
            temp.write_text("new")
            assert not (tmp_path / "a.txt").exists()
        assert (tmp_path / "a.txt").read_text() == "new"
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_an_error_leaves_the_old_file_and_no_temporary_one(self, tmp_path):
        (tmp_path / "a.txt").write_text("old")
        with pytest.raises(ZeroDivisionError), write_atomic(tmp_path / "a.txt") as temp:
            temp.write_text("half")
            raise ZeroDivisionError
        assert (tmp_path / "a.txt").read_text() == "old"
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_a_folder_replaces_a_folder(self, tmp_path):
        for names in (("x", "y"), ("z",)):
            with write_atomic(tmp_path / "model") as temp:
                temp.mkdir()
                for name in names:
                    (temp / name).write_text(name)
        assert os.listdir(tmp_path / "model") == ["z"]
        assert os.listdir(tmp_path) == ["model"]

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_a_full_disk_is_an_error_that_a_user_can_fix(self, tmp_path, number):
        with pytest.raises(DataError, match=r"disk full while writing .*a\.txt; .*free space"):
            with write_atomic(tmp_path / "a.txt") as temp:
                temp.write_text("half")
                raise OSError(number, "full")
        assert os.listdir(tmp_path) == []

    def test_another_os_error_stays_what_it_is(self, tmp_path):
        with pytest.raises(PermissionError), write_atomic(tmp_path / "a.txt"):
            raise PermissionError(errno.EPERM, "no")

    @pytest.mark.parametrize("writer", ["python", "pyarrow", "safetensors"])
    def test_a_real_limit_is_recognised_from_every_writer(self, tmp_path, writer):
        code = """if True:
            import resource, sys
            import numpy as np, pyarrow as pa, pyarrow.parquet as pq
            from safetensors.numpy import save_file
            from inarch.errors import DataError
            from inarch.io.files import write_atomic
            noise = np.random.default_rng(0).bytes(1 << 20)
            writers = {
                "python": lambda path: path.write_bytes(noise),
                "pyarrow": lambda path: pq.write_table(pa.table({"x": [noise]}), path),
                "safetensors": lambda path: save_file({"x": np.frombuffer(noise, "u1")}, path),
            }
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
            try:
                with write_atomic(sys.argv[1]) as temp:
                    writers[sys.argv[2]](temp)
            except DataError as error:
                print(error)
        """
        ended = run_python(code, tmp_path / "big", writer)
        assert "disk full while writing" in ended.stdout, ended.stderr
        assert os.listdir(tmp_path) == []


class TestDigests:
    def test_a_file_by_content(self, tmp_path):
        (tmp_path / "a").write_bytes(b"abc")
        # printf abc | b2sum -l 128
        assert digest_file(tmp_path / "a") == "cf4ab791c62b8d2b2109c90275287816"

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(DataError, match="No such file"):
            digest_file(tmp_path / "a")

    def test_a_folder_by_names_and_contents(self, tmp_path):
        def made(name: str, files: dict[str, str]) -> str:
            for path, text in files.items():
                (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / path).write_text(text)
            return digest_folder(tmp_path / name)

        base = made("base", {"config.json": "1", "sub/w": "2"})
        assert made("same", {"sub/w": "2", "config.json": "1", ".cache/x": "3"}) == base
        assert made("content", {"config.json": "1", "sub/w": "3"}) != base
        assert made("name", {"config.json": "1", "sub/v": "2"}) != base
        assert made("swapped", {"config.json": "2", "sub/w": "1"}) != base

    def test_a_hub_id_is_its_own_digest(self):
        assert digest_folder("openlm-research/open_llama_7b") == "openlm-research/open_llama_7b"


class TestMetrics:
    def test_rows_come_back(self, tmp_path):
        for step in range(3):
            append_metrics(tmp_path / "m.jsonl", {"step": step, "loss": np.float32(0.5)})
        assert read_metrics(tmp_path / "m.jsonl") == [{"step": i, "loss": 0.5} for i in range(3)]

    def test_a_cut_last_line_is_left_out_and_overwritten(self, tmp_path):
        path = tmp_path / "m.jsonl"
        path.write_text('{"step": 0}\n{"step": 1, "lo')
        assert read_metrics(path) == [{"step": 0}]
        append_metrics(path, {"step": 1})
        assert path.read_text() == '{"step": 0}\n{"step": 1}\n'

    def test_a_file_that_is_only_a_cut_line(self, tmp_path):
        path = tmp_path / "m.jsonl"
        path.write_text('{"st')
        assert read_metrics(path) == []
        append_metrics(path, {"step": 0})
        assert path.read_text() == '{"step": 0}\n'

    def test_a_broken_line_before_the_last_is_named(self, tmp_path):
        (tmp_path / "m.jsonl").write_text('{"step": 0}\nnonsense\n{"step": 2}\n')
        with pytest.raises(DataError, match=r"m\.jsonl:2: this line is no JSON"):
            read_metrics(tmp_path / "m.jsonl")


def test_json_keeps_all_characters_and_escapes_halves_of_pairs(tmp_path):
    rows = [{"a": "Ü 猫 🦙"}, "\ud83e", 1.5]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    lines = (tmp_path / "rows.jsonl").read_bytes().decode().split("\n")
    assert lines == ['{"a": "Ü 猫 🦙"}', '"\\ud83e"', "1.5", ""]
    assert [json.loads(line) for line in lines[:3]] == rows
    write_json(tmp_path / "whole.json", rows)
    assert json.loads((tmp_path / "whole.json").read_text(encoding="utf-8")) == rows
