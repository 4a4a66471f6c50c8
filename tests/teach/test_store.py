"""Shards: what is kept, how large it is, and what is said when one does not fit."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from inarch.errors import DataError
from inarch.records import Beliefs, Document
from inarch.teach.store import counts, id_type, quantised, read_shard, write_shard


def documents(num: int) -> list[Document]:
    return [Document(i + 40, f"t{i}", None, "", bytes([i]) * 16, True) for i in range(num)]


def beliefs(num_positions: int, vocab_size: int, seed: int, k: int = 10) -> Beliefs:
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.integers(1, 9, num_positions + 1)).astype(np.int32)
    ids = rng.integers(0, vocab_size, (num_positions, k)).astype(np.int32)
    logps = np.log(rng.dirichlet(np.ones(k + 1), num_positions)).astype(np.float32)
    return Beliefs(
        ends=ends[:-1],
        next_ends=ends[1:],
        next_ids=ids[:, 0],
        next_logps=logps[:, 0],
        ids=ids,
        logps=-np.sort(-logps[:, :k], axis=1),
        tail=logps[:, k],
    )


@pytest.mark.parametrize("vocab_size", [200, 32_000, 152_000])
def test_what_is_written_is_read(tmp_path, vocab_size: int):
    told = [beliefs(n, vocab_size, n)._replace(exact=n != 7) for n in (7, 0, 300)]
    write_shard(tmp_path / "s.parquet", documents(3), told, vocab_size)
    for made, expected in zip(read_shard(tmp_path / "s.parquet", documents(3)), told, strict=True):
        expected = quantised(expected)
        assert made.exact is expected.exact
        for name in Beliefs._fields[:-1]:
            a, b = getattr(made, name), getattr(expected, name)
            assert a.dtype == b.dtype
            if len(expected.ends):
                np.testing.assert_array_equal(a, b)
            else:
                assert len(a) == 0

    assert counts(tmp_path / "s.parquet") == (307, 1)


def test_mass_and_tail_sum_to_one():
    # B3: float16 keeps the sum to a tenth of a percent
    kept = quantised(beliefs(500, 100, 0))
    np.testing.assert_allclose(np.exp(kept.logps).sum(1) + np.exp(kept.tail), 1, atol=2e-3)


@pytest.mark.parametrize(
    ("size", "name"), [(256, "uint8"), (257, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_smallest_id_type(size: int, name: str):
    assert id_type(size) == name


@pytest.mark.parametrize("vocab_size", [32_000, 152_000])
def test_at_most_62_bytes_per_kept_token(tmp_path, vocab_size: int):
    # Uniform random ids and log-probs: nothing for the compression to find.
    told = [beliefs(1000, vocab_size, n) for n in range(8)]
    write_shard(tmp_path / "s.parquet", documents(8), told, vocab_size)
    assert (tmp_path / "s.parquet").stat().st_size / 8000 <= 62


def test_no_json_no_int64(tmp_path):
    write_shard(tmp_path / "s.parquet", documents(1), [beliefs(5, 40_000, 0)], 40_000)
    types = {f.name: str(f.type) for f in pq.read_schema(tmp_path / "s.parquet")}
    assert types["ids"] == "list<element: uint16>"
    assert types["logps"] == types["tail"] == "list<element: halffloat>"
    assert not any("int64" in t or "string" in t for t in types.values())


def test_another_corpus_is_named_by_row(tmp_path):
    write_shard(tmp_path / "s.parquet", documents(3), [beliefs(2, 9, n) for n in range(3)], 9)
    changed = documents(3)
    changed[1] = changed[1]._replace(digest=b"x" * 16)
    with pytest.raises(DataError, match=r"s.parquet: row 41 of the corpus is not the text"):
        read_shard(tmp_path / "s.parquet", changed)
    with pytest.raises(DataError, match=r"found 3 rows; the corpus has 2"):
        read_shard(tmp_path / "s.parquet", documents(2))


def test_a_shard_cut_in_half(tmp_path):
    path = tmp_path / "s.parquet"
    write_shard(path, documents(3), [beliefs(200, 9, n) for n in range(3)], 9)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"s.parquet: not a whole Parquet file.*only this shard"):
        read_shard(path, documents(3))
    with pytest.raises(DataError, match=r"absent.parquet: not a whole"):
        read_shard(tmp_path / "absent.parquet", documents(3))
