"""Official files: the registry, and what is taken for one; none of them is in this repository."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from inarch.errors import DataError
from inarch.evaluate.judges import official
from inarch.evaluate.judges.official import BENCHMARKS, FILES, OfficialFile, find

ROOT = Path(__file__).resolve().parents[2]
NAME = "mt_bench/question.jsonl"
TEXT = b'{"question_id": 81}\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache, and one file that is known by its sha256 and one by its blob."""
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))
    # printf '{"question_id": 81}\n' | git hash-object --stdin
    blob = "git:eb0fef3a7cf380e22b11b280a75cd809c26abddc"
    known = OfficialFile(NAME, "q", len(TEXT), hashlib.sha256(TEXT).hexdigest(), ("https://a/q",))
    files = {NAME: known, "mt_bench/blob": known._replace(name="mt_bench/blob", digest=blob)}
    monkeypatch.setattr(official, "_BY_NAME", files)
    (tmp_path / "cache/mt_bench").mkdir(parents=True)
    return tmp_path / "cache"


def test_the_registry_is_pinned():
    assert len({file.name for file in FILES}) == len(FILES)
    assert {file.benchmark for file in FILES} == set(BENCHMARKS)
    for file in FILES:
        assert re.fullmatch(r"[0-9a-f]{64}|git:[0-9a-f]{40}", file.digest), file.name
        assert (file.size is None) == file.digest.startswith("git:"), file.name
        for url in file.urls:
            assert re.match(r"https://[^/]+/.*/[0-9a-f]{40}/", url), url
            assert url.endswith("/" + Path(file.name).name), url
    bound = {file.name for file in FILES if "NC" in file.licence}
    assert bound == {
        f"alpaca_eval2/{n}" for n in ("alpaca_eval_gpt4_baseline.json", "df_gamed.csv")
    }


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("alpaca_eval2/df_gamed.csv", "alpaca_eval2/df_gamed.csv"),
        ("mt_bench/question.jsonl", "mt_bench/question.jsonl"),
        ("mt_bench/gpt-4.jsonl", "mt_bench/reference_gpt-4.jsonl"),
    ],
)
def test_published_files_are_official(eval_data, name, path):
    (file,) = [file for file in FILES if file.name == name]
    content = (eval_data / path).read_bytes()
    assert len(content) == file.size
    assert file.is_whole(content)
    assert not file.is_whole(content[:-1])
    assert not file.is_whole(content + b"\n")
    assert find(name, eval_data / path).is_official


def test_no_official_file_is_in_the_repository_or_the_package():
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("needs a git checkout")
    paths = {ROOT / name for name in listed.stdout.split("\0") if name}
    paths |= {path for path in (ROOT / "src").rglob("*") if path.suffix != ".pyc"}
    sizes = {file.size for file in FILES}
    names = {Path(file.name).name for file in FILES} - {"judge_utils.py"}
    large = {path for path in paths if path.is_file() and path.stat().st_size > 4_000_000}
    same = {path for path in paths if path.is_file() and path.stat().st_size in sizes} | large
    contents = {path: path.read_bytes() for path in same}
    held = [path for path, text in contents.items() if any(file.is_whole(text) for file in FILES)]
    assert held == []
    assert [path for path in paths if path.name in names] == []


def test_a_given_file_counts_whatever_it_holds(cache, tmp_path):
    given = tmp_path / "mine.jsonl"
    given.write_bytes(b"other")
    found = find(NAME, given)
    # printf other | sha256sum
    digest = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"
    assert found == (given, digest, False)
    given.write_bytes(TEXT)
    assert find(NAME, given).is_official
    with pytest.raises(
        DataError, match=r"cannot read .*nowhere: No such file.*in place of mt_benc"
    ):
        find(NAME, tmp_path / "nowhere")


def test_the_fetched_file_is_checked_each_time(cache):
    assert not official.is_fetched(NAME)
    with pytest.raises(DataError) as caught:
        find(NAME)
    for part in ("20 B", "inarch evaluate fetch mt_bench", "https://a/q", str(cache / NAME)):
        assert part in str(caught.value)
    (cache / NAME).write_bytes(TEXT)
    assert official.is_fetched(NAME)
    assert find(NAME) == (cache / NAME, hashlib.sha256(TEXT).hexdigest(), True)
    (cache / NAME).write_bytes(TEXT + b"\n")
    with pytest.raises(
        DataError, match=r"found other content.*fetch it anew with inarch evaluate f"
    ):
        find(NAME)


def test_a_blob_is_of_the_size_too(cache):
    (cache / "mt_bench/blob").write_bytes(TEXT)
    found = find("mt_bench/blob")
    assert found.is_official
    assert found.sha256 == hashlib.sha256(TEXT).hexdigest()
    (cache / "mt_bench/blob").write_bytes(TEXT[:-1])
    with pytest.raises(DataError, match="other content"):
        find("mt_bench/blob")


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("INARCH_CACHE", "~/x")
    assert official.cache_folder() == Path.home() / "x"
    monkeypatch.setenv("INARCH_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert official.cache_folder() == tmp_path / "inarch/evaluate"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert official.cache_folder() == Path.home() / ".cache/inarch/evaluate"


@pytest.mark.parametrize(
    ("size", "text"),
    [(999, "999 B"), (1_000, "1.0 kB"), (948_000, "948.0 kB"), (1_899_765, "1.9 MB")],
)
def test_sizes_are_legible(size, text):
    assert official.readable(size) == text
