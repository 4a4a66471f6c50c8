"""``align seft``: a policy learns from its own answers, which a reviser keeps or makes better.

Source:   SEFT, arXiv:2406.10813; an independent implementation from the published abstract.
Differs:  what the abstract leaves open, from the labels to the number of rounds, is a setting.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch

from inarch.align._prompts import PromptRow, read_prompts
from inarch.align._ranked import as_chat
from inarch.align._rows import Dropped
from inarch.errors import DataError
from inarch.flows._corpus import data_digest
from inarch.flows._scorers import scorer_inputs
from inarch.flows._seft_plan import plan
from inarch.flows._seft_reviser import reviser_of
from inarch.flows._seft_round import Fresh, Round, play
from inarch.flows._seft_settings import SeftRun, result_settings
from inarch.flows.teach import model_digest
from inarch.io.files import digest_folder, write_json
from inarch.io.progress import track
from inarch.io.runs import is_first_process, stage

logger = logging.getLogger(__name__)

__all__ = ["SeftRun", "plan", "run"]


def run(settings: SeftRun, out: Path) -> list[dict[str, Any]]:
    """Train the policy of a recipe, round by round, and return the report of each.

    The result is ``out/model``, the last round's; the reports are ``out/report.json``.

    Raises:
        DataError: There are too few prompts, or a round or a reviser has nothing to learn.
    """
    pool = fresh_prompts(settings)
    with stage(out, "seft", result_settings(settings), _inputs(settings, pool)) as opened:
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


def fresh_prompts(settings: SeftRun) -> list[Fresh]:
    """Return the prompts of each round, none of them twice, in an order drawn by the seed.

    Raises:
        DataError: The rounds want more prompts than there are.
    """
    dropped, seen, rows = Dropped(), set(), []
    with track(f"reading {settings.prompts.path}", None, "prompts") as advance:
        for row in read_prompts(settings.prompts, dropped):
            chat = row.messages
            if len(chat) == 1:
                chat = as_chat(chat[0].content)
            if chat in seen:
                dropped.add("prompts that stand there twice", row.where)
                continue
            seen.add(chat)
            rows.append(row._replace(messages=chat))
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


def _inputs(settings: SeftRun, pool: list[Fresh]) -> dict[str, str]:
    """Return the digests of all that the run reads."""
    inputs = {"policy": model_digest(settings.policy)}
    inputs |= {f"prompts of round {i}": fresh.digest for i, fresh in enumerate(pool, 1)}
    for name, one in settings.revisers.items():
        if one.path is not None:
            inputs[f"reviser {name}"] = digest_folder(Path(one.path) / "train" / "model")
        if one.data is not None:
            inputs[f"data of {name}"] = data_digest(one.data.path)
        if one.model is not None:
            inputs[f"model of {name}"] = model_digest(one.model)
    if settings.scorer is not None:
        inputs |= scorer_inputs(settings.scorer)
    return inputs
