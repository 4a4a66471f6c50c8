"""``teach``: what each model of a run believes about the corpus, kept on disk shard by shard."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
from pyarrow import ArrowInvalid

from inarch.data import Reader, read
from inarch.errors import SettingsError
from inarch.flows._corpus import Cut, cut_corpus, reader_of, work_folder
from inarch.flows.recipe import FuseRun, ModelSettings
from inarch.io.models import DTYPES, digest_model, head_width, load_model, new_model, pick_device
from inarch.io.progress import track
from inarch.io.runs import is_first_process, stage
from inarch.records import Beliefs, Document
from inarch.settings import to_dict
from inarch.teach.capture import capture
from inarch.teach.store import counts, quantised, read_shard, write_shard

logger = logging.getLogger(__name__)


def run(settings: FuseRun, out: Path, only: Sequence[str] = ()) -> None:
    """Capture the beliefs of every candidate of a run, or of those named in ``only``.

    Of a launch of several processes, the first one does it alone.

    Raises:
        SettingsError: ``only`` names a model that the run does not have.
    """
    names = [model.label for model in settings.candidates]
    unknown = set(only) - set(names)
    if unknown:
        raise SettingsError(f"--only {unknown.pop()}: expected one of {', '.join(names)}")
    if not is_first_process():
        return
    cut = cut_corpus(settings, out)
    for model in settings.candidates:
        if not only or model.label in only:
            teach(settings, model, cut, out)


def teach(settings: FuseRun, model: ModelSettings, cut: Cut, out: Path) -> Path:
    """Return the folder of a model's beliefs about the corpus, complete.

    Shards that are whole are kept; a shard that was cut is made anew.
    """
    folder = work_folder(settings, out) / "teach" / f"{model.label}-{cut.key[:8]}"
    own, inputs = beliefs_key(settings, model, cut)
    with stage(folder, "teach", own, inputs) as opened:
        missing = [i for i in range(num_shards(settings, cut)) if not _is_whole(folder, i)]
        if missing:
            _capture_shards(settings, model, cut, folder, missing)
            kept, inexact = map(sum, zip(*map(counts, folder.glob("shard-*.parquet")), strict=True))
            opened.note(num_kept_tokens=kept, num_inexact_rows=inexact)
        if opened.facts["num_inexact_rows"]:
            logger.warning(
                "%s: its tokenizer changes the text of %d rows; they are matched by characters",
                model.label,
                opened.facts["num_inexact_rows"],
            )
    return folder


def beliefs_key(
    settings: FuseRun, model: ModelSettings, cut: Cut
) -> tuple[dict[str, object], dict[str, str]]:
    """Return the settings and the inputs that decide what a model believes about a corpus."""
    own = to_dict(settings.teach)
    for costs_only in ("batch_tokens", "online"):
        own.pop(costs_only)
    own |= {"bos": settings.data.bos, "eos": settings.data.eos, "dtype": model.dtype}
    if model.scratch is not None:
        own |= {"scratch": model.scratch, "seed": settings.train.seed}
    template = reader_of(settings, model).template
    inputs = {
        "model": model_digest(model),
        "documents": cut.key,
        "tokenizer": template.digest,
        "template": str(template.hf.chat_template or ""),
    }
    return own, inputs


def _capture_shards(
    settings: FuseRun, model: ModelSettings, cut: Cut, folder: Path, missing: Sequence[int]
) -> None:
    reader = reader_of(settings, model)
    network = load(model, reader, settings)
    num_documents = len(cut.corpus)
    done = min(
        (num_shards(settings, cut) - len(missing)) * settings.teach.shard_rows, num_documents
    )
    with track(f"teach {model.label}", num_documents, "rows", done=done) as advance:
        for shard in missing:
            documents = cut.corpus[shard_slice(settings, shard)]
            beliefs = believe(network, reader, documents, settings, advance)
            write_shard(shard_path(folder, shard), documents, beliefs, head_width(network))


def believe(
    network: Any,
    reader: Reader,
    documents: Sequence[Document],
    settings: FuseRun,
    advance: Callable[[int], None] = lambda num_rows: None,
) -> list[Beliefs]:
    """Return a model's beliefs about documents, with the precision that a shard keeps."""
    rows = read(reader, documents)
    numbers = [document.index for document in documents]
    return [quantised(b) for b in capture(network, rows, settings.teach, numbers, advance)]


def load(model: ModelSettings, reader: Reader, settings: FuseRun) -> Any:
    """Return a model of the run on its device, in evaluation mode."""
    if model.scratch is not None:
        return new_model(model.scratch, reader.tokenizer.size, settings.train.seed).to(
            device_of(settings)
        )
    dtype = None if model.dtype == "auto" else DTYPES[model.dtype]
    return load_model(model.path or "", dtype=dtype, device=device_of(settings))


class HasDevice(Protocol):
    """Settings of a run that may be held to the processor."""

    @property
    def device(self) -> str:
        """Return ``auto`` or ``cpu``."""


def device_of(settings: HasDevice) -> str:
    """Return the torch device of a run."""
    return pick_device(settings.device)


def model_digest(model: ModelSettings) -> str:
    """Return what identifies a model's weights and tokenizer."""
    return digest_model(model.path, model.tokenizer)


def num_shards(settings: FuseRun, cut: Cut) -> int:
    """Return the number of shards that hold the corpus."""
    return -(-len(cut.corpus) // settings.teach.shard_rows)


def shard_slice(settings: FuseRun, shard: int) -> slice:
    """Return the documents of a shard."""
    return slice(shard * settings.teach.shard_rows, (shard + 1) * settings.teach.shard_rows)


def shard_path(folder: Path, shard: int) -> Path:
    """Return the file of a shard."""
    return folder / f"shard-{shard:05d}.parquet"


def shard_beliefs(folder: Path, shard: int, documents: Sequence[Document]) -> list[Beliefs]:
    """Return the beliefs of one shard about its documents."""
    return read_shard(shard_path(folder, shard), documents)


def _is_whole(folder: Path, shard: int) -> bool:
    path = shard_path(folder, shard)
    if not path.exists():
        return False
    try:
        pq.read_metadata(path)
    except ArrowInvalid:
        logger.warning("%s was cut; it is made anew", path)
        return False
    return True
