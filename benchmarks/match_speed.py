"""How fast matching is, beside the edit-distance time warping that it replaces.

    python benchmarks/match_speed.py [--pair TARGET SOURCE] [--text FILE ...] [--out FOLDER]

Measures, for rows of about 2,000 target tokens and k = 10 on one core: pairing positions and
remapping candidates (what the package does for each row), carrying beliefs over with `align` under
both coverages, tokenising (the floor that no matching can go below), and dynamic time warping over
token strings as FuseLLM and FuseChat use it, written for this benchmark from its description:
D[i, j] = c(i, j) + min(D[i-1, j], D[i, j-1], D[i-1, j-1]) with the edit distance of the strings
without their mark for a space as the cost, then traced back, in plain Python. The ratio compares
positions alone, which is what time warping gives.
"""

import argparse
import json
import platform
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from inarch.io.tokenizers import Encoded, Tokenizer, load_tokenizer
from inarch.match import MatchSettings, align, build_tables, pair_positions, remap
from inarch.match.baselines import edit_distance
from inarch.match.maps import marked_names
from inarch.match.report import made_up
from inarch.records import Beliefs, TokenRow

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data" / "tokenizers"
PAIRS = [("mistral-v1", "gpt-neox-20b"), ("gpt2", "mistral-v1"), ("minimind", "falcon")]
ROW_TOKENS = 2000


def warp(mine: list[str], theirs: list[str]) -> list[list[int]]:
    """Return for each target token the source tokens on the cheapest path."""
    distance = edit_distance()
    infinite = float("inf")
    previous = [0.0, *[infinite] * len(theirs)]
    steps = []
    for own in mine:
        row, moves = [infinite], []
        for j, other in enumerate(theirs):
            best = min(previous[j], previous[j + 1], row[j])  # diagonal, up, left
            moves.append((previous[j], previous[j + 1], row[j]).index(best))
            row.append(best + distance(own, other))
        steps.append(moves)
        previous = row
    aligned: list[list[int]] = [[] for _ in mine]
    i, j = len(mine) - 1, len(theirs) - 1
    while i >= 0 and j >= 0:
        aligned[i].insert(0, j)
        move = steps[i][j]
        i, j = i - (move in (0, 1)), j - (move in (0, 2))
    return aligned


def seconds(call: Callable[[], object], at_least_s: float = 2.0) -> float:
    """Return the least time of one call among calls for two seconds."""
    best, spent = float("inf"), 0.0
    while spent < at_least_s:
        start = time.perf_counter()
        call()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return best


def cut(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return pieces of the text of about ROW_TOKENS tokens, cut at line ends."""
    lines = text.splitlines(keepends=True)
    lengths = [len(row.ids) for row in tokenizer.encode_many(lines)]
    rows = np.cumsum(lengths) // ROW_TOKENS
    texts = [
        "".join(line for line, r in zip(lines, rows, strict=True) if r == n) for n in set(rows)
    ]
    return texts[:-1] or texts


def document(mine: Encoded, theirs: Encoded, num_ids: int) -> tuple[TokenRow, Beliefs]:
    """Return a row and made-up beliefs about it."""
    ids, logps, tail = made_up(theirs.ids, num_ids)
    row = TokenRow(mine.ids, mine.ends, np.arange(len(mine.ids)) < len(mine.ids) - 1, mine.exact)
    beliefs = Beliefs(
        theirs.ends[:-1],
        theirs.ends[1:],
        theirs.ids[1:],
        logps[:-1, 0],
        ids[:-1],
        logps[:-1],
        tail[:-1],
    )
    return row, beliefs


def measure(target_folder: str, source_folder: str, text: str) -> dict[str, object]:
    """Return tokens per second of each way, and the ratio."""
    target, source = load_tokenizer(target_folder), load_tokenizer(source_folder)
    tables = build_tables(target, source, MatchSettings())
    texts = cut(target, text)
    encoded = list(zip(target.encode_many(texts), source.encode_many(texts), strict=True))
    made = [made_up(theirs.ids, source.size) for _, theirs in encoded]
    documents = [document(mine, theirs, source.size) for mine, theirs in encoded]
    num_tokens = sum(len(mine.ids) for mine, _ in encoded)

    def match_and_remap() -> None:
        for (mine, theirs), (ids, logps, tail) in zip(encoded, made, strict=True):
            _, at = pair_positions(mine.ends, theirs.ends)
            remap(ids[at], logps[at], tail[at], tables.vocab_map)

    def pair() -> None:
        for mine, theirs in encoded:
            pair_positions(mine.ends, theirs.ends)

    def carry(coverage: str) -> None:
        for row, beliefs in documents:
            align(row, beliefs, tables, coverage)

    ways = {
        "tokenize_target": lambda: target.encode_many(texts),
        "positions": pair,
        "match_and_remap": match_and_remap,
        "align_boundary": lambda: carry("boundary"),
        "align_prefix": lambda: carry("prefix"),
    }
    speeds = {name: num_tokens / seconds(call) for name, call in ways.items()}

    mine, theirs = encoded[0]
    names = [
        [str(bare[token]) for token in row.ids.tolist()]
        for bare, row in ((marked_names(target, ""), mine), (marked_names(source, ""), theirs))
    ]
    start = time.perf_counter()
    warp(*names)
    speeds["time_warping"] = len(mine.ids) / (time.perf_counter() - start)
    return {
        "target": Path(target_folder).name,
        "source": Path(source_folder).name,
        "rows": len(texts),
        "target_tokens": num_tokens,
        "tokens_per_row": num_tokens / len(texts),
        "tokens_per_second": speeds,
        "positions_over_time_warping": speeds["positions"] / speeds["time_warping"],
        "match_and_remap_over_time_warping": speeds["match_and_remap"] / speeds["time_warping"],
    }


def hardware() -> str:
    """Return the processor's name, fit for a file name."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return re.sub(r"[^a-z0-9]+", "-", (names[0] if names else platform.machine()).lower()).strip(
        "-"
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pair", nargs=2, action="append", metavar=("TARGET", "SOURCE"))
    texts = [ROOT / "LICENSE", *sorted((ROOT / "src").rglob("*.py"))]
    parser.add_argument("--text", type=Path, nargs="*", default=texts)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    text = "\n".join(path.read_text() for path in args.text)
    pairs = args.pair or [(str(SHARED / a), str(SHARED / b)) for a, b in PAIRS]
    result = {
        "what": "match and remap, k = 10, one core",
        "hardware": hardware(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "goal_tokens_per_second": 1e6,
        "pairs": [measure(target, source, text) for target, source in pairs],
    }
    day = datetime.now(tz=UTC).date().isoformat()
    path = args.out / f"match_speed-{day}-{hardware()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(path)


if __name__ == "__main__":
    main()
