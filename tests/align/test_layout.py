"""Layouts of answers in rows: by hand, the same numbers and gradients, little padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.align import _masks
from inarch.align._layout import PADDED, Layout, Sequences, batch_of
from inarch.align._logps import answer_logps
from inarch.align._masks import visible
from inarch.io.models import new_model

from .test_logps import LLAMA, V, rows_of

ALL = ("padded", "packed", "shared")
WIDE = 2**40
"""A width of the model with which attention is cheap beside the rest, so that few rows are best."""
KV = {"num_key_value_heads": 2, "head_dim": 8}
KINDS = {
    "llama": LLAMA,
    "qwen3": LLAMA | KV | {"model_type": "qwen3"},
    "gpt_neox": LLAMA | {"model_type": "gpt_neox"},
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    # Windows far shorter than the rows, on one layer of two or on both.
    "gemma2": LLAMA | KV | {"model_type": "gemma2", "sliding_window": 5},
    "gemma3": LLAMA
    | KV
    | {
        "model_type": "gemma3_text",
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "mistral": LLAMA | {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 5},
}


def made(kind: str = "llama", attention: str | None = None):
    model = new_model(KINDS[kind], V, 0)
    if attention:
        model.set_attn_implementation(attention)
    for weight in model.parameters():  # far from uniform, so that what is seen matters
        if weight.ndim > 1:
            weight.data.mul_(4.0)
    return model


def together(kind: str) -> Layout:
    return Layout((kind,), one_row=True)


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


def row(prompt: tuple[int, ...], *answers: tuple[int, ...]) -> Sequences:
    return Sequences((ids(*prompt),) * len(answers), tuple(ids(*answer) for answer in answers))


ROWS = [row((1, 2), (3, 4, 5), (6,)), row((7,), (8, 9), (10, 11))]


# ---------------------------------------------------------------------------------------- by hand


def test_a_prompt_is_there_once_by_hand():
    found = batch_of(ROWS, together("shared"))
    # The last token of an answer predicts nothing and is not there; the longer unit comes first.
    assert found["input_ids"].tolist() == [[1, 2, 3, 4, 7, 8, 10]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 1]]
    assert found["branches_RW"].tolist() == [[0, 0, 1, 1, 0, 1, 2]]
    # First answers, then second ones; each begins at the last token of its prompt.
    assert found["flat_N"].tolist() == [1, 2, 3, 4, 5, 1, 4, 6]
    assert found["labels_N"].tolist() == [3, 4, 5, 8, 9, 6, 10, 11]
    assert found["answer_N"].tolist() == [0, 0, 0, 1, 1, 2, 3, 3]
    assert found["lengths_A"].tolist() == [3, 2, 1, 2]
    seen = visible(found)[0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 0, 1],  # the prompt and itself, not the answer in between
    ]
    # Two tokens back, by position: the second answer of the second row still sees its prompt.
    near = visible(found, 2)[0].int().tolist()
    assert [near[2], near[3], near[6]] == [
        [0, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 1],
    ]


def test_packed_by_hand():
    found = batch_of(ROWS, together("packed"))
    assert found["input_ids"].tolist() == [[1, 2, 3, 4, 7, 8, 1, 2, 7, 10]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 0, 1]]
    assert found["flat_N"].tolist() == [1, 2, 3, 4, 5, 7, 8, 9]
    assert visible(found)[0].sum(1).tolist() == [1, 2, 3, 4, 1, 2, 1, 2, 1, 2]


def test_padded_by_hand():
    found = batch_of(ROWS)
    assert found["input_ids"].tolist() == [[1, 2, 3, 4], [7, 8, 0, 0], [1, 2, 0, 0], [7, 10, 0, 0]]
    assert found["attention_mask"].sum(1).tolist() == [4, 2, 2, 2]
    assert found["flat_N"].tolist() == [1, 2, 3, 4, 5, 9, 12, 13]
    assert found.keys().isdisjoint({"position_ids", "units_RW"})


# ------------------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_gives_the_same_log_probs_and_gradients(kind: str, attention: str):
    if kind == "gemma2" and attention == "sdpa":
        pytest.skip("transformers has no sdpa for gemma2")
    rows, results = rows_of(4, 3), []
    weight_A = torch.randn(12, generator=torch.Generator().manual_seed(0))
    # In one row, and in several.
    layouts = [PADDED, *map(together, ALL[1:]), *(Layout((kind,), 1) for kind in ALL[1:])]
    for layout in layouts:
        model, batch = made(kind, attention), batch_of(rows, layout)
        logps = answer_logps(model, batch)
        # Not linear in the answers, as a preference loss is not.
        torch.tanh(weight_A * logps / 20).sum().backward()
        results.append((logps.detach(), {n: p.grad for n, p in model.named_parameters()}))
    (expected, slopes), *others = results
    for logps, grads in others:
        torch.testing.assert_close(logps, expected, rtol=1e-5, atol=1e-5)
        for name, grad in grads.items():
            scale = slopes[name].norm()
            assert (grad - slopes[name]).norm() <= 1e-5 * scale + 1e-7, name


def test_a_frozen_copy_and_an_adapter_read_the_same():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    model, rows = get_peft_model(made(), config).eval(), rows_of(3, 2)
    expected = answer_logps(model, batch_of(rows))
    for kind in ALL[1:]:
        found = answer_logps(model, batch_of(rows, together(kind)))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (answer_logps(made(), batch_of(rows)) - expected).abs().max() > 1


class Wrapper(torch.nn.Module):
    """Hands nothing on but its forward, as DDP does."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **inputs):
        return self.module(**inputs)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_wrapped_model_reads_the_same(attention: str):
    model, rows = made("gemma3", attention), rows_of(3, 2)
    expected = answer_logps(model, batch_of(rows))
    found = answer_logps(Wrapper(model), batch_of(rows, together("shared")))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def planted(fault: str, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    batch = dict(batch)
    if fault == "positions not begun anew":
        width = batch["input_ids"].shape[1]
        batch["position_ids"] = torch.arange(width).clamp(max=63)[None]
    elif fault == "answers see each other":
        batch["branches_RW"] = torch.zeros_like(batch["branches_RW"])
    elif fault == "rows see each other":
        batch["units_RW"] = torch.zeros_like(batch["units_RW"])
    elif fault == "the first token twice":
        batch["flat_N"] = batch["flat_N"].clone()
        first = torch.cat([torch.tensor([0]), batch["lengths_A"].cumsum(0)[:-1]])
        long = batch["lengths_A"] > 1
        batch["flat_N"][first[long] + 1] = batch["flat_N"][first[long]]
    return batch


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize(
    "fault",
    [
        "positions not begun anew",
        "answers see each other",
        "rows see each other",
        "the first token twice",
        "no mask",
    ],
)
def test_what_a_layout_is_made_of_matters(kind: str, fault: str, monkeypatch):
    model, rows = made(kind), rows_of(4, 3)
    expected = answer_logps(model, batch_of(rows))
    batch = planted(fault, batch_of(rows, together("shared")))
    if fault == "no mask":
        monkeypatch.setattr(_masks, "visible", lambda b, w=None: torch.ones(1, 1, 1).tril() > 0)
    assert (answer_logps(model, batch) - expected).abs().max() > 0.01


# ------------------------------------------------------------------------------------ the cheapest


def shapes(prompt: int, *answers: int, num: int = 4) -> list[Sequences]:
    return [row((0,) * prompt, *((0,) * n for n in answers)) for _ in range(num)]


def kind_of(batch: dict[str, torch.Tensor]) -> str:
    if "units_RW" not in batch:
        return "padded"
    return "shared" if int(batch["branches_RW"].max()) > 1 else "packed"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (shapes(300, 20, 20, 20), "shared"),  # a prompt read three times is a waste
        (shapes(2, 200, 200), "padded"),  # nothing to save, and a mask costs
        (shapes(2, 200, num=1) + shapes(2, 10), "packed"),  # padding to save, no prompt to share
        (shapes(20, 60, 60), "padded"),  # a prompt saves less than its mask costs
        (shapes(50, 60), "padded"),
    ],
)
def test_the_cheapest_is_taken(rows: list[Sequences], expected: str):
    assert kind_of(batch_of(rows, Layout(ALL, hidden=64))) == expected


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.lists(st.integers(1, 60), min_size=2, max_size=2)),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(ALL[1:]),
    st.sampled_from([16, 512, WIDE]),
)
@settings(max_examples=60, deadline=None)
def test_every_token_has_one_place(sizes, kind: str, hidden: int):
    rows, next_id = [], 1
    for prompt, answers in sizes:
        parts = []
        for size in (prompt, *answers):
            parts.append(tuple(range(next_id, next_id + size)))
            next_id += size
        rows.append(row(*parts))
    batch = batch_of(rows, Layout((kind,), hidden))
    flat = batch["input_ids"].flatten()
    labels = [t for k in range(2) for r in rows for t in r.answers[k].tolist()]
    assert batch["labels_N"].tolist() == labels
    # What speaks is the token before, of the same answer or the end of the prompt.
    before = [
        t for k in range(2) for r in rows for t in (r.prompts[k][-1], *r.answers[k][:-1].tolist())
    ]
    assert flat[batch["flat_N"]].tolist() == before
    there = flat[batch["units_RW"].flatten() >= 0]
    prompts = sum(len(r.prompts[0]) for r in rows) * (2 if kind == "packed" else 1)
    assert len(there) == prompts + len(labels) - 2 * len(rows)


def test_little_is_padding():
    rng, rows = np.random.default_rng(0), []
    for _ in range(16):
        rows += shapes(int(rng.integers(20, 200)), *rng.integers(10, 200, 2).tolist(), num=1)
    share = {}
    for kinds in (("padded",), ("packed",), ("shared",)):
        batch = batch_of(rows, Layout(kinds, hidden=4096))
        mask = batch["attention_mask"] if kinds[0] == "padded" else batch["units_RW"] >= 0
        share[kinds[0]] = 1 - float(mask.double().mean())
    assert share["padded"] > 0.4
    assert max(share["packed"], share["shared"]) < 0.05
