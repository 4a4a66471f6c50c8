"""What can be read through a veil."""

import pytest

from inarch.spans.veil import Veil, marked_words, veiled


@pytest.mark.parametrize(
    ("text", "marks", "shown"),
    [
        ("you fool!", [(4, 8)], "you f***!"),
        ("you fools", [(4, 8)], "you f****"),  # a part of a word is marked
        ("a total fool", [(2, 12)], "a t**** f***"),
        ("s-h-i-t", [(0, 7)], "s******"),  # one letter of what is spelt, not one per word
        ("oh s h i t", [(3, 10)], "oh s * * *"),
        ("f**k\u00a0off\n", [(0, 8)], "f***\u00a0o**\n"),
        ("\U0001f44d\U0001f3fd fool", [(0, 7)], "\U0001f44d\U0001f3fd f***"),  # emoji stay whole
        ("شتم أحمق", [(4, 8)], "شتم أ***"),
        ("", [], ""),
        ("fine", [], "fine"),
    ],
)
def test_marked_words_by_hand(text, marks, shown):
    assert Veil().over(text, marks) == shown


def test_known_words_are_veiled_everywhere():
    veil = Veil(["fool", "ass"])
    shown = veil.over("Fool, foolish, tomfoolery; ass, class. FOOLS")
    # Words of three letters are not looked for in longer ones.
    assert shown == "F***, f******, t*********; a**, class. F****"
    assert veil.over("fol") == "fol"


def test_known_words_may_come_in_any_case():
    # Lexica have lower case; the folded form of this word is another.
    assert Veil(["schei\u00dfe"]).over("Schei\u00dfe") == "S******"


def test_a_string_of_marked_words():
    assert veiled("you damn fool") == "y** d*** f***"
    assert veiled("f o o l") == "f * * *"  # spelt, so letters are no words
    assert veiled("") == ""


def test_words_that_a_mark_covers_alone():
    text = "You Fool are a gay silly goose x"
    marks = [(4, 8), (15, 18), (19, 30), (31, 32), (4, 9)]
    # Not the name of a group, not two words, not one letter; white space around does not matter.
    assert list(marked_words(text, marks)) == ["fool", "fool"]


def test_real_posts_keep_their_length_and_lines(toxic_spans):
    from inarch.spans.offsets import runs
    from inarch.spans.read import read_posts

    for post in read_posts(toxic_spans / "tsd_trial.csv"):
        marks = runs(post.offsets)
        veiled = Veil(marked_words(post.text, marks)).over(post.text, marks)
        assert len(veiled) == len(post.text)
        assert [c.isspace() for c in veiled] == [c.isspace() for c in post.text]
        for word in marked_words(post.text, marks):
            assert word not in veiled.casefold().split()
