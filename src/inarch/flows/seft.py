"""``align seft``: a policy learns from its own answers, which a reviser keeps or makes better.

Source:   SEFT, arXiv:2406.10813; an independent implementation from the published abstract.
Differs:  what the abstract leaves open, from the labels to the number of rounds, is a setting.
"""

import json
import logging
from pathlib import Path
from typing import Any

from inarch.align._rows import check_template
from inarch.flows._corpus import data_digest, tokenizer_at
from inarch.flows._scoring.scorers import check_references, check_scorer, scorer_inputs
from inarch.flows._seft.plan import plan
from inarch.flows._seft.pool import Fresh, fresh_prompts
from inarch.flows._seft.reviser import reviser_of, trained_model
from inarch.flows._seft.round import Round, play
from inarch.flows._seft.settings import SeftRun, result_settings
from inarch.flows.teach import model_digest
from inarch.io.files import write_json
from inarch.io.runs import is_first_process, stage

logger = logging.getLogger(__name__)

__all__ = ["SeftRun", "plan", "run"]


def run(settings: SeftRun, out: Path) -> list[dict[str, Any]]:
    """Train the policy of a recipe, round by round, and return the report of each.

    The result is ``out/model``, the last round's; the reports are ``out/report.json``.

    Raises:
        DataError: There are too few prompts, or a round or a reviser has nothing to learn.
    """
    if settings.scorer is not None:
        check_scorer(settings.scorer)
    check_template(tokenizer_at(settings.policy.tokenizer_path))
    pool = fresh_prompts(settings)
    if settings.scorer is not None:
        check_references(settings.scorer, (row for fresh in pool for row in fresh.rows))
    with stage(out, "align seft", result_settings(settings), _inputs(settings, pool)) as opened:
        told = out / "report.json"
        if opened.done:
            logger.info("%s is complete; nothing to do", out)
            return _reports(told)
        if settings.control == "self_sft":
            revisers = {}
        else:
            revisers = {name: reviser_of(settings, name, out) for name in settings.revisers}
        policy = settings.policy
        for number, (one, fresh) in enumerate(zip(settings.rounds, pool, strict=True), 1):
            this = Round(number, policy, revisers.get(one.reviser), fresh)
            policy = play(settings, this, out / f"round-{number}")
        if is_first_process():
            folders = [out / f"round-{number}" for number in range(1, len(pool) + 1)]
            write_json(told, [json.loads((f / "report.json").read_text()) for f in folders])
            (out / "model").unlink(missing_ok=True)
            (out / "model").symlink_to(Path(f"round-{len(pool)}") / "train" / "model")
        return _reports(told) if is_first_process() else []


def _reports(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _inputs(settings: SeftRun, pool: list[Fresh]) -> dict[str, str]:
    """Return the digests of all that the run reads."""
    inputs = {"policy": model_digest(settings.policy)}
    inputs |= {f"prompts of round {i}": fresh.digest for i, fresh in enumerate(pool, 1)}
    for name, one in settings.revisers.items():
        if one.path is not None:
            inputs[f"reviser {name}"] = model_digest(trained_model(Path(one.path)))
        if one.data is not None:
            inputs[f"data of {name}"] = data_digest(one.data.path)
        if one.model is not None:
            inputs[f"model of {name}"] = model_digest(one.model)
    if settings.scorer is not None:
        inputs |= scorer_inputs(settings.scorer)
    return inputs
