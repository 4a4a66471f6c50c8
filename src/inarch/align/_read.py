"""Rows of preference files as prompts and answers, in text: TRL's forms, WRPO's, plain columns.

    form       columns                                    answers of a row, in this order
    triples    prompt, source, target, rejected           source, target, rejected
               prompt, chosen of two, rejected            (WRPO's record: chosen = source, target)
    pairs      prompt, chosen, rejected                   chosen, rejected
               chosen, rejected                           (the prompt is what both begin with)
    labelled   prompt, completion, label                  completion
    answers    prompt, completion; or messages            completion

A prompt is a text, a message or a list of messages; an answer is a text, a message or a list of
messages that ends with the answer. Where a list begins with other turns, they are the prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from inarch.errors import DataError
from inarch.records import Message

Form = Literal["triples", "pairs", "labelled", "answers"]
Prompt = str | tuple[Message, ...]
Chosen = Literal["auto", "source", "target"]


class Preference(NamedTuple):
    """One row in text."""

    where: str
    """``file:line`` or ``file row n``, for messages."""
    prompt: Prompt
    answers: tuple[str, ...]
    liked: bool | None = None
    """Label of a labelled row."""


def preferences(
    row: Any, where: str, form: Form, chosen: Chosen, dropped: Counter[str]
) -> tuple[Preference, ...]:
    """Return a row of a file in the form that a method needs: none, one, or two with labels.

    Rows that hold more than is needed are read for the part that is: a triple is a pair of one of
    its better answers and the rejected one, and a pair is two labelled answers, or one answer.

    Args:
        row: As it stands in the file.
        where: Its place, for messages.
        form: What the method needs.
        chosen: Which better answer of a triple stands for both where one is needed; ``auto`` is
            the source's for ``answers`` (WRPO's first stage) and the target's for the others.
        dropped: Counts why rows are left out.

    Raises:
        DataError: The row lacks a column, or holds something else in it; both are named.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: found {type(row).__name__}, expected an object with columns")
    prompt, named, liked = _columns(row, where)
    wanted = _wanted(named, form, chosen, where)
    reason = _unusable(prompt, wanted)
    if form == "answers" and liked is False:
        reason = "rows whose label is false"
    if reason:
        dropped[reason] += 1
        return ()
    texts = tuple(wanted.values())
    if form != "labelled":
        return (Preference(where, prompt, texts),)
    if len(texts) == 1:
        if liked is None:
            raise DataError(f"{where}: label: found none, expected true or false")
        return (Preference(where, prompt, texts, liked),)
    return tuple(
        Preference(where, prompt, (text,), label)
        for text, label in zip(texts, (True, False), strict=True)
    )


def _columns(row: Mapping[str, Any], where: str) -> tuple[Prompt, dict[str, str], bool | None]:
    """Return the prompt, the answers by what they are, and the label."""
    given = {name: value for name, value in row.items() if value is not None}
    if "target" in given and "rejected" in given:
        names = [name for name in ("source", "target", "rejected") if name in given]
        return _split(given, where, {name: given[name] for name in names})
    if "chosen" in given and "rejected" in given:
        return _split(given, where, _pair_or_triple(given))
    if "completion" in given:
        return _split(given, where, {"completion": given["completion"]})
    if "messages" in given:
        return _split(given, where, {"messages": given["messages"]})
    raise DataError(
        f"{where}: found the columns {', '.join(sorted(map(str, row)))}; expected prompt with"
        " chosen and rejected, with source, target and rejected, or with completion (and label)"
    )


def _pair_or_triple(given: Mapping[str, Any]) -> dict[str, Any]:
    """Tell WRPO's record, whose ``chosen`` is two answers and no chat, from a pair."""
    chosen, rejected = given["chosen"], given["rejected"]
    if isinstance(chosen, list | tuple) and len(chosen) == 2 and all(map(_is_answer, chosen)):
        rejected = rejected[0] if isinstance(rejected, list) and len(rejected) == 1 else rejected
        return {"source": chosen[0], "target": chosen[1], "rejected": rejected}
    return {"chosen": chosen, "rejected": rejected}


def _is_answer(turn: Any) -> bool:
    return isinstance(turn, str) or (isinstance(turn, Mapping) and turn.get("role") == "assistant")


