"""The table of methods tells the truth about what each needs."""

import inspect
from typing import Any

import pytest
import torch

from inarch.align import METHODS
from inarch.errors import DataError
from inarch.records import AnswerLogps, LabelledLogps

from .made_up import golden_triples, random_triples, target_pair


def records(data: str) -> tuple[Any, Any]:
    """A policy and a reference, with lengths where the record has room for them."""
    triples = random_triples()
    if data == "triples":
        return triples
    if data == "pairs":
        return tuple(target_pair(x) for x in triples)
    if data == "answers":
        return tuple(AnswerLogps(x.target_B) for x in triples)
    liked = torch.arange(7) % 2 > 0
    return tuple(LabelledLogps(x.target_B, x.rejected_B, liked) for x in triples)


@pytest.mark.parametrize("name", METHODS)
def test_one_way_to_call_them_all(name: str):
    method = METHODS[name]
    policy, reference = records(method.data)
    settings = method.settings()
    given = [policy, reference][: 1 + method.reference]
    late = {"progress": 0.75} if method.ramps else {}
    expected = method.function(*given, settings, **late)
    made = method.loss(policy, reference, settings, progress=0.75)
    assert made.loss.item() == expected.loss.item()
    assert ("progress" in inspect.signature(method.function).parameters) == method.ramps
    assert method.items == ("tokens" if name == "sft" else "rows")


@pytest.mark.parametrize("name", METHODS)
def test_whether_the_reference_matters(name: str):
    method = METHODS[name]
    policy, reference = records(method.data)
    settings = method.settings()
    losses = [
        method.loss(policy, other, settings, progress=0.5).loss.item()
        for other in (reference, policy if method.reference else None)
    ]
    assert (losses[0] != losses[1]) == method.reference


@pytest.mark.parametrize(
    ("name", "settings", "divides"),
    [
        ("wrpo", {"length_norm": False}, False),
        ("wrpo", {"length_norm": True}, True),
        ("dpo", {}, False),
        ("ipo", {"normalise": "sum"}, False),
        ("ipo", {"normalise": "token"}, True),
        ("ln_dpo", {}, True),
        ("simpo", {}, True),
        ("orpo", {}, True),
    ],
)
def test_whether_lengths_matter(name: str, settings: dict[str, Any], divides: bool):
    method = METHODS[name]
    assert method.scores == ("either" if settings else "means" if divides else "sums")
    policy, reference = golden_triples()
    if method.data == "pairs":
        policy, reference = target_pair(policy), target_pair(reference)
    bare, chosen = policy._replace(lengths=None), method.settings(**settings)
    if divides:
        with pytest.raises(DataError, match="without lengths"):
            method.loss(bare, reference, chosen, progress=0.5)
    else:
        made = [method.loss(x, reference, chosen, progress=0.5).loss for x in (bare, policy)]
        assert made[0] == made[1]
