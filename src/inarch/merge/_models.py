"""The models of a recipe, opened: what is stored where, with adapters on them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path

from inarch.errors import WeightsError
from inarch.io.headers import TensorInfo
from inarch.io.hub import find_folder
from inarch.io.weights import Checkpoint
from inarch.merge._adapters import Adapter
from inarch.merge._config import ModelRef
from inarch.merge._jobs import Source
from inarch.merge._layout import TokenModel
from inarch.merge._names import is_embedding
from inarch.merge._sources import FileSource


class OpenModel:
    """A checkpoint of a recipe, and the adapter that is added to it."""

    def __init__(self, label: str, checkpoint: Checkpoint, adapter: Adapter | None) -> None:
        """Use `open_models` instead."""
        self.label = label
        self.folder = checkpoint.path
        self.config = checkpoint.config
        self._checkpoint, self._adapter = checkpoint, adapter
        sources: dict[str, Source] = {n: FileSource(checkpoint, n) for n in checkpoint.tensors}
        self._sources = sources if adapter is None else adapter.apply(sources, checkpoint.aliases)
        self.aliases: Mapping[str, str] = {  # an adapter may have untied some
            alias: kept for alias, kept in checkpoint.aliases.items() if alias not in self._sources
        }
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(name, source.dtype, source.shape)
            for name, source in self._sources.items()
        }

    def source(self, name: str) -> Source:
        """Return one stored tensor, with the adapter on it."""
        return self._sources[name]

    def fingerprint(self) -> str:
        """Return a digest of the configs, all headers and samples of every tensor."""
        prints = [self._checkpoint.fingerprint()]
        prints += [self._adapter.fingerprint()] if self._adapter else []
        return prints[0] if len(prints) == 1 else _digest("+".join(prints))

    def for_tokens(self) -> TokenModel:
        """Return what a plan of vocabularies needs to know."""
        rows = [info.shape[0] for name, info in self.tensors.items() if is_embedding(name)]
        adapter = self._adapter
        folder = adapter.folder if adapter and adapter.has_tokenizer() else self.folder
        num_rows = max(rows, default=self.config.get("vocab_size", 0))
        return TokenModel(self.label, folder, self.config, num_rows)

    def close(self) -> None:
        """Unmap the files."""
        self._checkpoint.close()
        if self._adapter:
            self._adapter.close()


@contextmanager
def open_models(refs: Mapping[str, ModelRef]) -> Iterator[dict[str, OpenModel]]:
    """Give the models by their labels, in order; their files are unmapped in the end.

    Raises:
        WeightsError: A checkpoint or an adapter is absent, broken or of a kind that cannot be read.
    """
    with ExitStack() as opened:
        models = {}
        for label, ref in refs.items():
            _refuse_plus(label, ref)
            checkpoint = opened.enter_context(Checkpoint.open(str(ref.model), label))
            adapter = Adapter.open(find_folder(str(ref.lora)), label) if ref.lora else None
            models[label] = OpenModel(label, checkpoint, adapter)
            opened.callback(models[label].close)
        yield models


def _refuse_plus(label: str, ref: ModelRef) -> None:
    """Raise if an adapter is asked for where there is a folder with a plus in its name."""
    whole, model = (Path(text).expanduser().exists() for text in (label, str(ref.model)))
    if ref.lora and whole and not model:
        raise WeightsError(
            f"found {label}, which reads as the model {ref.model} with an adapter, and is a folder "
            f"with a plus in its name; write it as {{model: {{path: {label}}}}}"
        )


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
