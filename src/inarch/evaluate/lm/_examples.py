"""Few-shot: solved examples in front of a question, as text or as turns of a chat.

Source:  lm-evaluation-harness 0.4.13: the sampler ``first_n``, and chats with
         ``fewshot_as_multiturn``, its default. As text, a prompt is

             example 1, delimiter, its answer, separator, ..., the question

Differs: no example reads like the question with its answer, where lm-eval only leaves out rows of
         the same file that are equal in all fields; what is drawn depends on the seed and the
         question's row, not on the questions before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any

from inarch.errors import DataError, SettingsError
from inarch.evaluate.lm._questions import FewshotForm, Question, TaskSettings, read_questions

Solved = tuple[str, str]
"""A prompt and its answer."""


def with_examples(task: TaskSettings, questions: Sequence[Question]) -> list[Question]:
    """Return questions with the examples that the task sets.

    Raises:
        SettingsError: There are fewer examples than asked for.
        DataError: The examples cannot be read.
    """
    form = task.fewshot
    if form is None or not form.num:
        return list(questions)
    source = task.model_copy(update={"data": form.data or task.data, "skip": 0})
    pool = [_solved(question) for question in read_questions(source)]
    counts = Counter(pool)
    made = []
    for question in questions:
        own = _solved(question)
        if len(pool) - counts[own] < form.num:
            raise SettingsError(
                f"found {form.num} examples asked for, but {source.data} has"
                f" {len(pool) - counts[own]} beside {question.where}; give at most that"
            )
        order = _order(form, question, pool, counts[own])
        examples = tuple(islice((one for one in order if one != own), form.num))
        made.append(question._replace(examples=examples))
    return made


def _order(
    form: FewshotForm, question: Question, pool: Sequence[Solved], num_own: int
) -> Sequence[Solved]:
    """Return examples of which enough are left without the question's own."""
    if form.seed is None:
        return pool
    return Random(f"{form.seed} {question.name}").sample(pool, form.num + num_own)


def _solved(question: Question) -> Solved:
    if question.choices:
        return question.prompt, question.choices[question.right[0]]
    return question.prompt, question.answers[0]


def as_text(task: TaskSettings, questions: Sequence[Question]) -> list[Question]:
    """Return questions whose prompts are preceded by their examples."""
    form = task.fewshot or FewshotForm(num=0)
    choice = task.multiple_choice
    delimiter = form.delimiter if choice is None else choice.delimiter
    return [
        question._replace(
            prompt="".join(
                f"{prompt}{delimiter}{answer}{form.separator}"
                for prompt, answer in question.examples
            )
            + question.prompt
        )
        for question in questions
    ]


def as_chat(hf: Any, questions: Sequence[Question]) -> list[Question]:
    """Return questions as the last of a chat's turns, in the tokenizer's template.

    Raises:
        DataError: The tokenizer has no template.
    """
    if not hf.chat_template:
        raise DataError(
            f"{hf.name_or_path}: found no chat template; leave chat out, or save one with the"
            " tokenizer"
        )
    return [
        question._replace(
            prompt=hf.apply_chat_template(
                list(_turns(question)), tokenize=False, add_generation_prompt=True
            )
        )
        for question in questions
    ]


def _turns(question: Question) -> Iterator[dict[str, str]]:
    for prompt, answer in question.examples:
        yield {"role": "user", "content": prompt}
        yield {"role": "assistant", "content": answer}
    yield {"role": "user", "content": question.prompt}
