"""A trained tagger as ONNX: the scores of the tags as a graph, the chain beside it as numbers.

The folder holds ``scores.onnx``, ``onnx.json`` and the tokens; `inarch.spans.onnx_model` runs it.

Differs:  the graph of the built-in encoder is written node by node, since ONNX has an LSTM that
          knows the lengths of rows, where torch's exporter fixes the number of rows.
Shapes:   B = rows, T = padded length, U = forms, C = characters, H = width of one direction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inarch.errors import MissingExtra, SettingsError
from inarch.io.files import make_folder, write_json
from inarch.spans.coders import Coder, PieceCoder
from inarch.spans.encoder import WordEncoder
from inarch.spans.model import SpanModel
from inarch.spans.onnx_model import ABOUT, GRAPH
from inarch.spans.words import PADDING

_OPSET = 17
_IR_VERSION = 9
_GATES = [0, 3, 1, 2]
"""ONNX orders an LSTM's gates input, output, forget, cell; torch input, forget, cell, output."""


def export_onnx(model: SpanModel, coder: Coder, folder: Path) -> None:
    """Write a tagger as ONNX.

    Raises:
        SettingsError: The built-in encoder has other features than its last layer.
        MissingExtra: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "export needs onnx and onnxscript; pip install 'inarch[onnx]'"
        ) from error
    make_folder(folder)
    if isinstance(model.encoder, WordEncoder):
        graph = _word_graph(model)
        inputs = [node.name for node in graph.graph.input]
        onnx.save(graph, str(folder / GRAPH))
    else:
        inputs = _export_pieces(model, coder, folder / GRAPH)
    chain = None
    if model.crf is not None:
        parts = zip(("start", "transitions", "end"), model.crf.potentials, strict=True)
        chain = {name: part.tolist() for name, part in parts}
    about: dict[str, Any] = {"inputs": inputs, "chain": chain, "special_ids": []}
    if isinstance(coder, PieceCoder):
        about |= coder.settings
    write_json(folder / ABOUT, about)
    coder.save(folder)


class _Scores(nn.Module):
    def __init__(self, model: SpanModel, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: Tensor) -> Tensor:
        inputs = dict(zip(self.names, values, strict=True))
        # XLNet subtracts it from 1.0, which torch cannot export for integers.
        inputs["attention_mask"] = inputs["attention_mask"].float()
        return self.model.scores(**inputs)


def _export_pieces(model: SpanModel, coder: Coder, path: Path) -> list[str]:
    batch = coder.batch([np.arange(5), np.arange(3)])
    names = list(batch)
    auto = torch.export.Dim.AUTO
    program = torch.onnx.export(
        _Scores(model.eval(), names),
        tuple(batch.values()),
        dynamo=True,
        dynamic_shapes=(tuple((auto, auto) for _ in names),),
        input_names=names,
        output_names=["scores"],
        verbose=False,
    )
    if program is None:
        raise SettingsError("torch exported nothing")
    program.save(str(path))
    return names


class _Graph:
    """Nodes and weights of a graph in the making; every part goes by its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name


def _word_graph(model: SpanModel) -> Any:
    from onnx import TensorProto, helper

    if model.config.aux != "none":
        raise SettingsError(
            f"found aux {model.config.aux} over the built-in encoder, which is exported with"
            " aux: none only"
        )
    encoder: Any = model.encoder
    graph = _Graph()
    graph.weight("axis_1", np.array([1], np.int64))
    words = graph.add("Gather", ["words_U", "input_ids"], "words_BT")
    table = graph.weight("words", _array(encoder.words.weight))
    known = graph.add("Gather", [table, words], "known_BTD")
    spelling = graph.add("Gather", [_spelling(graph, encoder), "input_ids"], "spelling_BTD")
    hidden = _layers(graph, encoder, graph.add("Concat", [known, spelling], "hidden_BTD", axis=2))
    weight = graph.weight("classifier", _array(model.classifier.weight).T)
    product = graph.add("MatMul", [hidden, weight], "product_BTK")
    graph.add("Add", [product, graph.weight("bias", _array(model.classifier.bias))], "scores")
    kinds = {
        "input_ids": (TensorProto.INT64, ["B", "T"]),
        "attention_mask": (TensorProto.BOOL, ["B", "T"]),
        "words_U": (TensorProto.INT64, ["U"]),
        "flags_UF": (TensorProto.FLOAT, ["U", "F"]),
        "chars_UC": (TensorProto.INT64, ["U", "C"]),
    }
    inputs = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
    output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", "T", "K"])
    made = helper.make_graph(graph.nodes, "scores", inputs, [output], graph.weights)
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(made, opset_imports=opset, ir_version=_IR_VERSION)


