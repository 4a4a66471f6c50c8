"""Run merge methods over checkpoints of any size: jobs in, tensors of a writer out.

A tensor is cut in parts that a core's cache holds. Threads widen a part of every model to float32,
let the rule of the method merge it, narrow it and write it where it belongs; the layout of the
result is known before its first byte, so no thread waits for another. Parts, and the order in
which their sums are added, depend on shapes alone: every number of threads gives the same bits.
"""

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from xxhash import xxh3_128, xxh3_128_digest

from inarch.errors import SettingsError, WeightsError
from inarch.io.dtypes import narrow, storage
from inarch.merge._jobs import Floats, Job, Raw, Source
from inarch.merge._method import Method
from inarch.merge._stack import PART_ELEMENTS, Part, Rule, spans

T = TypeVar("T")
_Digests = list[bytes | None]
"""Of one part: of each source, and of the result."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_HELD_BYTES = 1 << 25
_CACHE_LINE = 64

READ_AHEAD = 3
"""Tensors that the system is asked to read before their turn."""
PARTS_AHEAD = 64
"""Parts that wait for a thread while the next tensor is prepared."""


class Writer(Protocol):
    """Where the merged tensors go."""

    def write(self, name: str, start: int, values: Raw) -> None:
        """Store elements of a tensor from flat index `start` on; called by several threads."""

    def finish(self, name: str) -> None:
        """Note that all elements of the tensor have been written."""


class Merged(NamedTuple):
    """What is noted about one tensor of the result."""

    name: str
    coefficients: tuple[float, ...] | None
    """The weight that the method found for each model, where it finds one."""
    digests: tuple[str | None, ...]
    """Of what was read of each source of the job, where it is a tensor on disk, and last of what
    was written: XXH3-128 of the XXH3-128 of all parts."""


def merge_tensors(
    jobs: Sequence[Job],
    methods: Mapping[str, Method],
    writer: Writer,
    *,
    threads: int,
    device: str = "cpu",
) -> Iterator[Merged]:
    """Make the tensors of the result in the order of the jobs; yield each that is written.

    Args:
        jobs: One per tensor.
        methods: The table that ``Job.method`` is a key of.
        writer: Takes the parts, each element once.
        threads: Parts that are worked on at once. The result does not depend on it.
        device: ``"cpu"``, or a torch device such as ``"cuda"`` on which the rules compute.

    Raises:
        WeightsError: A model holds NaN or infinity, or the result would.
        SettingsError: A method cannot do with these numbers or models; the tensor is named.
    """
    with _pool(threads) as pool:
        workbench = _Workbench(device)
        under_way: deque[tuple[Job, Rule | None, list[Future[_Digests]]]] = deque()
        for job in jobs[:READ_AHEAD]:
            _prefetch(job)
        for number, job in enumerate(jobs):
            for next_job in jobs[number + READ_AHEAD : number + READ_AHEAD + 1]:
                _prefetch(next_job)
            rule = None if job.copy else rule_of(job, JobStack(job, pool, workbench), methods)
            under_way.append((job, rule, _start(job, rule, writer, pool, workbench)))
            while len(under_way) > 1 and sum(len(parts) for *_, parts in under_way) > PARTS_AHEAD:
                yield _finish(*under_way.popleft(), writer, pool)
        while under_way:
            yield _finish(*under_way.popleft(), writer, pool)


def measure_tensors(
    jobs: Sequence[Job],
    measure: Callable[[Job, "JobStack"], T],
    *,
    threads: int,
    device: str = "cpu",
) -> Iterator[T]:
    """Yield what `measure` returns for each job, in order; nothing is written.

    The arguments are those of `merge_tensors`; so are the errors.
    """
    with _pool(threads) as pool:
        workbench = _Workbench(device)
        for job in jobs:
            yield measure(job, JobStack(job, pool, workbench))
            for source in job.sources:
                source.release()


def rule_of(job: Job, stack: "JobStack", methods: Mapping[str, Method]) -> Rule:
    """Return the rule of a job; where its method complains, the error names the tensor."""
    try:
        return methods[job.method].function(stack, job.settings)
    except SettingsError as error:
        raise SettingsError(f"{job.name}: {error}") from None


def _start(
    job: Job, rule: Rule | None, writer: Writer, pool: ThreadPoolExecutor, bench: "_Workbench"
) -> list[Future[_Digests]]:
    """Hand the parts of a tensor to the pool."""
    raws = [source.raw() for source in job.sources]

    def work(span: tuple[int, int]) -> _Digests:
        part = slice(*span)
        read = [None if raw is None else raw[part] for raw in raws]
        out = _merge(job, rule, span, bench) if rule else read[0]
        assert out is not None, "a job that copies has a tensor on disk"  # noqa: S101
        writer.write(job.name, span[0], out)
        return [None if values is None else _digest(values) for values in (*read, out)]

    return [pool.submit(work, span) for span in spans(job.shape)]


def _merge(job: Job, rule: Rule, span: tuple[int, int], bench: "_Workbench") -> Raw:
    """Return a part of the result as it is stored, in a buffer of this thread."""
    merged_N = bench.to_host(rule(bench.part(job, span)))
    out = bench.raw(len(merged_N), job.dtype)
    if not narrow(merged_N, job.dtype, out):
        raise WeightsError(
            f"{job.name}: the merge gives numbers that {job.dtype} cannot hold. "
            "Use smaller weights, or a wider out_dtype such as bfloat16 or float32"
        )
    return out


def _finish(
    job: Job,
    rule: Rule | None,
    parts: list[Future[_Digests]],
    writer: Writer,
    pool: ThreadPoolExecutor,
) -> Merged:
    """Return what is noted about a tensor once all its parts are written."""
    columns = zip(*(part.result() for part in parts), strict=True)
    nothing = [xxh3_128(b"").hexdigest()] * (len(job.sources) + 1)
    digests = [_fold(column) for column in columns] or nothing
    writer.finish(job.name)
    for source in job.sources:
        pool.submit(source.release)
    return Merged(job.name, getattr(rule, "coefficients", None), tuple(digests))


def _digest(values: Raw) -> bytes:
    return xxh3_128_digest(values.data)


def _fold(digests: Sequence[bytes | None]) -> str | None:
    """Return the digest of the digests of all parts."""
    known = [digest for digest in digests if digest is not None]
    return xxh3_128(b"".join(known)).hexdigest() if len(known) == len(digests) else None


def _prefetch(job: Job) -> None:
    for source in job.sources:
        source.prefetch()


class JobStack:
    """The `Stack` of a job: parts come from its sources, and are measured by the pool."""

    def __init__(self, job: Job, pool: ThreadPoolExecutor, bench: "_Workbench") -> None:
        self.name = job.name
        self.shape = job.shape
        self.num_models = len(job.models)
        self.has_base = job.base is not None
        self._job, self._pool, self._bench = job, pool, bench

    def map(self, measure: Callable[[Part], T]) -> list[T]:
        """Return what `measure` returns for each part, in order."""
        return list(
            self._pool.map(
                lambda span: measure(self._bench.part(self._job, span)), spans(self.shape)
            )
        )


class _Workbench:
    """The buffers of each thread, and the device on which rules compute."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._local = threading.local()

    def part(self, job: Job, span: tuple[int, int]) -> Part:
        """Return a part, read into the buffers of this thread."""
        start, end = span
        sources, n = job.sources, end - start
        values = self._buffer("floats", len(sources) * n, np.dtype(np.float32)).reshape(-1, n)
        for source, row in zip(sources, values, strict=True):
            if not source.fill(start, row):
                raise WeightsError(_describe_nonfinite(job, source, start, row))
        models_KN = self._to_device(values[: len(job.models)])
        return Part(start, models_KN, self._to_device(values[-1]) if job.base else None)

    def raw(self, n: int, dtype: str) -> Raw:
        """Return a buffer of this thread for `n` elements as they are stored."""
        return self._buffer("raw", n, storage(dtype))

    def to_host(self, merged_N: Any) -> Floats:
        """Return what a rule made as a numpy array."""
        return merged_N if isinstance(merged_N, np.ndarray) else merged_N.cpu().numpy()

    def _to_device(self, values: Floats) -> Any:
        if self._device == "cpu":
            return values
        import torch

        return torch.from_numpy(values).to(self._device)

    def _buffer(self, name: str, n: int, dtype: "np.dtype[Any]") -> Raw:
        bytes_needed = n * dtype.itemsize
        buffer = getattr(self._local, name, None)
        if buffer is None or len(buffer) < bytes_needed:
            buffer = _aligned(max(bytes_needed, PART_ELEMENTS * 4))
            setattr(self._local, name, buffer)
        return buffer[:bytes_needed].view(dtype)


def _aligned(num_bytes: int) -> Raw:
    """Return room that begins where a line of the cache does, which vector instructions like."""
    room = np.empty(num_bytes + _CACHE_LINE, np.uint8)
    first = -room.ctypes.data % _CACHE_LINE
    return room[first : first + num_bytes]


def _describe_nonfinite(job: Job, source: Source, start: int, row: Floats) -> str:
    index = int(np.flatnonzero(~np.isfinite(row))[0])
    place = np.unravel_index(start + index, job.shape) if job.shape else ()
    where = ", ".join(str(int(step)) for step in place)
    return (
        f"{source.label}: {job.name}[{where}] is {row[index]}; a merge would spread it. "
        "Leave this model out, or mend it"
    )


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool whose waiting work is dropped when something fails."""
    _keep_freed_memory()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="merge")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def _keep_freed_memory() -> None:
    """Ask glibc to hold on to what is freed, as each part needs arrays of the same sizes again.

    By default it gives them back to the system, whose pages then fault in anew: half of the system
    time of a merge. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _HELD_BYTES)
        mallopt(_MMAP_THRESHOLD, _HELD_BYTES)
