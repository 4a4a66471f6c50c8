"""The prompts of a run of SEFT: each in one round only, so that what is learnt is always new."""

import hashlib
import json
import logging
from typing import NamedTuple

import torch

from inarch.align._prompts import PromptRow, once, read_prompts
from inarch.align._ranked import as_chat
from inarch.align._rows import Dropped
from inarch.errors import DataError
from inarch.flows._seft.settings import SeftRun
from inarch.io.progress import track

logger = logging.getLogger(__name__)


class Fresh(NamedTuple):
    """The prompts of one round."""

    rows: tuple[PromptRow, ...]
    keys: tuple[int, ...]
    """Place of each among all prompts, from which its answer is drawn."""
    digest: str


def fresh_prompts(settings: SeftRun) -> list[Fresh]:
    """Return the prompts of each round, none of them twice, in an order drawn by the seed.

    Raises:
        DataError: The rounds want more prompts than there are.
    """
    dropped, rows = Dropped(), []
    with track(f"reading {settings.prompts.path}", None, "prompts") as advance:
        for row in once(map(_with_turns, read_prompts(settings.prompts, dropped)), dropped):
            if row.messages[-1].role == "assistant":
                dropped.add("prompts that end with words of the assistant's", row.where)
                continue
            rows.append(row)
            advance(1)
    for why, number in dropped.items():
        logger.warning("%s: %d %s are left out", settings.prompts.path, number, why)
    sizes = _sizes(settings, len(rows))
    generator = torch.Generator().manual_seed(settings.prompts_seed)
    order = torch.randperm(len(rows), generator=generator).tolist()
    rounds = []
    for size in sizes:
        drawn, order = order[:size], order[size:]
        rounds.append(_fresh([rows[i] for i in drawn], drawn))
    return rounds


def _with_turns(row: PromptRow) -> PromptRow:
    """Return a prompt with the turns that its text spells, as a reviser's lessons have them."""
    first = row.messages[0]
    if len(row.messages) == 1 and first.role == "user":
        return row._replace(messages=as_chat(first.content))
    return row


def _sizes(settings: SeftRun, num_prompts: int) -> list[int]:
    """Return the number of prompts of each round."""
    wanted = [one.num_prompts for one in settings.rounds]
    left, num_open = num_prompts - sum(filter(None, wanted)), wanted.count(None)
    if left < num_open:
        raise DataError(
            f"{settings.prompts.path}: found {num_prompts} different prompts for"
            f" {len(wanted)} rounds that want {sum(filter(None, wanted))} and a share of the rest,"
            " expected enough that no round sees one again; lower rounds.N.num_prompts"
        )
    return [left // num_open if size is None else size for size in wanted]


def _fresh(rows: list[PromptRow], keys: list[int]) -> Fresh:
    content = json.dumps([[row.messages, row.reference] for row in rows] + [keys])
    digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
    return Fresh(tuple(rows), tuple(keys), digest)
