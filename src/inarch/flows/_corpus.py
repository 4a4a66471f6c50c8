"""The corpus of a run: read, cut once for all its models, on disk."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from transformers import AutoConfig

from inarch.data import Corpus, Reader, documents, read_raw, write_documents
from inarch.errors import DataError, WeightsError
from inarch.flows.recipe import FuseRun, ModelSettings
from inarch.io.files import digest_file
from inarch.io.models import max_positions, new_config
from inarch.io.progress import track
from inarch.io.runs import stage
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Document
from inarch.settings import to_dict

logger = logging.getLogger(__name__)

tokenizer_at = lru_cache(maxsize=32)(load_tokenizer)


class Cut(NamedTuple):
    """A corpus on disk, and the key under which the teachers' beliefs about it are kept."""

    corpus: Corpus
    key: str
    """Digest of all documents."""


def reader_of(settings: FuseRun, model: ModelSettings) -> Reader:
    """Return how a model of the run reads documents."""
    tokenizer = tokenizer_at(model.tokenizer_path)
    template = tokenizer
    if settings.data.template == "target":
        template = tokenizer_at(settings.target.tokenizer_path)
    return Reader(tokenizer, template, settings.data.bos, settings.data.eos)


def work_folder(settings: FuseRun, out: Path) -> Path:
    """Return where the corpus and the beliefs are kept."""
    return Path(settings.work) if settings.work else out


def cut_corpus(settings: FuseRun, out: Path) -> Cut:
    """Return the corpus, cut so that every model of the run sees the same bytes.

    Raises:
        DataError: No row is usable.
    """
    models = (settings.target, *settings.sources)
    readers = [reader_of(settings, model) for model in models]
    limit = min([settings.data.max_tokens, *filter(None, map(positions_of, models))])
    inputs = {reader.tokenizer.name: reader.tokenizer.digest for reader in readers}
    inputs["data"] = data_digest(settings.data.path)
    own = to_dict(settings.data) | {"max_tokens": limit}
    name = short_digest(own, inputs)
    folder = work_folder(settings, out) / f"corpus-{name}"
    with stage(folder, "corpus", own, inputs) as opened:
        path = folder / "documents.arrow"
        if not opened.done:
            skipped: Counter[str] = Counter()
            with track("reading the corpus", None, "rows") as advance:
                found = documents(read_raw(settings.data), readers, limit, skipped)
                write_documents(path, _counted(found, advance))
            corpus = Corpus(path)
            opened.note(num_documents=len(corpus), skipped=dict(+skipped), digest=corpus.digest())
            if not len(corpus):
                path.unlink()
                reasons = (
                    ", ".join(f"{n} {why}" for why, n in (+skipped).items()) or "the file is empty"
                )
                raise DataError(f"{settings.data.path}: found no usable row ({reasons})")
        for why, number in opened.facts["skipped"].items():
            logger.warning("%s: %d %s", settings.data.path, number, why)
        return Cut(Corpus(path), opened.facts["digest"])


def _counted(found: Iterable[Document], advance: Callable[[int], None]) -> Iterator[Document]:
    for document in found:
        advance(1)
        yield document


def short_digest(settings: dict[str, object], inputs: dict[str, str]) -> str:
    """Return eight hexadecimal digits that tell settings with their inputs from others."""
    content = json.dumps([settings, sorted(inputs.items())], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=4).hexdigest()


def data_digest(path: str) -> str:
    """Return the digest of a corpus file; the id of a hub dataset is its own."""
    return digest_file(path) if Path(path).exists() else path


def positions_of(model: ModelSettings) -> int | None:
    """Return how many tokens a row of a model may have; None where its config sets no limit.

    Raises:
        WeightsError: There is no such model.
    """
    if model.scratch is not None:
        vocab_size = tokenizer_at(model.tokenizer_path).size
        return max_positions(new_config(model.scratch, vocab_size))
    try:
        return max_positions(AutoConfig.from_pretrained(model.path, trust_remote_code=False))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"found no model at {model.path!r} ({str(error).splitlines()[0]}); expected a folder "
            "with config.json or a hub id"
        ) from error
