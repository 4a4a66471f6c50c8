"""Losses of real models: those of whole forwards, bit for bit, whatever is reused."""

from itertools import islice
from math import exp, inf, isinf

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from inarch.errors import DataError
from inarch.prune import _units
from inarch.prune._blocks import BlockModel
from inarch.prune._cost import num_passes, search_work
from inarch.prune._order import Block
from inarch.prune._rows import Rows
from inarch.prune._score import ModelSubject
from inarch.prune._search import greedy
from inarch.prune.settings import SearchSettings
from tests.prune.architectures import VOCAB, tiny
from tests.prune.made_up import plain_loss, plain_search, ragged_rows

SINGLE = _units.single("mix", ())
STEPS = 3

SAVINGS = {
    "none": {"reuse_prefix": False, "early_stop": False},
    "early_stop": {"reuse_prefix": False},
    "prefix": {"reuse_winner": False, "reuse_candidates": False, "early_stop": False},
    "winner": {"reuse_candidates": False, "early_stop": False},
    "candidates": {"reuse_winner": False, "early_stop": False},
    "all": {},
    "little memory": {"state_gib": 60e3 / 2**30},  # 15 tensors of 5 x 12 x 16 float32
    "no memory": {"state_gib": 0.0},
}


@pytest.fixture(scope="module")
def llama() -> BlockModel:
    return BlockModel.of(tiny("llama"))


def units_of(losses) -> list[tuple[Block, ...]]:
    return [(block,) for block in sorted(losses)]


def search(subject: ModelSubject, num: int = STEPS):
    return list(islice(greedy(subject, SINGLE), num))


# ---------------------------------------------------------------------- the plain algorithm's bits


@pytest.mark.parametrize(
    "name",
    ["llama", "qwen3", "gemma2", "olmo2", "gpt_neox", "gpt2", "opt", "bloom", "falcon", "mixtral"],
)
def test_losses_and_order_are_those_of_the_plain_algorithm(name: str):
    model, rows = BlockModel.of(tiny(name)), ragged_rows()
    plain = plain_search(model, rows, STEPS, batch_rows=2)
    for saving, chosen in SAVINGS.items():
        settings = SearchSettings(batch_rows=2, **chosen)
        subject, gone = ModelSubject(model, rows, settings), []
        for winner, losses in plain:
            found = subject.losses(gone, units_of(losses))
            assert found == [losses[block] for block in sorted(losses)], saving
            gone.append(winner)
        steps = search(ModelSubject(model, rows, settings))
        for step, (winner, losses) in zip(steps, plain, strict=True):
            least = sorted(losses.values())
            assert (step.unit, step.score) == ((winner,), least[0]), saving
            assert step.margin == least[1] - least[0], saving


