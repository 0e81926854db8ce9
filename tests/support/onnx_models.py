"""ONNX models of one node, and what onnxruntime and the interpreter make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from tinycc_nn import reference
from tinycc_nn.ir.types import Array
from tinycc_nn.onnx import read_model

Attributes = Mapping[str, Any]
IR_VERSION = 8


def node_model(
    op_type: str,
    inputs: Sequence[Array | None],
    attributes: Attributes | None = None,
    *,
    opset: int = 17,
    runtime: int = 1,
    outputs: int = 1,
) -> bytes:
    """A model of one node. Its first `runtime` inputs are the model's, the others are constants.

    None stands for an input that is left out.
    """
    names = ["" if a is None else f"x{i}" for i, a in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, name="node", **(attributes or {}))
    given = {n: a for n, a in zip(names, inputs, strict=True) if a is not None}
    live = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in list(given.items())[:runtime]
    ]
    constants = [numpy_helper.from_array(a, n) for n, a in list(given.items())[runtime:]]
    result = [helper.make_tensor_value_info(r, TensorProto.FLOAT, None) for r in results]
    graph = helper.make_graph([node], "g", live, result, constants)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def interpreted(model: bytes, *inputs: Array) -> Array:
    """The first output, by the reference interpreter."""
    g = read_model(model)
    data = {v.name: a[None] for v, a in zip(g.inputs, inputs, strict=False)}
    return np.asarray(reference.run(g, data)[0][0])


def onnxruntime_session(model: Path | bytes) -> ort.InferenceSession:
    """onnxruntime on one thread, node by node: nothing is fused.

    Fused int8 layers saturate sums of products to 16 bits on processors that have AVX2 only.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def by_onnxruntime(model: bytes, *inputs: Array) -> Array:
    """The first output, by onnxruntime."""
    session = onnxruntime_session(model)
    feed = {v.name: a for v, a in zip(session.get_inputs(), inputs, strict=False)}
    return np.asarray(session.run(None, feed)[0])


def assert_agree(
    op_type: str,
    inputs: Sequence[Array | None],
    attributes: Attributes | None = None,
    *,
    opset: int = 17,
    runtime: int = 1,
) -> None:
    """The interpreter's result is onnxruntime's, shape and values."""
    model = node_model(op_type, inputs, attributes, opset=opset, runtime=runtime)
    data = [a for a in inputs if a is not None]
    expected, found = by_onnxruntime(model, *data), interpreted(model, *data)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
