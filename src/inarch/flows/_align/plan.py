"""What a training on preferences will take, before it starts.

Tokens are counted on the first rows of the data and scaled by rows; times divide the arithmetic of
the model, 2 operations per weight and token forward and as much again for each of the gradients
that are wanted, by the speed of a matrix product measured here and now.
"""

from collections import Counter
from datetime import timedelta
from itertools import islice
from pathlib import Path

from inarch.align._examples import PreferenceData
from inarch.align._read import preferences
from inarch.align._rows import AnswerRow, check_template, tokenised
from inarch.data import file_rows
from inarch.errors import DataError, WeightsError
from inarch.flows._align.fit import fitted
from inarch.flows._align.settings import AlignRun
from inarch.flows._corpus import tokenizer_at
from inarch.flows._plan import num_weights, operations_per_s
from inarch.flows.teach import device_of
from inarch.train.plan import num_steps

_SAMPLE_ROWS = 200
_UNKNOWN = "unknown"


def plan(settings: AlignRun) -> dict[str, object]:
    """Return what a run will take, by what it is; what is not on this machine is unknown."""
    facts: dict[str, object] = {
        "method": settings.method.name,
        "reference": settings.reference_kind or "none",
    }
    try:
        tokenizer = tokenizer_at(settings.model.tokenizer_path)
        settings = fitted(settings)
    except WeightsError:
        return facts | dict.fromkeys(("rows", "tokens", "memory", "time"), _UNKNOWN)
    if not Path(settings.data.path).exists():
        absent = {"rows": f"{_UNKNOWN}: no {settings.data.path} on this machine"}
        return facts | absent | dict.fromkeys(("tokens", "memory", "time"), _UNKNOWN)
    num_rows, sample = _sample(settings)
    if not num_rows:
        raise DataError(f"{settings.data.path}: found no usable row, expected some to learn from")
    steps = num_steps(max(1, num_rows), settings.train)
    passes = steps * settings.train.batch_size / max(1, num_rows)
    form = settings.method.method.data
    data = PreferenceData(sample, form, settings.data.max_tokens)
    examples = [data[i].sequences for i in range(len(data))]
    per_row = sum(sum(map(len, (*e.prompts, *e.answers))) for e in examples) / max(1, len(data))
    num_tokens = round(per_row * num_rows)
    facts |= {
        "longest row": settings.data.max_tokens,
        "rows": num_rows,
        "steps": steps,
        "tokens": num_tokens,
    }
    found = num_weights(settings.model, tokenizer.size)
    if found is None:
        return facts | dict.fromkeys(("memory", "time"), _UNKNOWN)
    stored = settings.reference_kind == "stored"
    forwards = 2 * num_tokens * (1 if stored else passes if settings.reference_kind else 0)
    training = (4 if settings.train.lora else 6) * num_tokens * passes
    seconds = found * (forwards + training) / operations_per_s(device_of(settings))
    # Weights, gradients and two moments, all float32; an adapter has next to none of its own.
    per_weight = (4 if settings.train.lora else 16) + 4 * (settings.reference_kind == "copy")
    return facts | {
        "memory": f"{per_weight * found / 2**30:.2g} GiB and activations",
        "time": f"{timedelta(seconds=round(seconds))} on {device_of(settings)}",
    }


def _sample(settings: AlignRun) -> tuple[int, list[AnswerRow]]:
    """Return the number of usable rows, as the first ones foretell it, and those."""
    source, tokenizer = settings.data, tokenizer_at(settings.model.tokenizer_path)
    found, reasons = file_rows(source.path, source.split), Counter[str]()
    rows: list[AnswerRow] = []
    num_read = 0
    for where, row in islice(found, min(_SAMPLE_ROWS, source.limit or _SAMPLE_ROWS)):
        num_read += 1
        form = settings.method.method.data
        for preference in preferences(row, where, form, source.chosen, reasons):
            if not rows and not isinstance(preference.prompt, str):
                check_template(tokenizer)
            made = tokenised(preference, tokenizer, source)
            rows += [] if isinstance(made, str) else [made]
    num_all = num_read + sum(1 for _ in found)
    num_all = min(num_all, source.limit or num_all)
    return round(len(rows) / max(1, num_read) * num_all), rows
