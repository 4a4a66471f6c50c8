"""Tokenizers: canonical bytes, where tokens end, dummy spaces, changed texts, roles."""

import itertools
import json
import random
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend
from transformers import AddedToken, PreTrainedTokenizer, PreTrainedTokenizerFast

from inarch.errors import DataError, WeightsError
from inarch.io.spelling import byte_characters, lay_by_characters
from inarch.io.tokenizers import load_tokenizer, wrap_tokenizer
from inarch.records import NO_BOUNDARY

SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
TEXTS = [
    "",
    " ",
    "  ",
    "a",
    " a",
    "Hello world",
    "def f(x):\n\treturn  x\r\n",
    "你好，世界",
    "😀",
    "👩‍👩‍👧",
    "naïve cafe\u0301 x\u00a0y",
    "שלום עולם",
]


def byte_level(merges=(), add_prefix_space=False, normalizer=None):
    vocabulary = {c: n for n, c in enumerate(byte_characters())}
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    backend = Backend(models.BPE(vocab=vocabulary, merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


def spm(prefix, extra=(), byte_fallback=True):
    """SentencePiece-like BPE; prefix is `prepend` (normaliser) or a Metaspace scheme."""
    words = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{b:02X}>" for b in range(256)),
        "▁",
        *"abcdeHlow",
        *extra,
    ]
    merges = [("▁", "a"), ("l", "l"), ("H", "e"), ("He", "ll"), ("▁", "▁")]
    words += [left + right for left, right in merges]
    vocabulary = {word: n for n, word in enumerate(dict.fromkeys(words))}
    backend = Backend(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=byte_fallback,
        )
    )
    if prefix == "prepend":
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIALS)


