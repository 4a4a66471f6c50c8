"""``fuse``: capture what each source believes, match, fuse, and train the target on it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from inarch.data import read
from inarch.errors import DataError, WeightsError
from inarch.flows._corpus import (
    Cut,
    cut_corpus,
    data_digest,
    reader_of,
    short_digest,
    work_folder,
)
from inarch.flows._lessons import Panel, Tally, lessons, panel_of
from inarch.flows._plan import plan
from inarch.flows.recipe import FuseRun, result_settings
from inarch.flows.teach import (
    beliefs_key,
    believe,
    load,
    model_digest,
    num_shards,
    shard_beliefs,
    shard_slice,
    teach,
)
from inarch.fuse import (
    Example,
    Examples,
    Lesson,
    collate,
    fused_loss,
    plain_loss,
    write_examples,
)
from inarch.io.models import head_width
from inarch.io.progress import track
from inarch.io.runs import stage
from inarch.records import Document
from inarch.settings import to_dict
from inarch.train.trainer import train

logger = logging.getLogger(__name__)

__all__ = ["FuseRun", "plan", "run"]


def run(settings: FuseRun, out: Path) -> None:
    """Fuse the sources into the target; the result is ``out/model``.

    With ``fuse.pairwise`` there is one result per source, ``out/pairs/<source>/model``; each is a
    run of its own, so a source that is added later leaves the others as they are.
    """
    if not settings.fuse.pairwise:
        _run_one(settings, out)
        return
    work = str(work_folder(settings, out))
    own = result_settings(settings)
    own.pop("sources")  # one more is no other run
    with stage(out, "pairs", own, {}) as opened:
        for source in settings.sources:
            fuse = settings.fuse.model_copy(update={"pairwise": False})
            pair = settings.model_copy(update={"sources": (source,), "fuse": fuse, "work": work})
            _run_one(pair, out / "pairs" / source.label)
        opened.note(pairs=[source.label for source in settings.sources])


def _run_one(settings: FuseRun, out: Path) -> None:
    own = result_settings(settings)
    inputs = {m.label: model_digest(m) for m in (settings.target, *settings.sources)}
    inputs["data"] = data_digest(settings.data.path)
    with stage(out, "fuse", own, inputs) as opened:
        if opened.done:
            logger.info("%s is complete; nothing to do", out)
            return
        opened.wait_for("prepared")
        cut = cut_corpus(settings, out)
        panel = panel_of(settings, cut.corpus)
        dataset, to_batch, facts = _training_set(settings, panel, cut, out)
        opened.note(num_documents=len(cut.corpus), **facts, prepared=True)
        reader = reader_of(settings, settings.target)
        model = load(settings.target, reader, settings)
        if reader.tokenizer.size > head_width(model):
            raise WeightsError(
                f"{settings.target.label}: its tokenizer has {reader.tokenizer.size} ids, its head "
                f"{head_width(model)}; resize the embeddings, or give the tokenizer of the model"
            )
        loss = fused_loss(settings.fuse) if settings.candidates else plain_loss
        result = train(
            model, dataset, to_batch, loss, settings.train, out, tokenizer=reader.tokenizer.hf
        )
        opened.note(num_steps=result.num_steps)


def _training_set(
    settings: FuseRun, panel: Panel, cut: Cut, out: Path
) -> tuple[Sequence[Any], Callable[[list[Any]], dict[str, Tensor]], dict[str, Any]]:
    """Return a dataset, what makes batches of it, and facts for the manifest."""
    if settings.teach.online and settings.candidates:
        numbers = range(len(cut.corpus))
        return numbers, _online(settings, panel, cut), {}
    folders = [teach(settings, model, cut, out) for model in settings.candidates]
    folder = out / "fused"
    own = {"fuse": to_dict(settings.fuse), "match": to_dict(settings.match)}
    keys = {m.label: beliefs_key(settings, m, cut) for m in settings.candidates}
    inputs = {"documents": cut.key, "target": reader_of(settings, settings.target).tokenizer.digest}
    inputs |= {label: short_digest(*key) for label, key in keys.items()}
    with stage(folder, "examples", own, inputs) as opened:
        path = folder / "examples.arrow"
        if not opened.done:
            tally = Tally()
            write_examples(path, _examples(settings, panel, cut, folders, tally))
            opened.note(**tally.facts())
        examples = Examples(path)
        if not len(examples):
            raise DataError(f"{settings.data.path}: no row has a token to learn; give longer texts")
        return examples, collate, opened.facts


def _examples(
    settings: FuseRun, panel: Panel, cut: Cut, folders: Sequence[Path], tally: Tally
) -> Iterator[list[Example]]:
    reader = reader_of(settings, settings.target)
    with track("match and fuse", len(cut.corpus), "rows") as advance:
        for shard in range(num_shards(settings, cut)):
            documents = cut.corpus[shard_slice(settings, shard)]
            rows = read(reader, documents)
            taught: Sequence[Lesson | None] = [None] * len(rows)
            if folders:
                beliefs = [shard_beliefs(folder, shard, documents) for folder in folders]
                taught = lessons(panel, rows, beliefs)
            for document, row, lesson in zip(documents, rows, taught, strict=True):
                tally.add(panel, document, row, lesson)
            # A row of one token predicts nothing.
            yield [
                Example(*pair)
                for pair in zip(rows, taught, strict=True)
                if pair[0].supervised.any()
            ]
            advance(len(documents))


def _online(settings: FuseRun, panel: Panel, cut: Cut) -> Callable[[list[int]], dict[str, Tensor]]:
    """Return what runs the candidates on the documents of a batch, with nothing stored."""
    readers = [reader_of(settings, model) for model in settings.candidates]
    networks = [
        load(model, reader, settings)
        for model, reader in zip(settings.candidates, readers, strict=True)
    ]
    target = reader_of(settings, settings.target)

    def to_batch(numbers: list[int]) -> dict[str, Tensor]:
        documents: list[Document] = [cut.corpus[i : i + 1][0] for i in numbers]
        rows = read(target, documents)
        beliefs = [
            believe(network, reader, documents, settings)
            for network, reader in zip(networks, readers, strict=True)
        ]
        taught = lessons(panel, rows, beliefs)
        return collate([Example(row, lesson) for row, lesson in zip(rows, taught, strict=True)])

    return to_batch
