"""``align build``: prompts, sources and a target become rows that a preference method learns from.

    prompts -> answers of the sources -> scores -> best ones of a part -> SFT of the target
               the other prompts -> answers of what SFT has made of it -> scores -> triples

For pairs (``choose.form``) both answers are of one source, and the target writes none.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.align._candidate_statistics import Statistics
from inarch.align._candidates import Candidate, Pair, Triple, best, first_part, pair, triple, winner
from inarch.align._prompts import PromptRow, once, read_prompts
from inarch.align._rows import Dropped, check_template
from inarch.errors import DataError
from inarch.flows import align
from inarch.flows._build.plan import plan
from inarch.flows._build.rows import (
    Answered,
    candidate_row,
    preference_row,
    sft_row,
    texts,
    write_jsonl,
)
from inarch.flows._build.settings import BuildRun, result_settings, sampling_key, source_key
from inarch.flows._corpus import data_digest, short_digest, tokenizer_at
from inarch.flows._scoring.question import Question
from inarch.flows._scoring.scorers import (
    check_references,
    check_scorer,
    scorer_inputs,
    scorer_key,
    scores_of,
)
from inarch.flows.teach import device_of
from inarch.io.answers import AnswererSettings, answers
from inarch.io.files import write_json
from inarch.io.models import digest_model
from inarch.io.runs import Stage, is_first_process, stage

logger = logging.getLogger(__name__)

__all__ = ["BuildRun", "plan", "run"]

SFT_ROWS, STATISTICS = "sft.jsonl", "statistics.json"


def run(settings: BuildRun, out: Path) -> dict[str, Any]:
    """Build the rows of a recipe in ``out``, and return their statistics.

    ``sft/model`` is what SFT has made of the target; ``triples.jsonl`` or ``pairs.jsonl`` is what
    ``inarch align train`` reads next; ``candidates.jsonl`` has every answer with its score.
    Of a launch of several processes, all train and the first one does the rest.

    Raises:
        DataError: No prompt is usable, no row comes out, or an answer has no score.
    """
    check_template(tokenizer_at(settings.target.tokenizer_path))
    check_scorer(settings.scorer)
    inputs = {
        "prompts": data_digest(settings.prompts.path),
        "target": digest_model(settings.target.path, settings.target.tokenizer),
        **{f"source {s.name}": _weights(s) for s in settings.sources if s.path},
        **scorer_inputs(settings.scorer),
    }
    with stage(out, "align build", result_settings(settings), inputs) as opened:
        if opened.done:
            logger.info("%s is complete; nothing to do", out)
        else:
            _run(settings, out, opened)
    found = out / STATISTICS
    return dict(json.loads(found.read_text(encoding="utf-8"))) if found.exists() else {}


def _run(settings: BuildRun, out: Path, opened: Stage) -> None:
    if is_first_process():
        draft = _draft(settings, out)
        opened.note(num_sft_rows=_write_sft(settings, draft, out / SFT_ROWS))
    opened.wait_for("num_sft_rows")
    align.run(settings.sft_run(str(out / SFT_ROWS)), out / "sft")
    if is_first_process():
        model = out / "sft" / "model"
        opened.note(target_weights=digest_model(str(model)))
        own = _own_answers(settings, draft, model, out)
        write_json(out / STATISTICS, _write_rows(settings, draft, own, out))


class _Draft(NamedTuple):
    """What is known before the target has learnt anything."""

    prompts: tuple[PromptRow, ...]
    sources: Answered
    for_sft: frozenset[int]
    """Numbers of the prompts that the target learns from."""
    unread: Mapping[str, int]
    """Rows of the file that are no prompts, by reason."""


def _draft(settings: BuildRun, out: Path) -> _Draft:
    unread = Dropped()
    prompts = tuple(once(read_prompts(settings.prompts, unread), unread))
    check_references(settings.scorer, prompts)
    for_sft = first_part(len(prompts), settings.sft.share, settings.sft.seed)
    if not 0 < len(for_sft) < len(prompts):
        raise DataError(
            f"{settings.prompts.path}: found {len(prompts)} usable prompts{_reasons(unread)},"
            f" {len(for_sft)} of them for SFT; expected some for SFT and some for preferences"
        )
    return _Draft(prompts, _answered(settings, settings.sources, prompts, out), for_sft, unread)


def _own_answers(
    settings: BuildRun, draft: _Draft, model: Path, out: Path
) -> dict[int, list[Candidate]]:
    """Return what the target answers after SFT, by the number of the prompt."""
    if settings.choose.form == "pairs":
        return {}
    rest = [
        number
        for number in range(len(draft.prompts))
        if number not in draft.for_sft and best(draft.sources.candidates(number))
    ]
    prompts = [draft.prompts[number] for number in rest]
    found = _answered(settings, [settings.target_after(model)], prompts, out)
    return {number: found.candidates(i) for i, number in enumerate(rest)}


def _answered(
    settings: BuildRun,
    models: Sequence[AnswererSettings],
    prompts: Sequence[PromptRow],
    out: Path,
) -> Answered:
    """Return scored answers to each prompt, from the folders as far as they are there."""
    work = Path(settings.work) if settings.work else out
    chats = [prompt.messages for prompt in prompts]
    written = {}
    for model in models:
        if settings.device == "cpu" and model.path:
            model = model.model_copy(update={"device": "cpu"})
        own: dict[str, object] = {"model": source_key(model), "chats": chats}
        own["sampling"] = sampling_key(settings)
        inputs = {"weights": _weights(model)}
        folder = work / "answers" / f"{model.name}-{short_digest(own, inputs)}"
        written[model.name] = answers(model, chats, settings.sampling, settings.samples, folder)
    questions = [
        Question(prompt.where, prompt.messages, texts(written, number), prompt.reference)
        for number, prompt in enumerate(prompts)
    ]
    scorer = settings.scorer
    folder = work / f"scores-{short_digest(scorer_key(scorer), scorer_inputs(scorer))}"
    return Answered(written, scores_of(questions, scorer, folder, device_of(settings)))


def _weights(model: AnswererSettings) -> str:
    return digest_model(model.path, model.tokenizer)


def _write_sft(settings: BuildRun, draft: _Draft, path: Path) -> int:
    """Write what the target learns first, and return the number of rows."""
    rows, dropped = [], Dropped()
    for number in sorted(draft.for_sft):
        chosen = winner(draft.sources.candidates(number), settings.choose)
        if isinstance(chosen, str):
            dropped.add(chosen, draft.prompts[number].where)
        else:
            rows.append(sft_row(draft.prompts[number], chosen))
    if not rows:
        raise DataError(f"found no answer for SFT{_reasons(dropped)}; {_NEXT}")
    write_jsonl(path, rows)
    return len(rows)


def _write_rows(
    settings: BuildRun, draft: _Draft, own: Mapping[int, Sequence[Candidate]], out: Path
) -> dict[str, Any]:
    """Write the rows for preferences and all candidates, and return the statistics."""
    form, statistics, dropped = settings.choose.form, Statistics(), Dropped()
    outcomes = []
    for number, prompt in enumerate(draft.prompts):
        sources, mine = draft.sources.candidates(number), own.get(number, ())
        row = _outcome(settings, number in draft.for_sft, sources, mine)
        statistics.add(sources, mine, row)
        if isinstance(row, str) and number not in draft.for_sft:  # the others were told before
            dropped.add(row, prompt.where)
        outcomes.append(row)
    write_jsonl(
        out / "candidates.jsonl",
        (
            candidate_row(
                prompt,
                "sft" if number in draft.for_sft else "preference",
                outcomes[number],
                (*draft.sources.candidates(number), *own.get(number, ())),
            )
            for number, prompt in enumerate(draft.prompts)
        ),
    )
    chosen = zip(draft.prompts, outcomes, strict=True)
    rows = [preference_row(prompt, row) for prompt, row in chosen if isinstance(row, Triple | Pair)]
    if not rows:
        raise DataError(f"found no {form}{_reasons(dropped)}; {_NEXT}")
    write_jsonl(out / f"{form}.jsonl", rows)
    return {
        "form": form,
        "prompts": len(draft.prompts),
        "prompts_for_sft": len(draft.for_sft),
        "sources": [source.name for source in settings.sources],
        "unread": dict(draft.unread),
        **statistics.summary(),
    }


def _outcome(
    settings: BuildRun, for_sft: bool, sources: Sequence[Candidate], own: Sequence[Candidate]
) -> Candidate | Triple | Pair | str:
    """Return what becomes of a prompt: an answer to learn, a row, or why it is left out."""
    if for_sft:
        return winner(sources, settings.choose)
    if settings.choose.form == "pairs":
        return pair(sources, settings.choose)
    return triple(sources, own, settings.choose)


_NEXT = "give more prompts or samples, or another scorer; answers and scores are kept for that"


def _reasons(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{number} {why}" for why, number in counts.items())
    return f" ({listed})" if listed else ""