def test_the_loss_by_hand():
    # Uniform logits: each token costs log(VOCAB), whatever is left out.
    model = tiny("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    subject = ModelSubject(BlockModel.of(model), ragged_rows(), SearchSettings())
    (loss,) = subject.losses((), [(Block("mlp", 1),)])
    assert exp(loss) == pytest.approx(VOCAB, rel=1e-6)


def test_the_mean_is_over_tokens_or_over_rows(llama: BlockModel):
    rows, unit = ragged_rows(), (Block("mlp", 2),)
    counts = rows.supervised_ST.sum(1).tolist()
    row_means = [plain_loss(llama, Rows(*(x[i : i + 1] for x in rows)), unit, 1) for i in range(5)]

    def loss(mean: str, rows: Rows = rows) -> float:
        settings = SearchSettings(batch_rows=1, mean=mean)
        return ModelSubject(llama, rows, settings).losses((), [unit])[0]

    assert counts == [11, 11, 11, 5, 7]
    assert loss("row") == pytest.approx(sum(row_means) / 5, rel=1e-12)
    by_token = sum(m * n for m, n in zip(row_means, counts, strict=True)) / sum(counts)
    assert loss("token") == pytest.approx(by_token, rel=1e-12)
    assert abs(loss("row") - loss("token")) > 1e-4
    full = Rows(*(x[:3] for x in rows))
    assert loss("row", full) == pytest.approx(loss("token", full), rel=1e-14)


def test_padding_is_never_looked_at(llama: BlockModel):
    rows = ragged_rows()
    units = units_of(llama.blocks)
    before = ModelSubject(llama, rows, SearchSettings()).losses((), units)
    rows.ids_ST[3, 8:] = 0
    assert ModelSubject(llama, rows, SearchSettings()).losses((), units) == before


def test_logits_of_low_precision_are_widened_first():
    model = BlockModel.of(tiny("llama").to(torch.bfloat16))
    rows, units = ragged_rows(), units_of(model.blocks)
    found = ModelSubject(model, rows, SearchSettings(batch_rows=2)).losses((), units)
    assert found == [plain_loss(model, rows, unit, 2) for unit in units]


def test_rows_without_a_mean_are_refused(llama: BlockModel):
    ids_ST, supervised_ST = ragged_rows()
    with pytest.raises(DataError, match="row 0 has no position"):
        ModelSubject(llama, Rows(ids_ST, supervised_ST & False), SearchSettings())


# ------------------------------------------------------------------------------------- work saved


def counted(model: BlockModel) -> dict[str, int]:
    """Count what is really computed: calls of the classes' own forwards."""
    counts = {"mha": 0, "mlp": 0, "heads": 0}

    def counting(module: nn.Module, key: str) -> None:
        own = type(module).forward

        def forward(self, *args, **kwargs):
            counts[key] += 1
            return own(self, *args, **kwargs)

        module.__class__ = type(type(module).__name__, (type(module),), {"forward": forward})

    for block in model.blocks:
        counting(model.parts(block)[-1], block.kind)
    counting(model.model.get_output_embeddings(), "heads")
    return counts


@pytest.mark.parametrize("saving", SAVINGS)
def test_what_is_run_is_what_was_foreseen(saving: str):
    model, rows = BlockModel.of(tiny("llama")), ragged_rows()
    counts = counted(model)
    settings = SearchSettings(batch_rows=2, **SAVINGS[saving] | {"early_stop": False})
    subject = ModelSubject(model, rows, settings)
    before = dict(counts)
    order = [step.unit for step in search(subject)]
    ran = {key: counts[key] - before[key] for key in counts}
    assert ran == subject.work._asdict()
    assert subject.work.heads == 3 * num_passes(8, STEPS)
    places = subject._runs._places if saving == "little memory" else None
    if saving != "no memory":
        once = search_work(model.blocks, order, SINGLE, settings, places)
        assert subject.work == (3 * once.mha, 3 * once.mlp, 3 * once.heads)


def test_the_savings_are_ordered(llama: BlockModel):
    work = {}
    for saving in ("none", "prefix", "winner", "all"):
        settings = SearchSettings(batch_rows=2, **SAVINGS[saving])
        subject = ModelSubject(llama, ragged_rows(), settings)
        search(subject)
        work[saving] = subject.work.blocks
    assert work["none"] > work["prefix"] > work["winner"] > work["all"]


def test_a_candidate_without_a_chance_is_stopped():
    # With large logits losses lie far apart, so that some exceed the second best before all rows.
    model = BlockModel.of(tiny("llama"))
    rows = Rows(*map(torch.cat, zip(*map(ragged_rows, range(5)), strict=True)))
    with torch.no_grad():
        model.model.get_output_embeddings().weight.mul_(20)
    settings = SearchSettings(batch_rows=1, reuse_prefix=False)
    subject = ModelSubject(model, rows, settings)
    units = units_of(model.blocks)
    exact = subject.losses((), units)
    full = subject.work.heads
    stopped = subject.losses((), units, top=2)
    assert subject.work.heads < 2 * full
    known = [loss for loss in stopped if not isinf(loss)]
    assert sorted(known)[:2] == sorted(exact)[:2]
    assert all(a in (b, inf) for a, b in zip(stopped, exact, strict=True))
    assert inf in stopped
    # Where the good ones do not come first.
    unguided = ModelSubject(model, rows, settings).losses((), units, top=2)
    assert sorted(unguided)[:2] == sorted(exact)[:2]


def test_calls_may_come_in_any_order(llama: BlockModel):
    rows, units = ragged_rows(), units_of(llama.blocks)
    subject = ModelSubject(llama, rows, SearchSettings(batch_rows=2))
    sets = [[], [Block("mlp", 2)], [Block("mlp", 2), Block("mha", 1)], [Block("mha", 3)], []]
    for gone in sets:
        candidates = [unit for unit in units if unit[0] not in gone]
        found = [subject.losses(gone, [unit])[0] for unit in candidates[::-1]][::-1]
        plain = [plain_loss(llama, rows, [*gone, *unit], 2) for unit in candidates]
        assert found == plain


def test_pairs_and_layers_reuse_states_too(llama: BlockModel):
    rows = ragged_rows()
    for rule in (_units.paired(()), _units.layers(())):
        subject = ModelSubject(llama, rows, SearchSettings(batch_rows=2, early_stop=False))
        gone: list[Block] = []
        for step in greedy(subject, rule):
            alive = [b for b in llama.blocks if b not in gone]
            plain = {u: plain_loss(llama, rows, [*gone, *u], 2) for u in rule(alive)}
            assert step.score == plain[step.unit] == min(plain.values())
            gone += step.unit


# ------------------------------------------------------------------------------------ paired rows


@pytest.mark.parametrize("mean", ["token", "row"])
def test_the_margin_has_the_error_of_its_rows(llama: BlockModel, mean: str):
    rows = ragged_rows()
    subject = ModelSubject(llama, rows, SearchSettings(batch_rows=2, mean=mean))
    step = next(greedy(subject, SINGLE))
    losses = subject.losses((), units_of(llama.blocks))
    second = units_of(llama.blocks)[losses.index(sorted(losses)[1])]
    sums = []
    for unit in (step.unit, second):
        sums.append(
            [
                plain_loss(llama, Rows(*(x[i : i + 1] for x in rows)), unit, 1)
                for i in range(len(rows.ids_ST))
            ]
        )
    weights = rows.supervised_ST.sum(1).double() if mean == "token" else torch.ones(5).double()
    d_S = (torch.tensor(sums[1]) - torch.tensor(sums[0])).double() * weights
    residual_S = d_S - d_S.sum() / weights.sum() * weights
    wanted = (5 / 4 * residual_S.square().sum()).sqrt() / weights.sum()
    assert step.margin_error == pytest.approx(wanted.item(), rel=1e-3)
    assert subject.margin_error(step.unit, (Block("mha", 99),)) is None


def many_rows() -> Rows:
    return Rows(*map(torch.cat, zip(*map(ragged_rows, range(8)), strict=True)))


def test_a_race_ends_with_the_losses_of_those_who_finish():
    model, rows = BlockModel.of(tiny("llama")), many_rows()
    units = units_of(model.blocks)
    exact = ModelSubject(model, rows, SearchSettings(batch_rows=4)).losses((), units)
    subject = ModelSubject(model, rows, SearchSettings(batch_rows=4, racing=1.0))
    found = subject.losses((), units, top=2)
    assert subject.work.heads < 10 * len(units)
    finished = [i for i, loss in enumerate(found) if loss < inf]
    assert 2 <= len(finished) < len(units)
    assert all(found[i] == exact[i] for i in finished)
    assert min(found) == min(exact)
    # All are needed: nobody races. With a wide margin nobody falls behind.
    assert subject.losses((), units) == exact
    patient = ModelSubject(model, rows, SearchSettings(batch_rows=4, racing=1e9))
    assert patient.losses((), units, top=2) == exact


def test_a_race_goes_on_with_what_it_knows():
    model, rows = BlockModel.of(tiny("llama")), many_rows()
    racing = ModelSubject(model, rows, SearchSettings(batch_rows=4, racing=2.0))
    exact = ModelSubject(model, rows, SearchSettings(batch_rows=4))
    ours, theirs = search(racing, 5), search(exact, 5)
    assert [(s.unit, s.score, s.margin) for s in ours] == [
        (s.unit, s.score, s.margin) for s in theirs
    ]
    assert racing.work.heads < exact.work.heads


# -------------------------------------------------------------------------------------- fast mode


def test_chunked_losses_are_near_and_close_ones_exact(llama: BlockModel, monkeypatch):
    monkeypatch.setattr("inarch.prune._loss.CHUNK_LOGITS", 3 * VOCAB)
    rows, units = ragged_rows(), units_of(llama.blocks)
    exact = ModelSubject(llama, rows, SearchSettings(batch_rows=2)).losses((), units)
    fast = SearchSettings(batch_rows=2, chunked_loss=True)
    subject = ModelSubject(llama, rows, fast)
    found = subject.losses((), units)
    assert subject.work.heads == 3 * len(units)  # none was close
    assert found == pytest.approx(exact, rel=1e-6)
    assert [s.unit for s in search(ModelSubject(llama, rows, fast))] == [
        s.unit for s in search(ModelSubject(llama, rows, SearchSettings(batch_rows=2)))
    ]


def test_candidates_as_good_as_the_best_are_scored_in_full(llama: BlockModel, monkeypatch):
    # Chunked losses are made wrong by less than the guard, so that the wrong unit seems best.
    rows, units = ragged_rows(), units_of(llama.blocks)[:2]
    exact = ModelSubject(llama, rows, SearchSettings(batch_rows=2)).losses((), units)
    worse = max(range(2), key=lambda i: exact[i])
    gap = exact[worse] / exact[1 - worse] - 1

    from inarch.prune import _score

    calls = []

    def flattering(model, batch):
        calls.append(1)
        is_worse = 3 * worse < len(calls) <= 3 * worse + 3
        return _score.plain_nll(model, batch) * ((1 - 5e-6) / (1 + gap) if is_worse else 1)

    monkeypatch.setattr(_score, "chunked_nll", flattering)
    fast = SearchSettings(batch_rows=2, chunked_loss=True)
    assert ModelSubject(llama, rows, fast).losses((), units) == exact


# ------------------------------------------------------------------------------------------ devices


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_replicas_share_the_rows_and_change_nothing(name: str):
    model, rows = BlockModel.of(tiny(name)), ragged_rows()
    one = ModelSubject(model, rows, SearchSettings(batch_rows=2))
    two = ModelSubject(model, rows, SearchSettings(batch_rows=2), devices=["cpu", "cpu"])
    units = units_of(model.blocks)
    assert two.losses((), units) == one.losses((), units)
    ours, theirs = search(two), search(one)
    assert [s._replace(evaluations=0) for s in ours] == [s._replace(evaluations=0) for s in theirs]
    assert [len(replica.batches) for replica in two._runs.replicas] == [2, 1]
    # The model is one of them; the other is a copy.
    assert [replica.model is model for replica in two._runs.replicas] == [True, False]


def test_losses_are_told_as_they_come(llama: BlockModel):
    told: list[tuple[tuple[Block, ...], float]] = []
    settings = SearchSettings(batch_rows=2)
    subject = ModelSubject(llama, ragged_rows(), settings, on_loss=lambda *loss: told.append(loss))
    units = units_of(llama.blocks)
    found = subject.losses((), units, top=2)
    assert sorted(told) == list(zip(units, found, strict=True))


# ----------------------------------------------------------------------------------------- settings


def test_a_saving_that_another_forbids_is_an_error():
    with pytest.raises(ValidationError, match="reuse_winner starts from kept states"):
        SearchSettings(reuse_prefix=False, reuse_winner=True)
    assert not SearchSettings(reuse_prefix=False, reuse_winner=False).reuse_prefix
