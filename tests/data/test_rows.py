"""Token rows and their coordinates in the shared stream."""

import numpy as np
import pytest

from inarch.data import Reader, digest, read
from inarch.io.tokenizers import wrap_tokenizer
from inarch.records import NO_BOUNDARY, Document, Message, TokenRow
from tests.tiny import byte_level, sentencepiece

BYTES = wrap_tokenizer(byte_level(), "bytes")
PIECES = wrap_tokenizer(sentencepiece(), "pieces")


def text(content: str, *, ends_here: bool = True) -> Document:
    return Document(0, content, None, "", digest(content, None), ends_here)


def chat(*contents: str) -> Document:
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], c) for i, c in enumerate(contents))
    return Document(0, None, messages, "", digest(None, messages), True)


def row(tokenizer, document: Document, **how: bool) -> TokenRow:
    return read(Reader(tokenizer, tokenizer, **how), [document])[0]


def supervised_bytes(tokenizer, made: TokenRow) -> bytes:
    """What the supervised tokens spell; specials as their names."""
    out = b""
    for t in np.flatnonzero(made.supervised):
        token = int(made.ids[t + 1])
        piece = tokenizer.pieces[token]
        out += piece if piece is not None else tokenizer.hf.convert_ids_to_tokens(token).encode()
    return out


@pytest.mark.parametrize("content", ["The cat", "🐈", " a\n\tb  12 é你", "x"])
def test_a_text_supervises_every_byte_and_its_end(content: str):
    num = len(content.encode())
    for tokenizer, eos in ((BYTES, "<eos>"), (PIECES, "</s>")):
        made = row(tokenizer, text(content))
        assert made.ids[0] == tokenizer.roles["bos"]
        assert made.ids[-1] == tokenizer.roles["eos"]
        assert made.ends[-2:].tolist() == [num, num + 1]
        assert (np.diff(made.ends) >= 0).all()
        spelled = supervised_bytes(tokenizer, made).decode()
        assert spelled.removeprefix(" " if tokenizer is PIECES else "") == content + eos
        assert not made.supervised[-1]
    assert row(BYTES, text(content)).ends[0] == 0
    assert row(PIECES, text(content)).ends[0] == -1  # a dummy space comes first


def test_a_cut_text_has_no_end_and_begin_tokens_are_optional():
    made = row(BYTES, text("The cat", ends_here=False), bos=False)
    assert set(made.ids.tolist()) & BYTES.special_ids == set()
    assert made.ends[-1] == 7


def test_chat_coordinates_by_hand():
    # Answers of 3 and 2 bytes: coordinates 0..3, end of turn 4; then 6..8, end of turn 9.
    for tokenizer, end in ((BYTES, b"<|end|>"), (PIECES, b"</s>")):
        made = row(tokenizer, chat("q a b", "a b", "q", "é"))
        assert (
            supervised_bytes(tokenizer, made).replace(b" ", b"") == b"ab" + end + "é".encode() + end
        )
        known = set(made.ends[made.ends != NO_BOUNDARY].tolist())
        assert {3, 4, 8, 9} <= known <= {-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
        after = {int(made.ends[t]): int(made.ids[t + 1]) for t in np.flatnonzero(made.supervised)}
        assert after[3] == after[8] == tokenizer.roles["eot"]
    # ChatML ends its header at the first byte; the other template puts a space before it.
    assert 0 in row(BYTES, chat("q", "ab")).ends
    made = row(PIECES, chat("q", "ab"))
    first = np.flatnonzero(made.supervised)[0]
    assert made.ends[first] == -1


def test_a_token_that_is_only_the_space_in_front_is_learnt():
    # "é" is two byte pieces behind a lone ▁, which the model must write before them.
    made = row(PIECES, chat("q", "é"))
    first = np.flatnonzero(made.supervised)[0]
    assert PIECES.pieces[made.ids[first + 1]] == b" "
    assert made.ends[first : first + 2].tolist() == [-1, 0]
    assert supervised_bytes(PIECES, made) == " é</s>".encode()


def test_users_words_are_never_supervised_nor_placed():
    secret = "jumps over the lazy"
    for tokenizer in (BYTES, PIECES):
        made = row(tokenizer, chat(secret, "ok", secret, "ok"))
        assert b"lazy" not in supervised_bytes(tokenizer, made)
        assert (made.ends != NO_BOUNDARY).sum() <= 2 * 5


def test_trimmed_space_behind_an_answer_hides_where_the_turn_ends():
    # One template trims, the other does not: at byte 2 they predict different things.
    trims, keeps = row(PIECES, chat("q", "ab \n")), row(BYTES, chat("q", "ab \n"))
    assert 2 not in trims.ends
    assert 4 in keeps.ends
    assert 5 in keeps.ends
    assert 5 not in trims.ends


def test_what_is_trimmed_in_front_keeps_its_coordinates():
    # Two spaces are gone from the rendering; "ab" still ends at byte 4, the turn at 5.
    made = row(PIECES, chat("q", "  ab"))
    assert [e for e in made.ends.tolist() if e >= 3][-2:] == [4, 5]
    assert max(made.ends) == 5


def test_a_foreign_template_is_plain_text_to_a_tokenizer():
    made = read(Reader(PIECES, BYTES), [chat("q", "ab", "q", "c")])[0]
    assert supervised_bytes(PIECES, made) == b"abc"
    assert made.exact


def test_rows_keep_the_order_of_texts_and_chats():
    mixed = [text("The cat"), chat("q", "a"), text("dog")]
    rows = read(Reader(BYTES, BYTES), mixed)
    for document, made in zip(mixed, rows, strict=True):
        np.testing.assert_array_equal(made.ids, row(BYTES, document).ids)
