r"""Questions of a local task: a YAML file that says what the fields of a JSONL file are.

    data: capitals.jsonl
    prompt: "Question: {{question}}\nAnswer:"
    multiple_choice: {choices: options, answer: label}

A text is the name of a field, or a Jinja template over the fields, as in lm-evaluation-harness; but
a name that a row lacks is an error, where lm-eval takes the name for the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import NonNegativeInt, PositiveInt, model_validator

from inarch.data import file_rows
from inarch.errors import DataError, SettingsError
from inarch.settings import PathSetting, Settings

_JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)


class ChoiceForm(Settings):
    """What is chosen from."""

    choices: str | tuple[str, ...]
    """Field with a list of texts, or the same texts for all questions."""
    answer: str
    """The right choice: its number from 0, or its text; a field or a template."""
    delimiter: str = " "
    """Stands between prompt and choice, and is scored with the choice."""


class WriteForm(Settings):
    """What is written, and when it is right: if what the filters leave is the answer."""

    answer: str
    """What is right, or a list of which one is right; a field or a template."""
    stop: tuple[str, ...] = ("\n\n",)
    """Texts at the first of which the answer ends."""
    max_new_tokens: PositiveInt = 256
    """An answer is cut here if nothing ends it before."""
    regex: str | None = None
    """Python's; the answer is its first group, or all of what it finds."""
    match: int = 0
    """Which of several finds: 0 is the first, -1 the last."""
    fallback: str = "[invalid]"
    """The answer where the regex finds nothing."""
    strip: bool = False
    """Leave out white space around the answer."""
    ignore_case: bool = False
    """Compare in lower case."""
    ignore_punctuation: bool = False
    """Compare without ASCII's punctuation."""
    ignore_numbers: bool = False
    """Compare without digits."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.regex is None and self.model_fields_set & {"match", "fallback"}:
            raise ValueError("found match or fallback without regex, where they have no effect")
        if not all(self.stop):
            raise ValueError("found an empty text in stop, which would end every answer at once")
        return self


class FewshotForm(Settings):
    """Solved examples in front of a question."""

    short: ClassVar[str | None] = "num"

    num: NonNegativeInt
    """How many."""
    data: PathSetting | None = None
    """File of examples with the fields of the questions; by default the task's own, without the
    question itself."""
    seed: NonNegativeInt | None = None
    """Draw examples for each question; by default they are the first ones of the file."""
    delimiter: str = " "
    """Stands between an example and its answer, where the model writes."""
    separator: str = "\n\n"
    """Stands behind an answer."""


class TaskSettings(Settings):
    """A local task."""

    data: PathSetting
    """Questions: a .jsonl, .json or .parquet file."""
    prompt: str
    """What the model reads; a field or a template."""
    multiple_choice: ChoiceForm | None = None
    """The model chooses."""
    generate: WriteForm | None = None
    """The model writes, greedily."""
    fewshot: FewshotForm | None = None
    """Examples in front of each question; by default none."""
    category: str | None = None
    """Field by which scores are shown, too."""
    skip: NonNegativeInt = 0
    """Leave out the first rows, which may be the prompt's examples."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.multiple_choice is None) == (self.generate is None):
            raise ValueError("expected one of multiple_choice and generate; give one of them")
        examples = self.fewshot
        if self.generate is None and examples and "delimiter" in examples.model_fields_set:
            raise ValueError(
                "found fewshot.delimiter, which has no effect beside multiple_choice.delimiter"
            )
        return self


class Question(NamedTuple):
    """A row of a task."""

    where: str
    name: str
    """Number of the row."""
    prompt: str
    category: str
    choices: tuple[str, ...]
    """None where the model writes."""
    right: tuple[int, ...]
    """Numbers of right choices."""
    answers: tuple[str, ...]
    """Right texts, where the model writes."""
    examples: tuple[tuple[str, str], ...] = ()
    """Prompts and answers that are shown in front."""


