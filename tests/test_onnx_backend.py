"""ONNX's own backend tests of single operators, run through the driver and the interpreter.

The tests feed everything as run-time inputs, parameters too. Each is read in three ways: all
inputs at run time, only the first (the others are initializers), none (the node is folded). Each
way that reads must agree; a test that reads in no way must be excluded below, with a reason.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import Array
from tinycc_nn.onnx import read_model
from tinycc_nn.onnx.support import op_types
from tinycc_nn.reference import run

EXCLUDED = {
    "(averagepool|maxpool|convtranspose)_3d": "volumes",
    "batchnorm.*training|training_dropout": "training",
    "dropout_default_mask|argmax_2d": "outputs that only training uses",
    "(clip_default|maxpool_2d)_u?int8": "8-bit integers without a scale",
    "_(edge|reflect|wrap)_pad": "int32 tensors; test_ops_shape has float32",
    "quantizelinear_axis": "zero points that differ between channels",
    "quantizelinear_blocked|quantizelinear.*int(16|4|2)$": "other than int8 with one scale",
    "dynamicquantizelinear": "scales found at run time",
    "equal_string|identity_(opt|sequence)": "other than tensors of numbers",
    "not_.d": "opset 1",
    "empty_set|zero_size_splits|rotary_embedding": "tensors without elements",
    "cubic|antialias|tf_crop": "of resizing: cubic, antialiasing, cropping",
    "downsample_scales_linear_align_corners": "as onnxruntime: the resized length is an integer",
}
"""Patterns of names of tests that are not for us, and what they need."""

INTEGERS = (2, 3, 4, 5, 6, 7, 9, 12, 13)
"""TensorProto's uint8, int8, uint16, int16, int32, int64, bool, uint32, uint64."""


@cache
def cases() -> dict[str, Any]:
    """The test cases whose operators are all among those that can be read."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    known = set(op_types())
    return {
        c.name: c
        for c in found
        if c.model is not None
        and {n.op_type for n in c.model.graph.node} <= known
        and not any(re.search(pattern, c.name) for pattern in EXCLUDED)
        and has_plain_arrays(c)
    }


def has_plain_arrays(case: Any) -> bool:
    """Whether all data are arrays of numpy's own integers, float32 or bool.

    The other tests are about float64, float16, float8, float4 and small integers.
    """
    arrays = [a for ins, outs in case.data_sets for a in (*ins, *outs)]
    if any(not isinstance(a, np.ndarray | np.generic) for a in arrays):
        return False
    return all(a.dtype.kind in "iub" or a.dtype == np.float32 for a in arrays)


def fixed(model: onnx.ModelProto, inputs: list[Array], runtime: int) -> onnx.ModelProto:
    """The model with all inputs but the first `runtime` ones as initializers."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for info, array in list(zip(model.graph.input, inputs, strict=True))[runtime:]:
        out.graph.initializer.append(numpy_helper.from_array(np.asarray(array), info.name))
    return out


def as_float(model: onnx.ModelProto) -> None:
    """Cast outputs of integers, which are known at compile time, to float."""
    for o in model.graph.output:
        kind = o.type.tensor_type.elem_type
        if kind in INTEGERS and not any("Q" in n.op_type for n in model.graph.node):
            name, o.name = o.name, f"{o.name}/float"
            model.graph.node.append(onnx.helper.make_node("Cast", [name], [o.name], to=1))


def stored(array: Array) -> Array:
    """The array as the IR stores it: uint8 less 128."""
    array = np.asarray(array)
    return (array.astype(np.int16) - 128).astype(np.int8) if array.dtype == np.uint8 else array


def outputs(model: onnx.ModelProto, inputs: list[Array], runtime: int) -> list[Array]:
    whole = fixed(model, inputs, runtime)
    as_float(whole)
    g = read_model(whole.SerializeToString())
    names = [re.sub(r"[^A-Za-z0-9_./-]", "_", i.name) for i in model.graph.input]
    given = dict(zip(names, inputs, strict=True))
    if g.inputs:
        return [y[0] for y in run(g, {v.name: stored(given[v.name])[None] for v in g.inputs})]
    g.add_input("unused", g.outputs[0].type)
    zeros = np.zeros((1, *g.outputs[0].type.shape), g.outputs[0].type.dtype.numpy)
    return [y[0] for y in run(g, {g.inputs[0].name: zeros})]


@pytest.mark.parametrize("name", sorted(cases()))
def test_case(name: str) -> None:
    case, read = cases()[name], 0
    errors = []
    for ins, wanted in case.data_sets:
        for runtime in {len(ins), 1, 0}:
            try:
                got = outputs(case.model, ins, runtime)
            except TinyccError as e:
                errors.append(e.message)
                continue
            read += 1
            for y, want in zip(got, wanted, strict=True):
                assert y.shape == want.shape
                expected = stored(want) if y.dtype == np.int8 else want
                np.testing.assert_allclose(
                    y.astype(np.float64), expected.astype(np.float64), rtol=1e-3, atol=1e-5
                )
    assert read, errors


def test_there_are_hundreds_of_cases() -> None:
    assert len(cases()) > 600


@pytest.mark.parametrize("pattern", EXCLUDED)
def test_an_exclusion_excludes_something(pattern: str) -> None:
    from onnx.backend.test.case.node import collect_testcases

    assert any(re.search(pattern, c.name) for c in collect_testcases(None))
