"""The trainer's loss of a preference method: against raw logits and against TRL's trainer."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inarch.align import METHODS, DpoSettings, KtoSettings, WrpoSettings
from inarch.align._examples import PreferenceData, collator
from inarch.align._objective import check_start, preference_loss
from inarch.align._reference import Products, frozen
from inarch.align._rows import AnswerRow, Dropped, PreferenceSettings, answer_rows
from inarch.errors import WeightsError
from inarch.io.tokenizers import wrap_tokenizer
from tests.align.test_logps import V, made, token_by_token
from tests.tiny import byte_level

NUM = 6


def rows_of(num: int = NUM, seed: int = 0) -> list[AnswerRow]:
    random = np.random.default_rng(seed)

    def ids(low: int, high: int):
        return random.integers(0, V, random.integers(low, high)).astype(np.int32)

    return [AnswerRow(ids(1, 9), tuple(ids(1, 12) for _ in range(3))) for _ in range(num)]


def data_of(rows: list[AnswerRow], form: str = "triples") -> PreferenceData:
    return PreferenceData(rows, form, 64)


def moved(model, scale: float = 0.02):
    other = copy.deepcopy(model).requires_grad_(True)
    generator = torch.Generator().manual_seed(3)
    for weight in other.parameters():
        weight.data += scale * torch.randn(weight.shape, generator=generator)
    return other


def loss_of(settings: WrpoSettings, policy, reference, batch, progress: float = 1.0):
    loss = preference_loss(METHODS["wrpo"], settings, frozen(reference, Products()))
    return loss(policy, batch, progress)


def by_hand(settings: WrpoSettings, policy, reference, rows, alpha: float) -> float:
    total = 0.0
    for row in rows:
        source, target, rejected = (
            settings.beta
            * (
                token_by_token(policy, row.prompt, answer)
                - token_by_token(reference, row.prompt, answer)
            )
            for answer in row.answers
        )
        total += math.log1p(math.exp(-(alpha * source + (1 - alpha) * target - rejected)))
    return total


@pytest.mark.parametrize("progress", [0.25, 1.0])
def test_the_loss_from_raw_logits(progress):
    settings = WrpoSettings(beta=0.1, alpha=0.4)
    reference = made()
    policy, rows = moved(reference), rows_of()
    batch = collator("rows")([*data_of(rows)])
    found = loss_of(settings, policy, reference, batch, progress)
    expected = by_hand(settings, policy, reference, rows, 0.4 * progress)
    assert float(found.loss.detach()) / NUM == pytest.approx(expected / NUM, abs=1e-6)
    assert abs(expected / NUM - math.log(2)) > 0.01
    assert int(batch["num_items"]) == NUM


def test_only_answers_are_scored():
    settings, reference = WrpoSettings(beta=0.1), made()
    policy, rows = moved(reference), rows_of()
    batch = collator("rows")([*data_of(rows)])
    before = float(loss_of(settings, policy, reference, batch).loss)
    # Each token is predicted from the one before it: the last of the prompt, then the answer's.
    pairs = zip(batch["input_ids"].flatten()[batch["flat_N"]], batch["labels_N"], strict=True)
    neighbours = [
        (before, after)
        for k in range(3)
        for row in rows
        for before, after in zip(
            [row.prompt[-1], *row.answers[k][:-1]], row.answers[k], strict=True
        )
    ]
    assert [(int(a), int(b)) for a, b in pairs] == neighbours
    changed = dict(batch) | {"labels_N": batch["labels_N"].clone()}
    changed["labels_N"][5] = (changed["labels_N"][5] + 1) % V
    assert abs(float(loss_of(settings, policy, reference, changed).loss) - before) > 1e-4


def test_gradients_of_parts_add_up():
    settings, reference, rows = WrpoSettings(beta=0.1, alpha=0.4), made(), rows_of()
    grads = []
    for size in (NUM, 2, 1):
        policy = moved(reference)
        data = data_of(rows)
        for start in range(0, NUM, size):
            batch = collator("rows")([data[i] for i in range(start, start + size)])
            loss_of(settings, policy, reference, batch).loss.backward()
        grads.append(torch.cat([p.grad.flatten() for p in policy.parameters()]))
    for grad in grads[1:]:
        assert (grad - grads[0]).norm() / grads[0].norm() < 1e-5


# -------------------------------------------------------------------------------------------- TRL


def trl_loss_and_grad(policy, reference, hf, rows, folder: Path, alpha: float):
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    config = trl.DPOConfig(
        output_dir=str(folder),
        beta=0.1,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        max_length=None,
        per_device_train_batch_size=len(rows),
    )
    better = "source" if alpha else "target"
    pairs = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row[better]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in rows
    ]
    hf.pad_token = "<eos>"
    trainer = trl.DPOTrainer(
        model=policy,
        ref_model=reference,
        args=config,
        train_dataset=Dataset.from_list(pairs),
        processing_class=hf,
    )
    batch = trainer.data_collator([*trainer.train_dataset])
    loss = trainer.compute_loss(policy.eval(), batch)
    loss.backward()
    return float(loss), torch.cat([p.grad.flatten() for p in policy.parameters()])


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore")
def test_the_ends_of_alpha_are_trls_dpo(tmp_path: Path, alpha: float):
    from inarch.io.models import new_model
    from tests.align.test_logps import LLAMA

    hf = byte_level()
    texts = [
        {"prompt": "The dog", "source": "sleeps.", "target": "jumps over a hat", "rejected": "1"},
        {"prompt": "2 plus 3", "source": "is 5", "target": "6 and 7", "rejected": "the lazy fox"},
        {"prompt": "A cat", "source": "on the mat", "target": "was", "rejected": "def f(x): sat"},
    ]
    rows = [r | {"prompt": [{"role": "user", "content": r["prompt"]}]} for r in texts]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reference = new_model(LLAMA, len(hf), 0)
    for weight in reference.parameters():
        weight.data.mul_(4.0)
    policy = moved(reference)
    tokenizer = wrap_tokenizer(byte_level(), "tiny")
    found = answer_rows(PreferenceSettings(path=str(path)), "triples", tokenizer, Dropped())
    batch = collator("rows")([*data_of(list(found))])

    theirs = trl_loss_and_grad(
        copy.deepcopy(policy), copy.deepcopy(reference), hf, texts, tmp_path, alpha
    )
    settings = WrpoSettings(beta=0.1, alpha=alpha, ramp=False)
    (loss_of(settings, policy, reference, batch).loss / len(rows)).backward()
    grad = torch.cat([p.grad.flatten() for p in policy.parameters()])
    ours = float(loss_of(settings, policy, reference, batch).loss) / len(rows)
    assert ours == pytest.approx(theirs[0], abs=1e-6)
    assert abs(ours - math.log(2)) > 1e-3
    assert (grad - theirs[1]).norm() / theirs[1].norm() < 1e-5


# ---------------------------------------------------------------------------------- the first step


def test_the_first_step_is_checked_and_later_ones_are_not():
    reference, rows = made(), rows_of()
    batch = collator("rows")([*data_of(rows)])
    settings = WrpoSettings(beta=0.1)
    same = loss_of(settings, copy.deepcopy(reference), reference, batch, 0.0)
    assert float(same.loss) / NUM == pytest.approx(math.log(2), abs=1e-6)
    with pytest.raises(WeightsError, match=r"expected ln 2 = 0.693147: the model in training and"):
        loss_of(settings, moved(reference), reference, batch, 0.0)
    loss_of(settings, moved(reference), reference, batch, 0.25)


@pytest.mark.parametrize("method", ["dpo", "ln_dpo", "ipo", "kto"])
def test_every_method_knows_where_it_begins(method):
    reference = made()
    rows = [row._replace(answers=row.answers[:2]) for row in rows_of()]
    if method == "kto":
        rows = [r._replace(answers=r.answers[:1], liked=i % 3 > 0) for i, r in enumerate(rows)]
    table = METHODS[method]
    batch = collator(table.items)([*data_of(rows, table.data)])
    loss = preference_loss(table, table.settings(), frozen(reference, Products()))
    loss(copy.deepcopy(reference), batch, 0.0)
    with pytest.raises(WeightsError, match="the loss of the first step is"):
        loss(moved(reference, 0.2), batch, 0.0)


def test_the_tolerance_of_the_start():
    check_start(math.log(2) + 9e-5, math.log(2), 1e-4)
    with pytest.raises(WeightsError):
        check_start(math.log(2) - 1.1e-4, math.log(2), 1e-4)
    with pytest.raises(WeightsError):
        check_start(math.nan, math.log(2), 1e-4)


def test_tokens_are_the_items_of_sft():
    rows = [row._replace(answers=row.answers[:1]) for row in rows_of()]
    batch = collator("tokens")([*data_of(rows, "answers")])
    assert int(batch["num_items"]) == sum(len(row.answers[0]) for row in rows)
    model = made()
    loss = preference_loss(METHODS["sft"], METHODS["sft"].settings(), None)
    expected = -sum(token_by_token(model, row.prompt, row.answers[0]) for row in rows)
    assert float(loss(model, batch, 0.0).loss) == pytest.approx(expected, rel=1e-6)


def test_labels_stay_with_their_rows():
    rows = [r._replace(answers=r.answers[:1], liked=i % 3 > 0) for i, r in enumerate(rows_of())]
    batch = collator("rows")([*data_of(rows, "labelled")])
    assert batch["liked_B"].tolist() == [i % 3 > 0 for i in range(NUM)]


def test_stored_numbers_stay_with_their_answers():
    data = data_of(rows_of())
    data.reference_RK = np.arange(3 * NUM, dtype=np.float32).reshape(NUM, 3)
    batch = collator("rows")([data[i] for i in (4, 1)])
    # answer by answer: sources of rows 4 and 1, targets, rejected ones
    assert batch["reference_A"].tolist() == [12, 3, 13, 4, 14, 5]


def _rank(rank: int, folder: Path, results: Any) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    results.put((rank, _kto_losses([2 * rank, 2 * rank + 1])))
    dist.destroy_process_group()


def _kto_losses(numbers: list[int], in_step: bool = True) -> tuple[float, float, float]:
    """Loss, sum of its metric kl, and slope of some rows; the mean log-ratio is not below 0."""
    rows = [r._replace(answers=r.answers[:1], liked=i % 3 > 0) for i, r in enumerate(rows_of(4))]
    data, reference = data_of(rows, "labelled"), made()
    policy = moved(reference)
    policy.lm_head.weight.data *= 0.6  # less sure, so that mismatched answers become likelier
    before = frozen(reference, Products())
    loss = preference_loss(METHODS["kto"], KtoSettings(beta=2.0), before, in_step=in_step)
    out = loss(policy, collator("rows")([data[i] for i in numbers]), 0.5)
    out.loss.backward()
    slope = policy.model.norm.weight.grad.sum()
    return float(out.loss.detach()), float(out.metrics["kl"]), float(slope)


def test_the_reference_point_of_kto_is_that_of_all_processes(tmp_path: Path):
    from torch.multiprocessing import get_context

    alone = [_kto_losses(numbers) for numbers in ([0, 1], [2, 3])]
    whole = _kto_losses([0, 1, 2, 3])
    assert whole[1] > 0.1
    assert abs(alone[0][1] - alone[1][1]) > 0.1  # kl, each by itself
    context = get_context("fork")
    results = context.Queue()
    ranks = [context.Process(target=_rank, args=(rank, tmp_path, results)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = dict(results.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join(60)
    for value in range(3):
        total = found[0][value] + found[1][value]
        assert total == pytest.approx(whole[value], rel=1e-5)
        if value != 1:  # the points of both halves add up
            assert abs(alone[0][value] + alone[1][value] - whole[value]) > 1e-3
    # Two rows each, so that both noted the same point.
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-6)


def test_settings_of_dpo_reach_the_loss():
    reference = made()
    rows = [row._replace(answers=row.answers[:2]) for row in rows_of()]
    batch = collator("rows")([*data_of(rows, "pairs")])
    policy = moved(reference)
    losses = [
        float(
            preference_loss(METHODS["dpo"], DpoSettings(beta=beta), frozen(reference, Products()))(
                policy, batch, 0.5
            ).loss
        )
        for beta in (0.1, 1.0)
    ]
    assert abs(losses[0] - losses[1]) > 0.1