def read_questions(task: TaskSettings, limit: int | None = None) -> list[Question]:
    """Return the questions of a task.

    Args:
        task: The task.
        limit: Read only this many rows.

    Raises:
        SettingsError: A template is none.
        DataError: The file is absent or cut, or a row does not fit; the row is named.
    """
    if not task.data.is_file():
        raise DataError(f"found no file {task.data}; expected the questions of the task")
    rows = list(file_rows(str(task.data)))[task.skip :][:limit]
    if not rows:
        raise DataError(f"{task.data}: found no questions; expected at least one row")
    return [
        _question(task, number, where, row)
        for number, (where, row) in enumerate(rows, start=task.skip)
    ]


def _question(task: TaskSettings, number: int, where: str, row: Any) -> Question:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: found {type(row).__name__}; expected an object with fields")
    prompt = _value(task.prompt, row, f"{where}: prompt")
    if not isinstance(prompt, str):
        raise DataError(f"{where}: prompt: found {prompt!r:.80}; expected a text")
    category = "" if task.category is None else _value(task.category, row, f"{where}: category")
    made = Question(where, str(number), prompt, str(category), (), (), ())
    if task.multiple_choice is not None:
        choices = _choices(task.multiple_choice.choices, row, where)
        named = task.multiple_choice.answer
        answer = _value(named, row, f"{where}: answer")
        if named not in row and answer.isascii() and answer.isdigit():
            answer = int(answer)  # of a template, which makes texts only
        right = _right(answer, choices, where)
        made = made._replace(choices=choices, right=right)
    if task.generate is not None:
        answer = _value(task.generate.answer, row, f"{where}: answer")
        texts = answer if isinstance(answer, list) else [answer]
        if not texts or not all(isinstance(text, str | int | float) for text in texts):
            raise DataError(f"{where}: answer: found {answer!r:.80}; expected a text, or some")
        made = made._replace(answers=tuple(str(text) for text in texts))
    for text in (made.prompt, *made.choices, *made.answers):
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise DataError(f"{where}: holds half of a surrogate pair, which has no UTF-8; drop it")
    return made


def _choices(given: str | tuple[str, ...], row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    found = _value(given, row, f"{where}: choices") if isinstance(given, str) else given
    if not isinstance(found, list | tuple) or not all(isinstance(c, str) for c in found):
        raise DataError(f"{where}: choices: found {found!r:.80}; expected a list of texts")
    if len(found) < 2 or not all(found):
        raise DataError(
            f"{where}: choices: found {list(found)!r:.120}; expected at least two, and none empty,"
            " as an empty one has no length to weigh its log-prob with"
        )
    return tuple(found)


def _right(answer: Any, choices: tuple[str, ...], where: str) -> tuple[int, ...]:
    """Return the numbers of the right choices."""
    numbers = []
    for one in answer if isinstance(answer, list) else [answer]:
        if isinstance(one, str) and one in choices:
            numbers.append(choices.index(one))
        elif isinstance(one, int) and not isinstance(one, bool) and 0 <= one < len(choices):
            numbers.append(one)
        else:
            raise DataError(
                f"{where}: answer: found {one!r:.80}; expected a choice's number, 0 to"
                f" {len(choices) - 1}, or its text"
            )
    if not numbers:
        raise DataError(f"{where}: answer: found none; expected a choice's number or text")
    return tuple(numbers)


def _value(text: str, row: Mapping[str, Any], where: str) -> Any:
    """Return a field, or the text that a template makes of all.

    A bare name is a field's; as a template it would be the same word for all rows, unseen.
    """
    if text in row:
        return row[text]
    if text.isidentifier():
        raise DataError(
            f"{where}: found no field {text!r}; the row has {', '.join(map(str, row))}. A word that"
            f" is the same for all rows is written as a template: {{{{ {text!r} }}}}"
        )
    template = _template(text)
    try:
        return template.render(**row)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise DataError(f"{where}: {error}; the row has {', '.join(map(str, row))}") from None


@lru_cache(maxsize=64)
def _template(text: str) -> Template:
    try:
        return _JINJA.from_string(text)
    except TemplateSyntaxError as error:
        raise SettingsError(f"found the template {text!r:.80}, which is none: {error}") from None
