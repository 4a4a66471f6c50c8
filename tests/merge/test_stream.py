"""The stream: for all threads, parts and formats, every element is merged once and in place."""

import threading
import time

import numpy as np
import pytest

from inarch.errors import SettingsError, WeightsError
from inarch.io.dtypes import narrow, storage, widen
from inarch.merge import _stream
from inarch.merge._jobs import Job
from inarch.merge._method import Method
from inarch.merge._stack import PART_ELEMENTS, ArrayStack, Part
from inarch.merge._stream import merge_tensors
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings


class Memory:
    """A source that is an array."""

    def __init__(self, values, dtype="F32", label="model"):
        values = np.asarray(values, np.float32)
        self.label, self.shape, self.dtype = label, values.shape, dtype
        self.stored = np.empty(values.size, storage(dtype))
        narrow(np.ascontiguousarray(values).reshape(-1), dtype, self.stored)
        self.hints: list[str] = []

    def fill(self, start, out):
        return widen(self.stored[start : start + len(out)], self.dtype, out)

    def raw(self):
        return self.stored

    def prefetch(self):
        self.hints.append("prefetch")

    def release(self):
        self.hints.append("release")


class Store:
    """A writer that keeps what it is given, and how often each element was written."""

    def __init__(self, jobs):
        self.values = {j.name: np.zeros(int(np.prod(j.shape)), storage(j.dtype)) for j in jobs}
        self.counts = {name: np.zeros(len(v), int) for name, v in self.values.items()}
        self.finished: list[str] = []

    def write(self, name, start, values):
        assert name not in self.finished
        self.values[name][start : start + len(values)] = values
        self.counts[name][start : start + len(values)] += 1

    def finish(self, name):
        assert (self.counts[name] == 1).all()
        self.finished.append(name)


def add_up(stack, settings):
    """Return the rule of the base plus the models' sum, each divided by its largest element."""
    largest = np.max(stack.map(lambda part: np.abs(part.models_KN).max(axis=1)), axis=0)

    def rule(part: Part):
        base_N = part.base_N if part.base_N is not None else 0
        return base_N + (part.models_KN / largest[:, None]).sum(axis=0, dtype=np.float32)

    return WeightedRule(rule, tuple(float(value) for value in largest))


def refuse(stack, settings):
    raise SettingsError("weights sum to zero")


METHODS = {
    "add_up": Method(add_up, Settings, "optional"),
    "refuse": Method(refuse, Settings, "none"),
    "keep": Method(lambda stack, settings: lambda part: part.models_KN[0] * 1, Settings, "none"),
    "blow": Method(lambda stack, settings: lambda part: part.models_KN[0] * 1e30, Settings, "none"),
}


def job(name, models, base=None, method="add_up", dtype="F32", copy=False):
    return Job(name, dtype, method, Settings(), tuple(models), base, copy)


def run(jobs, threads=1, device="cpu"):
    store = Store(jobs)
    merged = list(merge_tensors(jobs, METHODS, store, threads=threads, device=device))
    assert [m.name for m in merged] == store.finished == [j.name for j in jobs]
    return store, merged


def random_jobs(shapes, num_models=3, dtype="F32"):
    rng = np.random.default_rng(0)
    return [
        job(
            f"t{number}",
            [Memory(rng.normal(size=shape), dtype) for _ in range(num_models)],
            Memory(rng.normal(size=shape), dtype),
        )
        for number, shape in enumerate(shapes)
    ]


def test_by_hand():
    # models [2, 4] and [-1, 5]: largest 4 and 5; base [10, 20]
    # 10 + 2/4 - 1/5 = 10.3, 20 + 1 + 1 = 22
    store, merged = run([job("t", [Memory([2, 4]), Memory([-1, 5])], Memory([10, 20]))])
    np.testing.assert_allclose(store.values["t"], [10.3, 22], rtol=1e-6)
    assert merged[0].coefficients == (4.0, 5.0)


