import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inarch.data import Corpus, DataSettings, digest, read_raw, usable, write_documents
from inarch.errors import DataError
from inarch.records import Document, Message

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "你好 🐈"}]


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def raws(path, **settings):
    return list(read_raw(DataSettings(path=str(path), **settings)))


def test_formats_agree(tmp_path):
    rows = [{"text": "a\r\nb", "domain": "x"}, {"messages": CHAT}]
    (tmp_path / "a.jsonl").write_text("\ufeff" + lines(*rows) + "\n", encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    full = [{"text": None, "messages": None, "domain": None} | row for row in rows]
    pq.write_table(pa.Table.from_pylist(full), tmp_path / "a.parquet")
    found = [[r[1:] for r in raws(tmp_path / f"a.{s}")] for s in ("jsonl", "json", "parquet")]
    assert found[0] == found[1] == found[2]
    assert found[0][0] == ("a\r\nb", None, "x")
    assert found[0][1][1][1] == Message("assistant", "你好 🐈")


def test_fusechats_rows(tmp_path):
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    (tmp_path / "a.json").write_text(json.dumps([{"conversations": turns}]))
    (raw,) = raws(tmp_path / "a.json")
    assert raw.messages == (Message("user", "q"), Message("assistant", "a"))


def test_a_txt_file_is_one_text(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    assert [r.text for r in raws(tmp_path / "a.txt")] == ["one\n\ntwo\n"]


def test_limit(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(*({"text": str(i)} for i in range(9))))
    assert len(raws(tmp_path / "a.jsonl", limit=4)) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": "b', r"a.jsonl:2: not a JSON object.*was the file cut"),
        (b'{"text": "a"}\n[1]\n', r"a.jsonl:2: found list"),
        (b'{"txt": "a"}\n', r"a.jsonl:1: found keys \['txt'\]; expected a string `text`"),
        (b'{"text": 3}\n', r"a.jsonl:1: found keys"),
        (b'{"messages": [{"role": "user"}]}\n', r"a.jsonl:1: found the turn"),
        (b'{"text": "\xff"}\n', r"a.jsonl:1: byte 10 is not UTF-8"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, content: bytes, message: str):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        raws(tmp_path / "a.jsonl")


def test_wrong_files(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match=r"found a .csv file; expected"):
        raws(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a whole Parquet file"):
        raws(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"found neither a file .*absent.jsonl"):
        raws(tmp_path / "absent.jsonl")


def kept(tmp_path, *rows: object) -> tuple[list[Document], Counter[str]]:
    (tmp_path / "a.jsonl").write_text(lines(*rows))
    skipped: Counter[str] = Counter()
    found = [usable(raw, skipped) for raw in raws(tmp_path / "a.jsonl")]
    return [d for d in found if d is not None], skipped


def test_what_teaches_nothing_is_counted(tmp_path):
    documents, skipped = kept(
        tmp_path,
        {"text": ""},
        {"text": "🐈"},
        {"text": "\ud800"},
        {"messages": CHAT[:1]},
        {"messages": [CHAT[0], {"role": "assistant", "content": "  "}]},
        {"messages": [*CHAT, CHAT[0]]},
    )
    assert [d.text for d in documents] == ["🐈", None]
    assert documents[1].messages == (Message("user", "q"), Message("assistant", "你好 🐈"))
    assert skipped == {
        "empty texts": 1,
        "rows with lone surrogates": 1,
        "chats without an answer": 2,
        "turns after the last answer": 2,
    }


def test_digests_tell_contents_apart():
    chat = (Message("user", "a"), Message("assistant", "b"))
    moved = (Message("user", "ab"), Message("assistant", ""))
    seen = {digest("a", None), digest("b", None), digest(None, chat), digest(None, moved)}
    assert len(seen) == 4
    assert digest("a", None) == digest("a", None)


def test_documents_on_disk(tmp_path):
    chat = (Message("user", "q\n"), Message("assistant", "你"))
    documents = [
        Document(i, None if i % 2 else f"t{i}", chat if i % 2 else None, "d", bytes(16), i != 3)
        for i in range(2500)
    ]
    write_documents(tmp_path / "d.arrow", iter(documents))
    corpus = Corpus(tmp_path / "d.arrow")
    assert len(corpus) == 2500
    assert corpus[1020:1030] == documents[1020:1030]
    assert corpus[2499:9999] == documents[2499:]
