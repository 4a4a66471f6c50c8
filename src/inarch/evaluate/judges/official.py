"""The official files of published benchmarks: where they are, and whether they are what they were.

None of them is in this package. They are fetched from where they are published, at one revision,
and used only if their digest is the known one. AlpacaEval's data are CC BY-NC 4.0.

All sha256 are of files read from snapshots of the repositories at these revisions; AlpacaEval's two
data files from their copy in FuseAI, and they are the sha256 that others record for the revision of
tatsu-lab/alpaca_eval on Hugging Face. The answers of gemini-2.0-flash-001 are known by their blob
in the tree of that commit alone: git's SHA-1 of size and content.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from inarch.errors import DataError

BenchmarkName = Literal["alpaca_eval2", "arena_hard_v0.1", "arena_hard_v2", "mt_bench"]
BENCHMARKS: tuple[BenchmarkName, ...] = get_args(BenchmarkName)

_GITHUB = "https://raw.githubusercontent.com"
_HUB = (
    "https://huggingface.co/datasets/tatsu-lab/alpaca_eval/resolve"
    "/2edc6fad8be6b14ea7230aabfd08188da6b8b814"
)
_ALPACA = f"{_GITHUB}/tatsu-lab/alpaca_eval/cd543a149df89434d8a54582c0151c0b945c3d20"
_ARENA = f"{_GITHUB}/lmarena/arena-hard-auto"
_V01 = f"{_ARENA}/0489bf384abd010906014dec7b903f7c438eabba"
_V2 = f"{_ARENA}/196f6b826783b3da7310e361a805fa36f0be83f3"
_MT = f"{_GITHUB}/lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d/fastchat/llm_judge/data"
_FUSE = (
    f"{_GITHUB}/fanqiwan/FuseAI/7d9a30729e4b5a40bca19a97e188bfc07edf0809"
    "/FuseChat-3.0/FuseEval/IF-Eval"
)
_SIMPO = f"{_GITHUB}/princeton-nlp/SimPO/1b3e8f3528a23bce3da514a2dce8ea7490d4bc75"

NON_COMMERCIAL = "CC BY-NC 4.0"
_APACHE = "Apache-2.0"
_MIT = "MIT"


class OfficialFile(NamedTuple):
    """A file as it is published."""

    name: str
    """Benchmark and file name; also where it lies in the cache."""
    what: str
    size: int | None
    """In bytes; None where only the blob is known, which is of the size, too."""
    digest: str
    """sha256; or ``git:`` and the blob's SHA-1."""
    urls: tuple[str, ...]
    licence: str = _APACHE

    @property
    def benchmark(self) -> str:
        """Return the benchmark that it belongs to."""
        return self.name.partition("/")[0]

    def is_whole(self, content: bytes) -> bool:
        """Return whether this is the file's content."""
        if self.digest.startswith("git:"):
            blob = b"blob %d\0" % len(content) + content
            return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == self.digest[4:]
        return hashlib.sha256(content).hexdigest() == self.digest

    def described(self) -> str:
        """Return what it is in a few words."""
        size = "over 4 MB" if self.size is None else readable(self.size)
        return f"{self.name} ({self.what}; {size}; {self.licence})"


class Found(NamedTuple):
    """A file that is there."""

    path: Path
    sha256: str
    is_official: bool
    """It is the published one."""


