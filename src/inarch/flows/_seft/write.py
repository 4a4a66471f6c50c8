"""What a reviser writes about answers: greedily, or behind the label that is the most probable."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from inarch.align._decode import decide
from inarch.align._ranked import Chat
from inarch.align._reviser import ReviserForm, opening_logps, openings, reviser_chat
from inarch.align._rows import Ids
from inarch.flows._seft.settings import DecodeSettings
from inarch.io.generation import complete, read_prompts
from inarch.io.models import max_positions
from inarch.io.tokenizers import Tokenizer


class Writer(NamedTuple):
    """A reviser that is loaded."""

    model: Any
    """A causal LM, on its device."""
    tokenizer: Tokenizer
    form: ReviserForm
    decode: DecodeSettings


def write(writer: Writer, prompts: Sequence[Chat], answers: Sequence[str]) -> list[str | None]:
    """Return what the reviser writes about each answer; None where it cannot read it."""
    form = writer.form
    chats = [reviser_chat(p, answer, form) for p, answer in zip(prompts, answers, strict=True)]
    read = read_prompts(writer.model, writer.tokenizer, chats)
    readable = {i: ids for i, ids in enumerate(read) if not isinstance(ids, str)}
    written: list[str | None] = [None] * len(chats)
    begun = dict.fromkeys(readable, "")
    if writer.decode.decide == "logps":
        begun, readable = _decided(writer, chats, readable)
        for i in begun.keys() - readable.keys():
            written[i] = begun[i]
    completions = complete(
        writer.model,
        writer.tokenizer,
        list(readable.values()),
        writer.decode.max_new_tokens,
        writer.decode.batch_size,
    )
    for i, one in zip(readable, completions, strict=True):
        written[i] = begun[i] + one.text
    return written


def _decided(
    writer: Writer, chats: Sequence[Chat], readable: dict[int, Ids]
) -> tuple[dict[int, str], dict[int, Ids]]:
    """Return how each answer begins, and the tokens behind which the reviser is to go on.

    Behind the label to keep it need not.
    """
    names = writer.form.labels.names
    limit = max_positions(writer.model.config) or np.inf
    opened = {i: openings(chats[i], names, writer.tokenizer) for i in readable}
    whole = {
        i: found
        for i, found in opened.items()
        if found and len(readable[i]) + max(len(one.ids) for one in found) < limit
    }
    begun: dict[int, str] = {}
    on: dict[int, Ids] = {}
    numbers = sorted(whole, key=lambda i: len(readable[i]))
    for at in range(0, len(numbers), writer.decode.batch_size):
        batch = numbers[at : at + writer.decode.batch_size]
        logps_BL = opening_logps(
            writer.model, [readable[i] for i in batch], [whole[i] for i in batch]
        )
        for i, label in zip(batch, decide(logps_BL, writer.decode.keep_bias).tolist(), strict=True):
            begun[i] = whole[i][label].text
            if label:
                on[i] = np.concatenate([readable[i], whole[i][label].ids])
    return begun, on
