"""A tagger of tokens in onnxruntime, its chain in numpy.

Shapes: B = rows, T = padded length, K = tags.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inarch.errors import MissingExtra, WeightsError
from inarch.spans.chain import Chain, best_tags, marginals

GRAPH, ABOUT = "scores.onnx", "onnx.json"
Marked = tuple[NDArray[np.int64], NDArray[np.floating], NDArray[np.float64] | None]
"""Tags ``[B, T]``, log-marginals ``[B, T, K]``, marginals of pairs ``[B, T - 1, K, K]`` or None."""


class OnnxModel:
    """What `inarch.spans.onnx_export` wrote."""

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        """Load a folder.

        Args:
            folder: With ``scores.onnx`` and ``onnx.json``.
            threads: 0 for as many as there are cores.

        Raises:
            MissingExtra: onnxruntime is not installed.
            WeightsError: A file is absent or broken.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime is absent; pip install 'inarch[onnx]'") from error
        folder = Path(folder)
        wanted = "expected what `inarch spans export` wrote"
        try:
            self.about: dict[str, Any] = json.loads((folder / ABOUT).read_text("utf-8"))
            self._chain = _chain(self.about["chain"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"cannot load {folder / ABOUT} ({error!r}); {wanted}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        graph, places = str(folder / GRAPH), ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=places)
        except Exception as error:  # onnxruntime's own errors have no other base in common
            raise WeightsError(f"cannot load {graph} ({error}); {wanted}") from error

    def mark(self, batch: Mapping[str, Any], pairs: bool) -> Marked:
        """Return what is known of the text's tokens, which come first in every row.

        Args:
            batch: Of a coder.
            pairs: Also of pairs of neighbours.
        """
        inputs = {name: np.asarray(batch[name]) for name in self.about["inputs"]}
        (scores_BTK,) = self._session.run(None, inputs)
        real_BT = np.asarray(batch["attention_mask"]).astype(bool)
        real_BT &= ~np.isin(np.asarray(batch["input_ids"]), self.about["special_ids"])
        lengths_B = real_BT.sum(1)
        order_BT = np.argsort(~real_BT, axis=1, kind="stable")[:, : int(lengths_B.max())]
        scores_BTK = np.take_along_axis(scores_BTK, order_BT[..., None], 1)
        if self._chain is None:
            shifted_BTK = scores_BTK - scores_BTK.max(-1, keepdims=True)
            logps_BTK = shifted_BTK - np.log(np.exp(shifted_BTK).sum(-1, keepdims=True))
            return scores_BTK.argmax(-1), logps_BTK, None
        found = marginals(scores_BTK, lengths_B, self._chain)
        tags_BT = best_tags(scores_BTK, lengths_B, self._chain)
        return tags_BT, found.tags_BTK, np.exp(found.pairs_BTKK) if pairs else None


def _chain(parts: Mapping[str, Any] | None) -> Chain | None:
    if parts is None:
        return None
    return Chain(*(np.array(parts[name]) for name in ("start", "transitions", "end")))