class Slow(PreTrainedTokenizer):
    """One token per character, no backend and no offsets, lower-cases what it reads."""

    def __init__(self, **kwargs):
        self._words = ["<unk>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
        super().__init__(unk_token="<unk>", eos_token="</s>", **kwargs)

    @property
    def vocab_size(self):
        return len(self._words)

    def get_vocab(self):
        return {word: n for n, word in enumerate(self._words)}

    def _tokenize(self, text, **kwargs):
        return ["▁", *text.lower().replace(" ", "▁")]

    def _convert_token_to_id(self, token):
        return self._words.index(token) if token in self._words else 0

    def _convert_id_to_token(self, index):
        return self._words[index]


def spelled_until(tokenizer, encoded, position):
    pieces = [tokenizer.pieces[t] for t in encoded.ids[: position + 1].tolist()]
    return b"".join(pieces)[encoded.pending_first :]


def assert_ends_are_bytes(tokenizer, text):
    """What the tokens spell up to each end is the text up to that byte."""
    encoded = tokenizer.encode(text)
    assert encoded.exact
    for position, end in enumerate(encoded.ends.tolist()):
        assert spelled_until(tokenizer, encoded, position) == text.encode()[:end]
    if text:
        assert encoded.ends[-1] == len(text.encode())


class TestCanonicalBytes:
    def test_byte_level_alphabet_is_undone(self):
        tokenizer = wrap_tokenizer(byte_level([("Ġ", "a"), ("Ċ", "Ċ")]), "t")
        assert tokenizer.pieces[tokenizer.names.index("Ġa")] == b" a"
        assert tokenizer.pieces[tokenizer.names.index("ĊĊ")] == b"\n\n"
        # every byte has exactly one character, so that the table can be undone
        assert sorted(byte_characters().values()) == list(range(256))

    def test_metaspace_and_byte_tokens(self):
        tokenizer = wrap_tokenizer(spm("first"), "t")
        assert tokenizer.pieces[tokenizer.names.index("▁a")] == b" a"
        assert tokenizer.pieces[tokenizer.names.index("<0x0A>")] == b"\n"

    def test_specials_have_none_and_added_tokens_are_raw(self):
        hf = spm("first")
        hf.add_tokens(["<tool▁x>"])
        tokenizer = wrap_tokenizer(hf, "t")
        assert [tokenizer.pieces[n] for n in (0, 1, 2)] == [None, None, None]
        assert tokenizer.special_ids == {0, 1, 2}
        added = tokenizer.names.index("<tool▁x>")
        assert tokenizer.pieces[added] == "<tool▁x>".encode()  # no ▁ is undone in what is raw
        assert tokenizer.size == len(hf)

    def test_word_pieces(self):
        backend = Backend(models.WordPiece({"[UNK]": 0, "ab": 1, "##cd": 2}, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        backend.decoder = decoders.WordPiece()
        tokenizer = wrap_tokenizer(
            PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]"), "t"
        )
        assert tokenizer.pieces == [None, b"ab", b"cd"]
        encoded = tokenizer.encode("abcd ab")
        # the space is in no token: the end before it is not certain, the others are
        assert encoded.ids.tolist() == [1, 2, 1]
        assert encoded.ends.tolist() == [2, NO_BOUNDARY, 7]
        assert not encoded.exact


class TestEnds:
    def test_one_emoji_over_four_byte_tokens(self):
        encoded = wrap_tokenizer(byte_level(), "t").encode("😀")
        assert encoded.ends.tolist() == [1, 2, 3, 4]

    def test_empty_text(self):
        encoded = wrap_tokenizer(byte_level(), "t").encode("")
        assert encoded.ids.shape == encoded.ends.shape == (0,)
        assert encoded.exact
        assert not encoded.pending_first

    @pytest.mark.parametrize("text", TEXTS)
    @pytest.mark.parametrize("prefix", ["prepend", "always", "first", "never"])
    def test_spm_spells_the_text(self, prefix, text):
        assert_ends_are_bytes(wrap_tokenizer(spm(prefix), "t"), text)

    @settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁")))
    def test_any_text(self, text):
        for tokenizer in ALL_KINDS:
            assert_ends_are_bytes(tokenizer, text)

    def test_half_a_surrogate_pair_is_refused(self):
        with pytest.raises(DataError, match="surrogate"):
            wrap_tokenizer(byte_level(), "t").encode_many(["ok", "\ud83d"])

    def test_truncation_and_padding_of_the_tokenizer_do_not_reach_us(self):
        hf = byte_level()
        hf.pad_token = "<|end|>"
        hf(["ab", "abcdef"], padding=True, truncation=True, max_length=2)
        encoded = wrap_tokenizer(hf, "t").encode_many(["abcdef", "a"])
        assert [len(e.ids) for e in encoded] == [6, 1]


ALL_KINDS = [
    wrap_tokenizer(byte_level(), "bytes"),
    wrap_tokenizer(byte_level([("Ġ", "a")], add_prefix_space=True), "bytes with a space in front"),
    *(wrap_tokenizer(spm(prefix), prefix) for prefix in ("prepend", "always", "first", "never")),
]


class TestDummySpace:
    def test_prepended_space_is_pending_before_the_first_token(self):
        encoded = wrap_tokenizer(spm("prepend"), "t").encode("a")
        assert encoded.pending_first
        assert encoded.ends.tolist() == [1]  # ▁a

    def test_lone_dummy_ends_where_it_began(self):
        tokenizer = wrap_tokenizer(spm("prepend"), "t")
        encoded = tokenizer.encode("b")
        assert [tokenizer.names[t] for t in encoded.ids] == ["▁", "b"]
        assert encoded.pending_first
        assert encoded.ends.tolist() == [0, 1]
        assert not encoded.pending.any()

    def test_a_real_space_is_no_dummy(self):
        # Metaspace puts none in front of a text that begins with one; the normaliser does.
        assert not wrap_tokenizer(spm("first"), "t").encode(" a").pending_first
        assert wrap_tokenizer(spm("prepend"), "t").encode(" a").pending_first

    def test_after_a_special_token(self):
        text = "<s>a</s>b"
        always = wrap_tokenizer(spm("prepend"), "t").encode(text, specials=True)
        # <s> | ▁a | </s> | ▁ | b : a space is pending after <s> and after </s>
        assert always.ends.tolist() == [3, 4, 8, 8, 9]
        assert always.pending.tolist() == [True, False, True, False, False]
        assert not always.pending_first
        first = wrap_tokenizer(spm("first"), "t").encode(text, specials=True)
        assert first.ends.tolist() == [3, 4, 8, 9]
        assert not first.pending.any()

    def test_an_added_token_may_take_white_space_along(self):
        hf = byte_level()
        taking = [
            AddedToken("<|end|>", rstrip=True, special=True),
            AddedToken("<|mask|>", lstrip=True, special=True),
        ]
        hf.add_tokens(taking, special_tokens=True)
        tokenizer = wrap_tokenizer(hf, "t")
        encoded = tokenizer.encode("a<|end|> \n b <|mask|> c", specials=True)
        names = [tokenizer.names[t] for t in encoded.ids]
        assert names == ["a", "<|end|>", "b", "<|mask|>", "Ġ", "c"]
        # <|end|> ends at 8, its white space at 11; <|mask|> from 12 with its space ends at 21
        assert encoded.ends.tolist() == [1, 11, 12, 21, 22, 23]
        assert encoded.exact

    def test_specials_are_text_unless_asked_for(self):
        tokenizer = wrap_tokenizer(spm("first"), "t")
        assert not tokenizer.special_ids & set(tokenizer.encode("<s>a</s>").ids.tolist())
        assert {1, 2} <= set(tokenizer.encode("<s>a</s>", specials=True).ids.tolist())


class TestChangedText:
    def test_case_and_white_space(self):
        collapse = normalizers.Sequence(
            [normalizers.Lowercase(), normalizers.Replace(Regex(" {2,}"), " ")]
        )
        tokenizer = wrap_tokenizer(byte_level(normalizer=collapse), "t")
        encoded = tokenizer.encode("aB  c d")
        # spelled: a b ␣ c ␣ d.  B is not b, so that neither end beside it is certain; of the two
        # spaces the second is meant, which has c behind it and ends at byte 4
        assert not encoded.exact
        assert encoded.ends.tolist() == [NO_BOUNDARY, NO_BOUNDARY, 4, 5, 6, 7]

    def test_composed_accents(self):
        tokenizer = wrap_tokenizer(byte_level(normalizer=normalizers.NFC()), "t")
        encoded = tokenizer.encode("xe\u0301y")
        # spelled: x, é as two bytes, y; text: x, e, two bytes of accent, y
        assert encoded.ends.tolist() == [NO_BOUNDARY, NO_BOUNDARY, NO_BOUNDARY, 5]

    def test_unknown_letters(self):
        tokenizer = wrap_tokenizer(spm("never", byte_fallback=False), "t")
        encoded = tokenizer.encode("abXYab")
        assert tokenizer.roles["unk"] in encoded.ids
        # a, b?, <unk>?, a, b: the end behind b has an unknown letter on its other side
        assert encoded.ends.tolist() == [1, NO_BOUNDARY, NO_BOUNDARY, 5, 6]

    @pytest.mark.parametrize("letter", ["\uffff", "\ufffd", "\x00", "ÿ"])
    def test_no_letter_of_a_text_is_taken_for_an_unknown_one(self, letter):
        laid = lay_by_characters([b"a", None, None, b"b"], f"a{letter}{letter}b")
        assert laid.ends.tolist() == [NO_BOUNDARY] * 3 + [2 + 2 * len(letter.encode())]

    def test_a_tokenizer_without_offsets(self):
        tokenizer = wrap_tokenizer(Slow(), "slow")
        assert tokenizer.backend is None
        exact = tokenizer.encode("ab c")
        assert exact.exact
        assert exact.pending_first
        assert exact.ends.tolist() == [0, 1, 2, 3, 4]
        changed = tokenizer.encode("aBc d")
        assert not changed.exact
        assert changed.ends.tolist() == [0, NO_BOUNDARY, NO_BOUNDARY, 3, 4, 5]

    def test_long_texts_are_aligned_window_by_window(self):
        text = ("the quick brown fox. " * 200 + "A" + "  ") * 3  # 12,600 characters
        spelled = " ".join(text.lower().split())
        laid = lay_by_characters([c.encode() for c in spelled], text)
        whole = [e for e in laid.ends.tolist() if e != NO_BOUNDARY]
        assert whole == sorted(whole)
        assert len(whole) > 0.98 * len(spelled)
        for position, end in enumerate(laid.ends.tolist()):
            if end != NO_BOUNDARY:
                expected = " ".join(text[:end].lower().split())
                assert spelled[: position + 1].strip() == expected

    @pytest.mark.parametrize("seed", range(6))
    def test_repeated_phrases_between_swallowed_letters(self, seed):
        # Where each token truly ends is known from how the text was made; whatever is placed must
        # be placed there, though every phrase occurs hundreds of times.
        rng = random.Random(seed)
        pieces, text, true_ends = [], "", []
        while len(text) < 15_000:
            kind = rng.random()
            if kind < 0.3:  # symbols that the tokenizer does not know
                text += "".join(rng.choice("@#%^你") for _ in range(rng.randint(1, 60)))
                pieces.append(None)
            elif kind < 0.5:  # white space that is collapsed
                text += " " * rng.randint(1, 12)
                pieces.append(b" ")
            else:
                word = rng.choice(["if", " total", " is", " not", " None", " else", "("])
                text += word
                pieces.append(word.encode())
            true_ends.append(len(text.encode()))
        laid = lay_by_characters(pieces, text).ends.tolist()
        placed = [(end, true) for end, true in zip(laid, true_ends, strict=True) if end >= 0]
        assert len(placed) > 0.15 * len(pieces)
        for end, true in placed:  # inside white space that is collapsed, any place will do
            assert not text.encode()[min(end, true) : max(end, true)].strip(b" ")

    def test_a_long_text_that_hardly_agrees(self):
        # No four letters in a row are known; it must neither take for ever nor place wrongly.
        rng = random.Random(0)
        text = "".join(rng.choice("ab ") + rng.choice(["", "c"]) + "@" for _ in range(30_000))
        pieces = [None if c == "@" else c.encode() for c in text]
        laid = lay_by_characters(pieces, text).ends
        placed = laid != NO_BOUNDARY
        assert (laid[placed] == np.arange(1, len(text) + 1)[placed]).all()

    def test_the_end_of_a_window_leads_nowhere(self):
        # A window is 2048 letters. The first ends with the zz that is spelled for a §, and the
        # text's has a z in sight, two units on: to go there would lose all that follows.
        unit = "abcdefghijklmnopqrst§"
        text = "pq" + unit * 95 + "zebra" + unit * 200
        pieces = [c.replace("§", "zz").encode() for c in text]
        true_ends = np.cumsum([len(c.encode()) for c in text])
        laid = lay_by_characters(pieces, text).ends
        assert b"".join(pieces)[2046:2048] == b"zz"
        assert (laid == true_ends)[laid != NO_BOUNDARY].all()
        assert (laid != NO_BOUNDARY).mean() > 0.9  # all but both sides of each §

    def test_a_long_stretch_that_is_swallowed(self):
        text = "start of it. " + "你好世界" * 1500 + " and here it goes on as before"
        pieces = [b"start of it. ", None, b" and here", b" it goes on as before"]
        assert lay_by_characters(pieces, text).ends.tolist() == [
            NO_BOUNDARY,
            NO_BOUNDARY,
            13 + 3 * 6000 + 9,
            len(text.encode()),
        ]

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.sampled_from("aAbB  ﬁfé\u0301e你"), max_size=40))
    def test_what_is_placed_is_right(self, text):
        # Against another way: the folded text before an end is what was spelled, folded.
        spelled = " ".join(unicodedata.normalize("NFKC", text).lower().split(" "))
        laid = lay_by_characters([c.encode() for c in spelled], text)

        def folded(part):
            return unicodedata.normalize("NFKD", part).casefold().replace(" ", "")

        for position, end in enumerate(laid.ends.tolist()):
            if end != NO_BOUNDARY:
                assert folded(text.encode()[:end].decode()) == folded(spelled[: position + 1])