FILES: tuple[OfficialFile, ...] = (
    OfficialFile(
        "alpaca_eval2/alpaca_eval_gpt4_baseline.json",
        "805 questions, the baseline's answers",
        1_899_765,
        "83db546b872ddebee8965fd05fa48461ee3c32bc695c62fb57f2d214ff741ec4",
        (
            f"{_HUB}/alpaca_eval_gpt4_baseline.json",
            f"{_FUSE}/AlpacaEval-2/ref_data/alpaca_eval_gpt4_baseline.json",
        ),
        NON_COMMERCIAL,
    ),
    OfficialFile(
        "alpaca_eval2/df_gamed.csv",
        "what length control needs",
        148_956,
        "97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d",
        (f"{_HUB}/df_gamed.csv", f"{_FUSE}/AlpacaEval-2/ref_data/df_gamed.csv"),
        NON_COMMERCIAL,
    ),
    OfficialFile(
        "alpaca_eval2/alpaca_eval_clf.txt",
        "what the judge is asked",
        1_398,
        "784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62",
        (
            f"{_ALPACA}/src/alpaca_eval/evaluators_configs/alpaca_eval_clf_gpt4_turbo"
            "/alpaca_eval_clf.txt",
        ),
    ),
    OfficialFile(
        "arena_hard_v0.1/question.jsonl",
        "500 questions",
        283_598,
        "4daad38811161c3ba5c248f26b90c3cef89634f4c772002ed9138c1e13f63e9f",
        (f"{_V01}/data/arena-hard-v0.1/question.jsonl",),
    ),
    OfficialFile(
        "arena_hard_v0.1/gpt-4-0314.jsonl",
        "the baseline's answers",
        1_058_775,
        "245109b8fe7c3bef0304f1c559d29da377f97f61535ad1170b46a61a08eb9ac7",
        (f"{_V01}/data/arena-hard-v0.1/model_answer/gpt-4-0314.jsonl",),
    ),
    OfficialFile(
        "arena_hard_v0.1/judge_config.yaml",
        "what the judge is asked",
        2_400,
        "6e001736bacacdb1591ffca7eec953a7089f8f5604872d1ca4f9a6f9de1ee451",
        (f"{_V01}/config/judge_config.yaml",),
    ),
    OfficialFile(
        "arena_hard_v2/question.jsonl",
        "750 questions",
        947_596,
        "a75cef6623db6b27aec810497b059f0659705d7ff48dcbccc5bd5b130728ac73",
        (f"{_V2}/data/arena-hard-v2.0/question.jsonl",),
    ),
    OfficialFile(
        "arena_hard_v2/o3-mini-2025-01-31.jsonl",
        "the baseline's answers to hard prompts",
        4_184_593,
        "c23a7c255eead99f7f86ad48aa1d8ccdb5b3334f2097e0e1e09184df87265e03",
        (f"{_V2}/data/arena-hard-v2.0/model_answer/o3-mini-2025-01-31.jsonl",),
    ),
    OfficialFile(
        "arena_hard_v2/gemini-2.0-flash-001.jsonl",
        "the baseline's answers to creative writing",
        None,
        "git:75513a4feb8e2f642a9bdb952d1c3ed245b9c952",
        (f"{_V2}/data/arena-hard-v2.0/model_answer/gemini-2.0-flash-001.jsonl",),
    ),
    OfficialFile(
        "arena_hard_v2/judge_utils.py",
        "what the judge is told, by category",
        3_957,
        "cbb093f4fc27408d8447e946392f26f98538b1e3950f574aca91a0f7595167b4",
        (f"{_V2}/utils/judge_utils.py",),
    ),
    OfficialFile(
        "arena_hard_v2/arena-hard-v2.0.yaml",
        "how the judge is shown the answers",
        543,
        "ee68e5c6ac98a79720bf11014fc3f7fc3c3e5899153b3b08efe3db0e174215a0",
        (f"{_V2}/config/arena-hard-v2.0.yaml",),
    ),
    OfficialFile(
        "mt_bench/question.jsonl",
        "80 questions of two turns",
        48_929,
        "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
        (f"{_MT}/mt_bench/question.jsonl",),
    ),
    OfficialFile(
        "mt_bench/judge_prompts.jsonl",
        "what the judge is asked",
        10_449,
        "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
        (f"{_MT}/judge_prompts.jsonl",),
    ),
    OfficialFile(
        "mt_bench/gpt-4.jsonl",
        "official references, 13 of 30 wrong",
        51_109,
        "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
        (f"{_MT}/mt_bench/reference_answer/gpt-4.jsonl",),
    ),
    OfficialFile(
        "mt_bench/gpt-4-0125-preview.jsonl",
        "FuseChat's references",
        95_230,
        "e484037da5cc14007dde1d821ef76046fccbd0b2f095237fad9ead2c4fc66800",
        (f"{_FUSE}/MT-Bench/data/gpt-4-0125-preview.jsonl",),
        "no licence stated",
    ),
    OfficialFile(
        "mt_bench/gpt-4-1106-preview.jsonl",
        "SimPO's references",
        90_726,
        "fe030678a33dbbd3d729e7569375150b8830a53f5b11f820a75b630db317f56f",
        (f"{_SIMPO}/eval/mt-bench/gpt-4-1106-preview.jsonl",),
        _MIT,
    ),
)
_BY_NAME = {file.name: file for file in FILES}


def cache_folder() -> Path:
    """Return where fetched files lie: ``$INARCH_CACHE``, or ``inarch/evaluate`` in the cache."""
    own = os.environ.get("INARCH_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "inarch" / "evaluate"


def find(name: str, given: Path | None = None) -> Found:
    """Return a file that the caller gives, or the official one that was fetched.

    Args:
        name: Of the official file, such as ``mt_bench/question.jsonl``.
        given: Another file in its place, whatever is in it.

    Raises:
        DataError: There is none, or the fetched one has changed.
    """
    file = _BY_NAME[name]
    path = given or cache_folder() / name
    try:
        content = path.read_bytes()
    except OSError as error:
        if given is not None:
            raise DataError(
                f"cannot read {path}: {error.strerror}; expected a file in place of"
                f" {file.described()}"
            ) from None
        raise DataError(
            f"found no {path}; expected {file.described()}: fetch it with inarch evaluate fetch"
            f" {file.benchmark}, give another file, or take it from {file.urls[0]}"
        ) from None
    is_official = file.is_whole(content)
    if given is None and not is_official:
        raise DataError(
            f"{path}: found other content than that of {file.described()}; fetch it anew with"
            f" inarch evaluate fetch {file.benchmark}"
        )
    return Found(path, hashlib.sha256(content).hexdigest(), is_official)


def is_fetched(name: str) -> bool:
    """Return whether an official file is in the cache."""
    return (cache_folder() / name).is_file()


def readable(size: int) -> str:
    """Return a size in bytes with its unit."""
    for limit, unit in ((1_000_000, "MB"), (1_000, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size} B"
