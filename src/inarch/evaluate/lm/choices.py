"""Multiple choice: which of several texts a model expects most behind a prompt.

    acc        largest log-prob
    acc_norm   largest log-prob per character of the choice, the delimiter left out
    acc_bytes  largest log-prob per byte of it

Source:  lm-evaluation-harness 0.4.13, output type ``multiple_choice``. White space at the end of a
         prompt goes to the choice; prompt and choice are tokens of one text, cut where the prompt
         alone has its last token. Of equal log-probs the first counts.
Differs: an empty choice is refused; a log-prob is summed in float64.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.align._layout import Sequences
from inarch.errors import DataError
from inarch.evaluate.lm._questions import Question
from inarch.evaluate.lm._reader import Reader
from inarch.evaluate.lm._sums import summed_logps
from inarch.evaluate.lm._texts import Ids, encode, prefix_id
from inarch.io.progress import track

logger = logging.getLogger(__name__)

METRICS = ("acc", "acc_norm", "acc_bytes")


class Chosen(NamedTuple):
    """What a model chose, for one question."""

    logps: tuple[float, ...]
    """Of the choices, in nats."""
    acc: float
    """1 if right, else 0; the others alike."""
    acc_norm: float
    acc_bytes: float


def choose(reader: Reader, questions: Sequence[Question], delimiter: str) -> list[Chosen]:
    """Return what a model chooses.

    Args:
        reader: The model.
        questions: With choices.
        delimiter: Stands between prompt and choice.

    Raises:
        DataError: A prompt or a choice has no token, or a choice is longer than the window.
    """
    window = reader.window
    _warn_of_equals(questions)
    pairs = _pairs(reader.hf, questions, delimiter)
    rows: list[Sequences] = []
    owners: list[tuple[int, int]] = []
    num_cut = 0
    for number, (question, choices) in enumerate(zip(questions, pairs, strict=True)):
        fitted = [
            _fit(prompt, choice, window, f"{question.where}: choice {k}")
            for k, (prompt, choice) in enumerate(choices)
        ]
        cut = any(len(new) < len(old) for (new, _), (old, _) in zip(fitted, choices, strict=True))
        num_cut += cut
        # The same prompt for all choices, or a row for each.
        if not cut and len({prompt.tobytes() for prompt, _ in fitted}) == 1:
            owners.append((number, 0))
            rows.append(Sequences(*(tuple(part) for part in zip(*fitted, strict=True))))
        else:
            owners += [(number, k) for k in range(len(fitted))]
            rows += [Sequences((prompt,), (choice,)) for prompt, choice in fitted]
    if num_cut:
        logger.warning("%d prompts are cut at their begin to fit into %d tokens", num_cut, window)
    logps = [np.zeros(len(question.choices)) for question in questions]
    with track("scoring choices", len(rows), "rows") as advance:
        found = summed_logps(reader.model, rows, reader.batch_tokens, advance)
    for (number, k), sums_K in zip(owners, found, strict=True):
        logps[number][k : k + len(sums_K)] = sums_K
    return [_chosen(question, row) for question, row in zip(questions, logps, strict=True)]


def _chosen(question: Question, logps_K: NDArray[np.float64]) -> Chosen:
    by: tuple[Callable[[str], int], ...] = (lambda _: 1, len, lambda text: len(text.encode()))
    right = (
        int(np.argmax(logps_K / [size(text) for text in question.choices])) in question.right
        for size in by
    )
    return Chosen(tuple(logps_K.tolist()), *map(float, right))


def _pairs(hf: Any, questions: Sequence[Question], delimiter: str) -> list[list[tuple[Ids, Ids]]]:
    """Return the tokens of each prompt and choice."""
    heads = [question.prompt.rstrip() for question in questions]
    texts = [
        question.prompt + delimiter + choice
        for question in questions
        for choice in question.choices
    ]
    wholes = iter(encode(hf, texts))
    prompts = encode(hf, heads)
    found = []
    for question, ids in zip(questions, prompts, strict=True):
        if question.prompt:
            pairs = [(ids, next(wholes)[len(ids) :]) for _ in question.choices]
        else:
            pairs = [_unprompted(hf, delimiter + text, question) for text in question.choices]
            for _ in question.choices:
                next(wholes)
        for k, (prompt, choice) in enumerate(pairs):
            if not len(prompt) or not len(choice):
                part = f"choice {k} ({question.choices[k]!r:.40})" if len(prompt) else "prompt"
                raise DataError(
                    f"{question.where}: the {part} has no token of its own; expected at least one."
                    " Set another delimiter, or write more in front"
                )
        found.append(pairs)
    return found


def _unprompted(hf: Any, text: str, question: Question) -> tuple[Ids, Ids]:
    """Return a choice behind the begin token, which stands there once."""
    token = prefix_id(hf)
    if token is None:
        raise DataError(
            f"{question.where}: the prompt is empty, and the tokenizer has no begin or end token to"
            " stand there; write a prompt"
        )
    ids = encode(hf, [text], specials=False)[0]
    if ids[:1].tolist() == [token]:
        return ids[:1], ids[1:]
    return np.array([token], np.int32), ids


def _fit(prompt: Ids, choice: Ids, window: int, where: str) -> tuple[Ids, Ids]:
    """Return a prompt without what is too much at its begin."""
    if len(choice) > window:
        raise DataError(
            f"{where}: has {len(choice)} tokens, but the model reads {window}; shorten it"
        )
    return prompt[-(window + 1 - len(choice)) :], choice


def _warn_of_equals(questions: Sequence[Question]) -> None:
    equal = [q for q in questions if len(set(q.choices)) < len(q.choices)]
    if equal:
        logger.warning(
            "%d questions have equal choices, of which the first is taken, such as %s",
            *(len(equal), equal[0].where),
        )
