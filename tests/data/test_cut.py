"""Texts are cut once, where every tokenizer has a boundary, and lose nothing."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.data import Reader, cut_text, documents, read
from inarch.data.corpus import Raw
from inarch.io.tokenizers import load_tokenizer, wrap_tokenizer
from inarch.records import Message
from tests.tiny import byte_level, sentencepiece

READERS = [Reader(t, t) for t in map(wrap_tokenizer, (byte_level(), sentencepiece()), "bs")]


def raw(text: str | None, messages: tuple[Message, ...] | None = None) -> Raw:
    return Raw("here", text, messages, "")


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="the cat 12\n\té你🐈", min_size=1, max_size=200), st.integers(8, 40))
def test_pieces_spell_the_text_and_fit(text: str, limit: int):
    pieces = cut_text(text, READERS, limit)
    assert "".join(pieces) == text
    for reader in READERS:
        for piece in pieces:
            document = next(documents([raw(piece)], [reader], 999, Counter()))
            assert len(read(reader, [document])[0].ids) <= limit


def test_a_cut_is_a_boundary_of_every_tokenizer():
    text = "The quick brown fox jumps over the lazy dog. " * 4
    pieces = cut_text(text, READERS, 20)
    assert len(pieces) > 2
    at = 0
    for piece in pieces[:-1]:
        at += len(piece.encode())
        for reader in READERS:
            assert at in reader.tokenizer.encode(text).ends


def test_only_the_last_piece_ends_the_text():
    skipped: Counter[str] = Counter()
    found = list(documents([raw("The cat " * 30), raw("dog")], READERS, 20, skipped))
    assert [d.index for d in found] == list(range(len(found)))
    assert [d.ends_here for d in found] == [False] * (len(found) - 2) + [True, True]
    assert skipped["texts cut (nothing is lost)"] == 1


def test_a_text_without_a_place_to_cut_is_counted():
    skipped: Counter[str] = Counter()
    assert list(documents([raw("🐈")], READERS, 4, skipped)) == []
    assert skipped["texts without a byte position to cut at"] == 1


def test_a_long_chat_loses_its_last_exchanges():
    turns = [Message(("user", "assistant")[i % 2], "The cat sat") for i in range(8)]
    skipped: Counter[str] = Counter()
    (short,) = documents([raw(None, tuple(turns))], READERS, 60, skipped)
    assert 2 <= len(short.messages) < 8
    assert len(short.messages) % 2 == 0
    assert all(len(read(r, [short])[0].ids) <= 60 for r in READERS)
    assert skipped["exchanges cut off long chats"] == 4 - len(short.messages) // 2
    assert list(documents([raw(None, tuple(turns))], READERS, 10, skipped)) == []
    assert skipped["chats whose first exchange is too long"] == 1


def test_a_chat_that_a_template_hides_is_counted():
    hf = byte_level()
    hf.chat_template = "{{ messages[-1].content }}"
    tokenizer = wrap_tokenizer(hf, "x")
    chat = tuple(Message(("user", "assistant")[i % 2], "a") for i in range(4))
    skipped: Counter[str] = Counter()
    assert list(documents([raw(None, chat)], [Reader(tokenizer, tokenizer)], 99, skipped)) == []
    assert skipped == {"the chat template shows 1 of 2 answers": 1}


def test_real_tokenizers_share_cuts(shared_data):
    folders = [shared_data / "tokenizers" / n for n in ("mistral-v1", "minimind")]
    tokenizers = [load_tokenizer(str(f)) for f in (*folders, shared_data / "models/stories260K")]
    readers = [Reader(t, t) for t in tokenizers]
    text = (shared_data / "tokenizers" / "README.md").read_text()
    for limit in (40, 300):
        pieces = cut_text(text, readers, limit)
        assert "".join(pieces) == text
        assert all(len(r.tokenizer.encode(p).ids) <= limit - 2 for r in readers for p in pieces)