def _spelling(graph: _Graph, encoder: Any) -> str:
    """Add what `WordEncoder.spelling` does, and the flags; the result is ``[U, D]``."""
    table = graph.weight("chars", _array(encoder.chars.weight))
    chars = graph.add("Gather", [table, "chars_UC"], "chars_UCD")
    chars = graph.add("Transpose", [chars], "chars_UDC", perm=[0, 2, 1])
    kernel = graph.weight("filters", _array(encoder.filters.weight))
    bias = graph.weight("filters_bias", _array(encoder.filters.bias))
    found = graph.add("Conv", [chars, kernel, bias], "found_UDC", pads=[1, 1])
    padding = graph.weight("padding", np.array(PADDING, np.int64))
    nothing = graph.add("Equal", ["chars_UC", padding], "nothing_UC")
    nothing = graph.add("Unsqueeze", [nothing, "axis_1"], "nothing_U1C")
    lowest = graph.weight("lowest", np.array(-1e30, np.float32))
    found = graph.add("Where", [nothing, lowest, found], "kept_UDC")
    found = graph.add("ReduceMax", [found], "most_UD", axes=[2], keepdims=0)
    return graph.add(
        "Concat", [graph.add("Relu", [found], "fired_UD"), "flags_UF"], "spelt", axis=1
    )


def _layers(graph: _Graph, encoder: Any, hidden: str) -> str:
    """Add the LSTMs; the result is ``[B, T, 2 H]``."""
    from onnx import TensorProto

    mask = graph.add("Cast", ["attention_mask"], "mask_BT", to=TensorProto.INT32)
    lengths = graph.add("ReduceSum", [mask, "axis_1"], "lengths_B", keepdims=0)
    width = int(encoder.layers[0][0].hidden_size)
    both = graph.weight("both_ways", np.array([0, 0, 2 * width], np.int64))
    hidden = graph.add("Transpose", [hidden], "hidden_TBD", perm=[1, 0, 2])
    for i, layer in enumerate(encoder.layers):
        parts = [graph.weight(f"{name}{i}", value) for name, value in _lstm(layer).items()]
        own = {"hidden_size": width, "direction": "bidirectional"}
        out = graph.add("LSTM", [hidden, *parts, lengths], f"lstm{i}_TDBH", **own)
        out = graph.add("Transpose", [out], f"lstm{i}_TBDH", perm=[0, 2, 1, 3])
        hidden = graph.add("Reshape", [out, both], f"hidden{i}")
    return graph.add("Transpose", [hidden], "last_BTD", perm=[1, 0, 2])


def _lstm(layer: Any) -> dict[str, NDArray[np.float32]]:
    """Return weights of inputs, weights of states and biases of both directions."""

    def both(name: str) -> NDArray[np.float32]:
        return np.stack([_gates(_array(getattr(one, f"{name}_l0"))) for one in layer])

    bias = np.concatenate([both("bias_ih"), both("bias_hh")], 1)
    return {"W": both("weight_ih"), "R": both("weight_hh"), "B": bias}


def _gates(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    parts = np.split(weight, 4)
    return np.concatenate([parts[i] for i in _GATES])


def _array(weight: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = weight.detach().cpu().float().numpy()
    return found