SHAPES = [
    (),
    (1,),
    (0, 4),
    (3, 5),
    (PART_ELEMENTS + 7,),
    (5, PART_ELEMENTS // 2 + 1),
    (3, PART_ELEMENTS + 1),
    (7, 3, 300, 41),
]


def test_every_shape_is_what_the_whole_arrays_give():
    jobs = random_jobs(shape for shape in SHAPES if 0 not in shape)
    store, _ = run(jobs, threads=2)
    for item in jobs:
        models = [source.stored.astype(np.float64) for source in item.models]
        expected = item.base.stored + sum(model / np.abs(model).max() for model in models)
        np.testing.assert_allclose(store.values[item.name], expected, rtol=1e-5, atol=1e-6)


def test_an_empty_tensor_is_finished():
    store, _ = run([job("none", [Memory(np.zeros((0, 4)))], method="keep")])
    assert store.values["none"].size == 0


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_no_bit(threads):
    jobs = random_jobs(SHAPES[3:], dtype="BF16")
    one, _ = run(jobs, threads=1)
    many, _ = run(jobs, threads=threads)
    for name, values in one.values.items():
        np.testing.assert_array_equal(values, many.values[name])


def test_an_accelerators_arrays_give_the_same(monkeypatch):
    """``cpu:0`` is a torch device: the path of an accelerator, without one."""

    def double(stack, settings):
        import torch

        def rule(part):
            assert isinstance(part.models_KN, torch.Tensor)
            return part.models_KN[0] * 2 + part.base_N

        return rule

    monkeypatch.setitem(METHODS, "double", Method(double, Settings, "required"))
    jobs = [job("t", [Memory([1, 2])], Memory([5, 6]), method="double")]
    assert run(jobs, device="cpu:0")[0].values["t"].tolist() == [7, 10]


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F8_E4M3", "F8_E5M2", "F64"])
def test_any_format_in_and_any_out(dtype):
    # 1.5 and -0.25 are exact in each of them
    jobs = [job("t", [Memory([1.5, -0.25], "BF16")], method="keep", dtype=dtype)]
    stored = run(jobs)[0].values["t"]
    back = np.empty(2, np.float32)
    widen(stored, dtype, back)
    assert back.tolist() == [1.5, -0.25]


def test_integers_are_copied_as_they_are():
    source = Memory([0])
    source.stored, source.shape, source.dtype = np.array([2**62 + 1, -3]), (2,), "I64"
    store, merged = run([job("ids", [source], dtype="I64", copy=True)])
    assert store.values["ids"].tolist() == [2**62 + 1, -3]
    assert merged[0].coefficients is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_with_a_number_that_is_none_is_named(value):
    broken = np.zeros((2, 3))
    broken[1, 2] = value
    jobs = [job("t", [Memory(np.ones((2, 3))), Memory(broken, label="./bad")], method="keep")]
    with pytest.raises(WeightsError, match=r"\./bad: t\[1, 2\] is (nan|inf|-inf)"):
        run(jobs)


def test_a_base_with_a_number_that_is_none_is_named():
    jobs = [job("t", [Memory([1.0])], Memory([np.nan], label="./base"))]
    with pytest.raises(WeightsError, match=r"\./base: t\[0\] is nan"):
        run(jobs)


def test_what_the_format_of_the_result_cannot_hold_is_refused():
    with pytest.raises(WeightsError, match="F16 cannot hold"):
        run([job("t", [Memory([1.0])], method="blow", dtype="F16")])


def test_a_methods_complaint_names_the_tensor():
    with pytest.raises(SettingsError, match=r"^t: weights sum to zero$"):
        run([job("t", [Memory([1.0])], method="refuse")])


def test_an_error_in_one_thread_ends_all(monkeypatch):
    """What waits is dropped: no minutes of work for a result that is not wanted any more."""
    begun = []

    def fail(stack, settings):
        def rule(part):
            begun.append(part.start)
            if part.start == 0:
                raise WeightsError("stop")
            time.sleep(0.01)
            return part.models_KN[0]

        return rule

    monkeypatch.setitem(METHODS, "fail", Method(fail, Settings, "none"))
    before = threading.active_count()
    with pytest.raises(WeightsError, match="stop"):
        run([job("t", [Memory(np.zeros(PART_ELEMENTS * 200))], method="fail")], threads=2)
    assert len(begun) < 100
    assert threading.active_count() == before


def test_files_are_read_ahead_and_given_back():
    jobs = random_jobs([(4,)] * 6)
    run(jobs)
    for item in jobs:
        for source in item.sources:
            assert source.hints == ["prefetch", "release"]


def test_few_tensors_are_under_way_at_once(monkeypatch):
    """Memory does not grow with the model: tensors are finished while others wait."""
    monkeypatch.setattr(_stream, "PARTS_AHEAD", 2)
    jobs = random_jobs([(4,)] * 20)
    store = Store(jobs)
    for merged in merge_tensors(jobs, METHODS, store, threads=2):
        read = sum("prefetch" in item.models[0].hints for item in jobs)
        assert read - len(store.finished) <= _stream.READ_AHEAD + 2
        assert merged.name == store.finished[-1]
    assert len(store.finished) == 20


def test_the_stack_of_a_job_is_the_stack_of_its_arrays():
    """What a method sees in the stream is what it sees of arrays in memory."""
    rng = np.random.default_rng(1)
    models = [rng.normal(size=(9, 50_000)).astype(np.float32) for _ in range(2)]
    base = rng.normal(size=(9, 50_000)).astype(np.float32)
    item = job("t", [Memory(model) for model in models], Memory(base))

    def look(part):
        return part.start, part.models_KN.tobytes(), part.base_N.tobytes()

    (seen,) = _stream.measure_tensors([item], lambda _, stack: stack.map(look), threads=2)
    assert seen == ArrayStack(models, base).map(look)
