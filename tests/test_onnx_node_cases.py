"""The node tests that come with ONNX, for the operators that multiply, pool and reduce."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from tinycc_nn import reference
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.onnx import read_model

# An operator, how many of its inputs are known at run time only, how many cases must agree.
OPERATORS = [
    ("AveragePool", 1, 12),
    ("BatchNormalization", 1, 2),
    ("Conv", 1, 6),
    ("ConvTranspose", 1, 9),
    ("Gemm", 1, 11),
    ("Gemm", 3, 11),
    ("GlobalAveragePool", 1, 2),
    ("GlobalMaxPool", 1, 2),
    ("LogSoftmax", 1, 7),
    ("MatMul", 1, 7),
    ("MatMul", 2, 7),
    ("MaxPool", 1, 11),
    ("QLinearConv", 1, 1),
    ("QLinearMatMul", 1, 4),
    ("ReduceMax", 1, 6),
    ("ReduceMean", 1, 8),
    ("ReduceSum", 1, 10),
    ("Softmax", 1, 7),
]
REFUSED = (
    "a tensor with 5 axes",
    "with Indices is not supported",
    "in training mode",
    "has symbolic dimensions",
    "is bool",
    "8-bit integers without a scale",
    "float16",
)


@pytest.fixture(scope="module")
def cases() -> Sequence[Any]:
    """ONNX's test cases of one node: name, model, data sets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found = load_model_tests(kind="node")
    return [c for c in found if c.model is not None and len(c.model.graph.node) == 1]


def with_constants(model: ModelProto, arrays: Sequence[Any], runtime: int) -> bytes:
    """The model with all inputs but the first ones turned into initializers."""
    made = ModelProto()
    made.CopyFrom(model)
    for v, a in list(zip(model.graph.input, arrays, strict=True))[runtime:]:
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(a), v.name))
    return bytes(made.SerializeToString())


def stored(a: Array) -> Array:
    """uint8 as the int8 that stands for it."""
    return (a.astype(np.int16) - 128).astype(np.int8) if a.dtype == np.uint8 else a


def read(model: bytes) -> Graph | str:
    """The graph, or the error that says why there is none."""
    try:
        return read_model(model)
    except TinyccError as e:
        return str(e)


def agreeing(cases: Sequence[Any], op_type: str, runtime: int) -> Iterator[str]:
    for c in (c for c in cases if c.model.graph.node[0].op_type == op_type):
        for arrays, expected in c.data_sets:
            g = read(with_constants(c.model, arrays, runtime))
            if isinstance(g, str):
                assert any(why in g for why in REFUSED), f"{c.name}: {g}"
                continue
            inputs = zip(g.inputs, arrays, strict=False)
            (y,) = reference.run(g, {v.name: stored(np.asarray(a))[None] for v, a in inputs})
            wanted = stored(np.asarray(expected[0]))
            assert y[0].shape == wanted.shape, c.name
            np.testing.assert_allclose(y[0], wanted, rtol=1e-3, atol=1e-5, err_msg=c.name)
            yield c.name


@pytest.mark.parametrize(("op_type", "runtime", "least"), OPERATORS)
def test_the_cases_of_onnx(cases: Sequence[Any], op_type: str, runtime: int, least: int) -> None:
    assert len(list(agreeing(cases, op_type, runtime))) >= least