class TestRoles:
    TEMPLATE = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )

    def test_end_of_turn_is_found_in_the_template(self):
        hf = byte_level()
        hf.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        hf.chat_template = self.TEMPLATE
        tokenizer = wrap_tokenizer(hf, "t")
        assert tokenizer.roles["eot"] == hf.convert_tokens_to_ids("<|im_end|>")
        assert tokenizer.roles["eos"] == hf.convert_tokens_to_ids("<|end|>")

    def test_a_special_token_goes_before_another_added_one(self):
        hf = byte_level()
        hf.add_tokens(["</answer>"])
        hf.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
        hf.chat_template = "{{ messages[-1].content }}</answer><|im_end|>"
        tokenizer = wrap_tokenizer(hf, "t")
        assert tokenizer.roles["eot"] == hf.convert_tokens_to_ids("<|im_end|>")

    def test_a_turn_may_end_with_a_token_that_is_not_special(self):
        hf = byte_level()
        hf.add_tokens(["<|im_start|>", "<|im_end|>", "\n"])
        hf.chat_template = self.TEMPLATE
        tokenizer = wrap_tokenizer(hf, "t")
        assert tokenizer.roles["eot"] == hf.convert_tokens_to_ids("<|im_end|>")

    @pytest.mark.parametrize("template", [None, "{{ raise_exception('no') }}", "nothing"])
    def test_otherwise_a_turn_ends_as_a_text(self, template):
        hf = byte_level()
        hf.chat_template = template
        tokenizer = wrap_tokenizer(hf, "t")
        assert tokenizer.roles == {"eos": tokenizer.roles["eos"], "eot": tokenizer.roles["eos"]}


