"""Operators that move elements, and resizing, against numpy, Python and onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_models import onnxruntime_session
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, I8, Array, Blob, Graph, Quant, TensorType, Value
from tinycc_nn.onnx import read_model
from tinycc_nn.ops import emit, verify
from tinycc_nn.reference import run

CHANNELS = Quant(Blob("s", np.array([0.5, 1, 2], np.float32)), 0, 1)


def weights(graph: Graph) -> Value:
    return graph.constant("w", np.arange(12, dtype=np.int8).reshape(2, 3, 2), CHANNELS)


def test_a_quantization_per_channel_follows_its_axis() -> None:
    g = Graph("g")
    t = emit(g, "transpose", [weights(g)], {"perm": (1, 2, 0)})
    assert t.type.quant is not None and t.type.quant.axis == 0
    r = emit(g, "reshape", [t], {"shape": (1, 3, 4)})
    assert r.type.quant is not None and r.type.quant.axis == 1
    s = emit(g, "slice", [r], {"begin": (0, 2, 0), "end": (1, -1, 4), "step": (1, -2, 1)})
    assert s.type.quant is not None
    assert s.type.quant.scales().tolist() == [2, 0.5]
    k = emit(g, "take", [r], {"axis": 1, "indices": (1, 1)})
    assert k.type.quant is not None
    assert k.type.quant.scales().tolist() == [1, 1]
    g.outputs = [s, k]
    verify(g)


def test_a_quantization_per_channel_is_never_lost() -> None:
    g = Graph("g")
    w = weights(g)
    with pytest.raises(TinyccError, match="the axis 1 of the quantization per channel is lost"):
        emit(g, "reshape", [w], {"shape": (12,)})
    with pytest.raises(TinyccError, match="pad: along the axis"):
        emit(g, "pad", [w], {"pads": (0, 0, 1, 0, 0, 0)})
    with pytest.raises(TinyccError, match="concat: along the axis"):
        emit(g, "concat", [w, w], {"axis": 1})


@given(st.lists(st.tuples(st.integers(1, 4), st.data()), min_size=1, max_size=3), st.data())
def test_slices_like_python(axes: list[tuple[int, Any]], data: st.DataObject) -> None:
    shape = tuple(n for n, _ in axes)
    ranges = []
    for n in shape:
        step = data.draw(st.sampled_from([-2, -1, 1, 2]))
        r = range(n)[::step]
        ranges.append(r)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    g = Graph("g")
    v = g.add_input("x", TensorType(F32, shape))
    attrs = {
        "begin": tuple(r.start for r in ranges),
        "end": tuple(r.stop for r in ranges),
        "step": tuple(r.step for r in ranges),
    }
    g.outputs = [emit(g, "slice", [v], attrs)]
    np.testing.assert_array_equal(run(g, {"x": x})[0][0], x[0][np.ix_(*ranges)])


def test_padding_int8_writes_the_stored_value() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1,), Quant(0.5, 3)))
    g.outputs = [emit(g, "pad", [x], {"pads": (1, 0), "value": v}) for v in (0.0, 0.75, 1000.0)]
    y = run(g, {"x": np.array([[7]], np.int8)})
    assert [int(a[0, 0]) for a in y] == [3, 5, 127]


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("reshape", {"shape": (5,)}, "has 6 elements"),
        ("transpose", {"perm": (0, 0)}, "does not order 2 axes"),
        ("concat", {"axis": 2}, "there is no axis 2"),
        ("slice", {"begin": (0, 0), "end": (2, 4), "step": (1, 1)}, "leaves 0:3"),
        ("slice", {"begin": (0, 2), "end": (2, 2), "step": (1, 1)}, "is empty"),
        ("take", {"axis": 1, "indices": (3,)}, r"must be in 0\.\.2"),
        ("pad", {"pads": (1, 1)}, "must be 4 numbers"),
        ("resize_nearest", {"rows": (0,), "columns": (0,)}, "must have 4 axes"),
    ],
)
def test_attributes_that_do_not_fit(op: str, attrs: dict[str, Any], message: str) -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (2, 3)))
    with pytest.raises(TinyccError, match=message):
        emit(g, op, [x], attrs)


def compare(op: str, shape: tuple[int, ...], constants: dict[str, Array], **attrs: Any) -> None:
    """One node, in onnxruntime and here."""
    names = ["x", *constants]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(op, [n if not n.startswith("_") else "" for n in names], ["y"], **attrs)],
        "g",
        [info("x", TensorProto.FLOAT, shape)],
        [info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in constants.items() if not n.startswith("_")],
    )
    opsets = [helper.make_opsetid("", 18)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    x = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    (want,) = onnxruntime_session(data).run(None, {"x": x})
    got = run(read_model(data), {"x": x[None]})[0][0]
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[0, 1, 2, 1], [1, 0, 0, 2]])
def test_pad(mode: str, pads: list[int]) -> None:
    compare("Pad", (3, 4), {"pads": np.array(pads, np.int64)}, mode=mode)


def test_pad_by_less_than_nothing_crops() -> None:
    compare("Pad", (3, 4), {"pads": np.array([0, -1, 0, 1], np.int64)})


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=80, deadline=None)
@given(
    SIZES,
    SIZES,
    st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]),
    st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    st.sampled_from(["nearest", "linear"]),
    st.booleans(),
)
def test_resize(
    size: tuple[int, int],
    out: tuple[int, int],
    transform: str,
    rounding: str,
    mode: str,
    nhwc: bool,
) -> None:
    shape = (1, *size, 2) if nhwc else (1, 2, *size)
    target = (1, *out, 2) if nhwc else (1, 2, *out)
    constants: dict[str, Array] = {
        "_roi": np.zeros(0, np.float32),
        "_scales": np.zeros(0, np.float32),
        "sizes": np.array(target, np.int64),
    }
    attrs = {"coordinate_transformation_mode": transform, "mode": mode}
    if mode == "nearest":
        attrs["nearest_mode"] = rounding
    compare("Resize", shape, constants, **attrs)


def test_resize_of_a_sequence() -> None:
    constants: dict[str, Array] = {
        "_roi": np.zeros(0, np.float32),
        "scales": np.array([1, 1, 2.5], np.float32),
    }
    compare("Resize", (2, 3, 4), constants, mode="linear")


def test_linear_resizing_of_int8_is_within_rounding() -> None:
    rng = np.random.default_rng(0)
    q, y = Quant(0.1, 5), Quant(0.09, -3)
    x = rng.integers(-128, 128, (1, 1, 4, 5, 2)).astype(np.int8)
    attrs = {
        "rows": (0, 0, 1, 3),
        "columns": (0, 2, 4),
        "row_fraction": (0.0, 0.25, 0.3, 0.0),
        "column_fraction": (0.5, 0.125, 1.0),
    }
    results = []
    for t, data in (
        (TensorType(I8, (1, 4, 5, 2), q), x),
        (TensorType(F32, (1, 4, 5, 2)), (x.astype(np.float32) - 5) * np.float32(0.1)),
    ):
        g = Graph("g")
        v = g.add_input("x", t)
        g.outputs = [emit(g, "resize_linear", [v], attrs, quant=y)]
        results.append(run(g, {"x": data})[0].astype(np.float64))
    exact = np.clip(results[1] / 0.09 - 3, -128, 127)
    assert np.abs(results[0] - exact).max() < 0.5 + 255 * 2**-7 * 0.1 / 0.09