def _split(
    given: Mapping[str, Any], where: str, columns: Mapping[str, Any]
) -> tuple[Prompt, dict[str, str], bool | None]:
    """Return the prompt, the texts of the answers, and the label."""
    found = {name: _answer(value, where, name) for name, value in columns.items()}
    texts = {name: text for name, (_, text) in found.items()}
    before = {turns for turns, _ in found.values()}
    if len(before) > 1:
        raise DataError(
            f"{where}: {' and '.join(found)} begin with different turns; expected answers to one"
            " prompt"
        )
    (turns,) = before
    label = given.get("label") if "completion" in columns else None
    if label is not None and not isinstance(label, bool):
        raise DataError(f"{where}: label: found {label!r:.80}, expected true or false")
    if turns:  # the column `prompt`, where there is one, repeats them
        return turns, texts, label
    if "prompt" in given:
        return read_prompt(given["prompt"], where), texts, label
    if set(texts) != {"chosen", "rejected"}:
        raise DataError(f"{where}: prompt: found none, expected a text or messages")
    common = _common_words(texts["chosen"], texts["rejected"])
    return common, {name: text[len(common) :] for name, text in texts.items()}, label


def _common_words(a: str, b: str) -> str:
    """Return what two texts begin with, as far as the last white space: tokens span none."""
    both = zip(a, b, strict=False)
    common = a[: next((i for i, (x, y) in enumerate(both) if x != y), min(len(a), len(b)))]
    words = common.rstrip()
    if len(words) == len(common):
        words = common[: max(map(common.rfind, (" ", "\n", "\t"))) + 1].rstrip()
    return words


def read_prompt(value: Any, where: str) -> Prompt:
    """Return a text, or turns of which the last is not the assistant's.

    Raises:
        DataError: It is something else; names the place.
    """
    if isinstance(value, str):
        return value
    turns = _turns(value, where, "prompt")
    if turns and turns[-1].role == "assistant":
        raise DataError(
            f"{where}: prompt: found a last turn of the assistant's, expected one to answer"
        )
    return turns


def _answer(value: Any, where: str, column: str) -> tuple[tuple[Message, ...], str]:
    """Return the turns before an answer, and the answer."""
    if isinstance(value, str):
        return (), value
    turns = _turns(value, where, column)
    if not turns or turns[-1].role != "assistant":
        found = [turn.role for turn in turns]
        raise DataError(
            f"{where}: {column}: found turns of {found}, expected the last to be the assistant's"
        )
    if len(turns) > 1 and all(turn.role != "user" for turn in turns[:-1]):
        raise DataError(
            f"{where}: {column}: found {len(turns)} turns without a user's, expected one answer"
        )
    return turns[:-1], turns[-1].content


def _turns(value: Any, where: str, column: str) -> tuple[Message, ...]:
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, list | tuple):
        raise DataError(
            f"{where}: {column}: found {value!r:.80}, expected a text, a message or a list of them"
        )
    return tuple(_turn(turn, where, column) for turn in turns)


def _turn(turn: Any, where: str, column: str) -> Message:
    if isinstance(turn, Mapping):
        role, content = turn.get("role"), turn.get("content")
        if isinstance(role, str) and isinstance(content, str):
            return Message(role, content)
    raise DataError(f"{where}: {column}: found {turn!r:.80}, expected {{role: str, content: str}}")


def _unusable(prompt: Prompt, wanted: Mapping[str, str]) -> str | None:
    """Return why a row teaches nothing, if that is so."""
    everything = [*wanted.values(), *([prompt] if isinstance(prompt, str) else [])]
    everything += [] if isinstance(prompt, str) else [turn.content for turn in prompt]
    if any("\ud800" <= letter <= "\udfff" for text in everything for letter in text):
        return "rows with lone surrogates"
    if not prompt:
        return "rows with an empty prompt"
    for name, text in wanted.items():
        if not text.strip():
            return f"rows whose {name} is empty"
    *_, better, worse = (None, *wanted)
    if better and wanted[better] == wanted[worse]:
        return f"rows whose {better} and {worse} are the same"
    return None


def _wanted(named: Mapping[str, str], form: Form, chosen: Chosen, where: str) -> dict[str, str]:
    """Return the texts that a form needs, by what they are."""
    if form == "triples":
        if set(named) != {"source", "target", "rejected"}:
            raise DataError(
                f"{where}: found {', '.join(named)}; expected source, target and rejected, or"
                " chosen with two answers (the source's, then the target's): inarch align build"
                " makes such rows"
            )
        return {name: named[name] for name in ("source", "target", "rejected")}
    if form == "answers":
        names = ("source", "target") if chosen in ("auto", "source") else ("target", "source")
        found = [n for n in (*names, "chosen", "completion", "messages") if n in named]
        return {found[0]: named[found[0]]}
    better = "source" if chosen == "source" and "source" in named else "target"
    better = better if better in named else "chosen"
    if better in named:
        return {better: named[better], "rejected": named["rejected"]}
    if form == "labelled" and "completion" in named:
        return {"completion": named["completion"]}
    raise DataError(f"{where}: found {', '.join(named)}; expected chosen and rejected")