class TestDigest:
    def test_content_decides(self):
        assert wrap_tokenizer(spm("first"), "x").digest == wrap_tokenizer(spm("first"), "y").digest
        others = [byte_level(), byte_level([("a", "b")]), *map(spm, ("first", "always", "prepend"))]
        assert len({wrap_tokenizer(hf, "t").digest for hf in others}) == 5

    def test_roles_count(self):
        hf = spm("first")
        hf.eos_token = "<s>"
        assert wrap_tokenizer(hf, "t").digest != wrap_tokenizer(spm("first"), "t").digest


class TestLoad:
    @pytest.mark.parametrize("where", ["empty", "absent"])
    def test_no_tokenizer_there(self, tmp_path, where):
        folder = tmp_path / where
        (tmp_path / "empty").mkdir()
        with pytest.raises(WeightsError, match=r"expected a folder with tokenizer\.json"):
            load_tokenizer(str(folder))

    def test_from_a_folder(self, tmp_path):
        spm("first").save_pretrained(tmp_path)
        loaded = load_tokenizer(str(tmp_path))
        assert loaded.encode("a").ends.tolist() == [1]
        assert json.loads(loaded.backend.to_str())["truncation"] is None


REAL = ["gpt2", "gpt-neox-20b", "falcon", "mistral-v1", "mistral-v3", "minimind"]


@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers_spell_the_text(shared_data, name):
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / name))
    nfc = [text for text in TEXTS if unicodedata.is_normalized("NFC", text)]
    for text in itertools.chain(nfc, ["".join(nfc)]):
        assert_ends_are_bytes(tokenizer, text)


def test_real_roles(shared_data):
    """B1: byte tokens and specials of real vocabularies."""
    mistral = load_tokenizer(str(shared_data / "tokenizers" / "mistral-v1"))
    assert mistral.pieces[mistral.names.index("<0x0A>")] == b"\n"
    assert mistral.roles["eos"] == 2
    neox = load_tokenizer(str(shared_data / "tokenizers" / "gpt-neox-20b"))
    assert neox.pieces[neox.names.index("Ċ")] == b"\n"
    assert neox.pieces[50254] == b" " * 24  # an added token that is no special
    minimind = load_tokenizer(str(shared_data / "tokenizers" / "minimind"))
    assert minimind.names[minimind.roles["eot"]] == "<|im_end|>"
