"""Texts to spans with a trained model: any length, any number, in order.

    tagger = Tagger.from_pretrained("runs/toxic/model")
    tagger.tag("you silly goose")        # [Span(start=4, end=9, text='silly', score=0.93, ...)]

A span's score is the mean of its tokens' marginals. Results do not depend on the batch that a text
is in, up to the last bits of float32.

Shapes: B = rows, T = tokens, K = tags.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from inarch.errors import WeightsError
from inarch.io.models import quiet_transformers
from inarch.spans.coders import Coder, PieceCoder, Spell, Tokens, WordCoder, load_tokenizer
from inarch.spans.crf import pair_marginals
from inarch.spans.encoder import WordEncoder
from inarch.spans.model import Emissions, SpanConfig, SpanModel
from inarch.spans.offsets import Span, tokens_to_spans
from inarch.spans.onnx_model import Marked, OnnxModel
from inarch.spans.windows import Marginals, averaged, best_path, windows
from inarch.spans.words import VOCABULARY, FormTable, WordVocabulary

Decode = Literal["viterbi", "posterior"]
_FORMS = 4096
_BATCHES_AHEAD = 16
"""Batches of texts that a stream reads ahead, so that texts of one length share a batch."""


class Tagged(NamedTuple):
    """What a model says of the tokens of a text."""

    toxic_T: NDArray[np.bool_]
    probability_T: NDArray[np.float64]
    """p(not O)."""


class Tagger:
    """A model with the tokenizer that it was trained with."""

    def __init__(
        self,
        model: SpanModel | OnnxModel,
        coder: Coder,
        *,
        decode: Decode = "viterbi",
        threshold: float = 0.5,
    ) -> None:
        """Hold a model in evaluation mode.

        Args:
            model: The tagger of tokens.
            coder: Its tokens.
            decode: ``viterbi`` takes the most probable tags of the text as a whole, ``posterior``
                every token that is toxic with more than the probability `threshold`.
            threshold: Looked at by ``posterior``.
        """
        self.model = model.eval() if isinstance(model, SpanModel) else model
        self.coder = coder
        self.decode = decode
        self.threshold = threshold

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        decode: Decode = "viterbi",
        threshold: float = 0.5,
        device: str = "cpu",
    ) -> Self:
        """Return the tagger of a folder that ``inarch spans train`` wrote.

        Raises:
            WeightsError: There is none, or a file of it is absent or does not fit.
        """
        model = load_span_model(folder).to(device)
        coder = load_coder(Path(folder), model)
        return cls(model, coder, decode=decode, threshold=threshold)

    @classmethod
    def from_onnx(
        cls, folder: str | Path, *, decode: Decode = "viterbi", threshold: float = 0.5
    ) -> Self:
        """Return the tagger of a folder that `inarch.spans.onnx_export` wrote.

        Raises:
            WeightsError: There is none, or a file of it is absent.
            MissingExtra: onnxruntime is not installed.
        """
        model, folder = OnnxModel(folder), Path(folder)
        if (folder / VOCABULARY).exists():
            coder: Coder = WordCoder(WordVocabulary.load(folder))
        else:
            coder = PieceCoder(load_tokenizer(str(folder)), model.about["window"])
        return cls(model, coder, decode=decode, threshold=threshold)

    def tag(self, text: str) -> list[Span]:
        """Return the spans of one text."""
        return self.tag_batch([text])[0]

    def tag_batch(self, texts: Sequence[str], batch_size: int = 128) -> list[list[Span]]:
        """Return the spans of every text."""
        return list(self.tag_stream(texts, batch_size))

    def tag_stream(self, texts: Iterable[str], batch_size: int = 128) -> Iterator[list[Span]]:
        """Give the spans of every text, in order; holds 16 batches of texts at a time."""
        rest = iter(texts)
        while chunk := list(islice(rest, batch_size * _BATCHES_AHEAD)):
            encoded = self.coder.encode(chunk)
            marked = self.mark(encoded, batch_size)
            for text, tokens, tagged in zip(chunk, encoded, marked, strict=True):
                yield _spans(text, tokens, tagged)

    def mark(self, encoded: Sequence[Tokens], batch_size: int = 128) -> list[Tagged]:
        """Return which tokens are toxic, and how probably, for texts of the last `encode`."""
        size = self.coder.max_tokens
        cuts = [
            (text, start, end, end - start == len(tokens.ids))
            for text, tokens in enumerate(encoded)
            for start, end in windows(len(tokens.ids), size)
        ]
        cuts.sort(key=lambda cut: cut[2] - cut[1])
        parts: list[list[tuple[int, Marginals]]] = [[] for _ in encoded]
        done: list[Tagged] = [Tagged(np.zeros(0, np.bool_), np.zeros(0)) for _ in encoded]
        for first in range(0, len(cuts), batch_size):
            batch = cuts[first : first + batch_size]
            rows = [encoded[text].ids[start:end] for text, start, end, _ in batch]
            tags_BT, logps_BTK, pairs = self._run(rows, [whole for *_, whole in batch])
            for row, (text, start, end, whole) in enumerate(batch):
                probs_TK = np.exp(logps_BTK[row, : end - start].astype(np.float64))
                if whole:
                    done[text] = self._tagged(probs_TK, tags_BT[row, : end - start])
                else:
                    part = None if pairs is None else pairs[row, : end - start - 1]
                    parts[text].append((start, Marginals(probs_TK, part)))
        for text, found in enumerate(parts):
            if found:
                joined = averaged(sorted(found, key=lambda part: part[0]), len(encoded[text].ids))
                done[text] = self._tagged(joined.tags_TK, best_path(joined))
        return done

    def _tagged(self, probs_TK: NDArray[np.float64], tags_T: NDArray[np.int64]) -> Tagged:
        probability_T = 1 - probs_TK[:, 0]
        if self.decode == "viterbi":
            return Tagged(tags_T > 0, probability_T)
        return Tagged(probability_T > self.threshold, probability_T)

    @torch.inference_mode()
    def _run(self, rows: Sequence[NDArray[np.int64]], whole: Sequence[bool]) -> Marked:
        """Return tags, log-marginals, and the marginals of pairs where a text is in windows."""
        inputs = self.coder.batch(rows)
        if isinstance(self.model, OnnxModel):
            return self.model.mark(inputs, pairs=not all(whole))
        device = self.model.device
        inputs = {name: value.to(device) for name, value in inputs.items()}
        found = _of_text(self.model.emissions(**inputs))
        logps_BTK = self.model.log_marginals(found)
        tags_BT = self.model.viterbi(found)
        pairs = None
        if self.model.crf is not None and not all(whole):
            potentials = self.model.crf.potentials
            _, pairs_BTKK = pair_marginals(found.scores_BTK, found.lengths_B, potentials)
            pairs = pairs_BTKK.exp().cpu().numpy()
        return tags_BT.cpu().numpy(), logps_BTK.cpu().numpy(), pairs


def load_span_model(folder: str | Path) -> SpanModel:
    """Return a tagger of tokens in evaluation mode, with every weight from its folder.

    Raises:
        WeightsError: There is none, or its weights are not those that its config asks for.
    """
    _check_kind(Path(folder))
    try:
        with quiet_transformers():
            model, report = SpanModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"cannot load {folder}: {str(error).splitlines()[0]}; expected a folder that"
            " `inarch spans train` wrote"
        ) from error
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    if wrong:
        raise WeightsError(
            f"the weights of {folder} do not fit its config.json, such as {min(wrong)}; expected"
            " those that were saved with it; fetch the folder again"
        )
    return model.eval()


def _check_kind(folder: Path) -> None:
    """Refuse a model of another kind, which would be read as a tagger with default sizes."""
    path, wanted = folder / "config.json", "expected a folder that `inarch spans train` wrote"
    if not path.is_file():
        raise WeightsError(f"found no config.json in {folder}, {wanted}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path}: this is no JSON ({error}); {wanted}") from error
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != SpanConfig.model_type:
        raise WeightsError(
            f"{path}: found a model of type {found!r}, expected {SpanConfig.model_type!r};"
            " give a folder that `inarch spans train` wrote"
        )


def load_coder(folder: Path, model: SpanModel) -> Coder:
    """Return the tokens of a model that was saved in a folder."""
    if isinstance(model.encoder, WordEncoder):
        return WordCoder(WordVocabulary.load(folder), speller(model.encoder))
    return PieceCoder(load_tokenizer(str(folder)), model.config.window)


def speller(encoder: WordEncoder) -> Spell:
    """Return what works out the spelling of forms, a few thousand at a time."""

    @torch.inference_mode()
    def spell(table: FormTable) -> NDArray[np.float32]:
        device = encoder.words.weight.device
        parts = [
            encoder.spelling(torch.from_numpy(table.chars_UC[i : i + _FORMS]).to(device))
            for i in range(0, len(table.chars_UC), _FORMS)
        ]
        found: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        return found

    return spell


def _of_text(emissions: Emissions) -> Emissions:
    """Cut off what special tokens and padding leave at the end of the lattice."""
    length = int(emissions.lengths_B.max()) if len(emissions.lengths_B) else 0
    return emissions._replace(scores_BTK=emissions.scores_BTK[:, :length])


def _spans(text: str, tokens: Tokens, tagged: Tagged) -> list[Span]:
    if not tagged.toxic_T.any():
        return []
    return tokens_to_spans(text, tokens.offsets, tagged.toxic_T, tagged.probability_T)
