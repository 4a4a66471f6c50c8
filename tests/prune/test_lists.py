"""The reference's lists of removed blocks."""

import json

import pytest

from inarch.errors import DataError
from inarch.prune._lists import read_list, write_list
from inarch.prune._order import Step
from tests.prune.made_up import block
from tests.prune.recorded import ORDERS


def published(order) -> str:
    """A list as the reference writes it: sorted by layer, within a layer by chance."""
    return json.dumps(
        {
            str(k + 1): sorted(map(list, reversed(order[: k + 1])), key=lambda pair: pair[1])
            for k in range(len(order))
        }
    )


@pytest.mark.parametrize("name", ORDERS)
def test_the_published_lists_are_read_and_written(name: str):
    order = ORDERS[name]
    assert len(order) == 20
    assert [b.kind for b in order].count("mha") == 13
    assert [b.kind for b in order[:7]] == ["mha"] * 7
    assert read_list(published(order)) == order
    written = json.loads(write_list(Step((b,), 0.0) for b in order))
    assert list(written) == [str(k) for k in range(1, 21)]
    assert written["2"] == [list(b) for b in sorted(order[:2], key=lambda b: b.layer)]
    assert read_list(json.dumps(written)) == order


def test_the_beginning_of_the_list_of_64_samples():
    # As it stands in the reference's repository.
    text = '{"1": [["mha", 25]], "2": [["mha", 25], ["mha", 27]]}'
    assert read_list(text) == ORDERS["ns64"][:2]
    assert write_list(Step((b,), 0.0) for b in ORDERS["ns64"][:2]) == text


def test_a_unit_of_two_blocks_is_two_entries():
    text = write_list([Step((block("mha1"), block("mlp0")), 0.0)])
    assert json.loads(text) == {"1": [["mha", 1]], "2": [["mlp", 0], ["mha", 1]]}


def test_a_repeated_entry_is_passed_over():
    assert read_list('{"1": [["mha", 2]], "2": [["mha", 2]]}') == [block("mha2")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "no list of removed blocks"),
        ("[1]", "no list of removed blocks"),
        ('{"one": []}', "no list of removed blocks"),
        ('{"1": [["attn", 1]]}', r'found \["attn", 1\]'),
        ('{"1": [["mha", -1]]}', r'found \["mha", -1\]'),
        ('{"1": [["mha", 1, 2]]}', "no list of removed blocks"),
        ('{"1": [["mha", 1], ["mlp", 1]]}', r"entry 1 of the list adds mha1\+mlp1"),
        ('{"1": [["mha", 1]], "2": [["mlp", 1]]}', "entry 2 of the list adds mlp1 and lacks mha1"),
    ],
)
def test_what_is_no_such_list_is_refused(text: str, message: str):
    with pytest.raises(DataError, match=message):
        read_list(text)
