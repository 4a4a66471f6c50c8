"""What a reviser wrote: kept answers byte by byte, revisions unchanged, failures told."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inarch.align._decode import Revised, decide, revised
from inarch.align._labels import LabelSettings

NAMES = LabelSettings().names
KEEP, MINOR, MAJOR = NAMES
ORIGINAL = " an answer\r\n\twith odd ends \u200b\n\n"


@pytest.mark.parametrize(
    "written",
    [KEEP, f"{KEEP}\n", f"{KEEP}\nsomething else", f"\n  {KEEP}  \n{MAJOR}\nmore", f"{KEEP}\r\nx"],
)
def test_what_is_kept_is_the_original(written: str):
    made = revised(ORIGINAL, written, NAMES)
    assert made == Revised(ORIGINAL, 0)
    assert made.text is ORIGINAL
    assert made.text.encode() == ORIGINAL.encode()


@pytest.mark.parametrize(("name", "label"), [(MINOR, 1), (MAJOR, 2)])
def test_a_revision_is_what_follows_the_label(name: str, label: int):
    text = f"  indented\n\n{KEEP}\nlast \n"
    assert revised(ORIGINAL, f"{name}\n{text}", NAMES) == Revised(text, label)
    assert revised(ORIGINAL, f" \n{name} \n{text}", NAMES) == Revised(text, label)


@pytest.mark.parametrize(
    ("written", "failure"),
    [
        ("", "unparsable"),
        (" \n\n", "unparsable"),
        ("Better answer", "unparsable"),
        (f"{MINOR} better", "unparsable"),
        (f"So: {MINOR}\nbetter", "unparsable"),
        (f"better\n{MINOR}\nbetter", "unparsable"),
        (MINOR.lower() + "\nbetter", "unparsable"),
        (MINOR[:-1] + "\nbetter", "unparsable"),
        (MINOR, "empty"),
        (f"{MAJOR}\n", "empty"),
        (f"{MAJOR}\n \n\t", "empty"),
    ],
)
def test_what_makes_no_answer_leaves_the_original(written: str, failure: str):
    made = revised(ORIGINAL, written, NAMES)
    assert made == Revised(ORIGINAL, None, failure)
    assert made.text is ORIGINAL


@given(original=st.text(), written=st.text() | st.sampled_from(NAMES))
def test_no_text_is_an_error_and_no_answer_is_lost(original: str, written: str):
    made = revised(original, written, NAMES)
    assert made.text == original or made.label in (1, 2)
    assert (made.label is None) == bool(made.failure)


@given(text=st.text().filter(str.strip), label=st.integers(0, 2), original=st.text())
def test_what_the_reviser_is_taught_is_read_back(text: str, label: int, original: str):
    made = revised(original, f"{NAMES[label]}\n{text}", NAMES)
    assert made == Revised(text if label else original, label)


def test_labels_by_their_log_probs():
    logps_BL = torch.tensor([[-1.0, -2.0, -3.0], [-3.0, -1.0, -1.0], [-2.0, -2.0, -9.0]])
    assert decide(logps_BL).tolist() == [0, 1, 0]
    assert decide(logps_BL, keep_bias=2.5).tolist() == [0, 0, 0]
    assert decide(logps_BL, keep_bias=-1.5).tolist() == [1, 1, 1]
    assert logps_BL[0, 0] == -1  # untouched
