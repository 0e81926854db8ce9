"""Convolutions and pools of ONNX against onnxruntime, over their attributes and opsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.onnx_models import assert_agree, interpreted, node_model
from tests.support.ops import floats, rngs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.onnx import read_model

OPSETS = st.sampled_from([7, 9, 10, 11, 13, 17, 19, 22])


@dataclass(frozen=True)
class Window:
    """A window on an image that it fits, with the attributes that say so."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    attributes: dict[str, Any]


@st.composite
def window(draw: st.DrawFn, *, dilated: bool, pooling: bool) -> Window:
    axes = draw(st.sampled_from([1, 2, 2]))

    def each(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

    kernel, strides = each(1, 4), each(1, 3)
    dilations = each(1, 2) if dilated else [1] * axes
    span = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    size = [n + e for n, e in zip(span, each(0, 6), strict=True)]
    attributes: dict[str, Any] = {"strides": strides}
    if dilated:
        attributes["dilations"] = dilations
    modes = ["", "NOTSET", "VALID"]
    if max(dilations) == 1 and all(k >= s for k, s in zip(kernel, strides, strict=True)):
        modes += ["SAME_UPPER", "SAME_LOWER"]  # onnxruntime does not do others as ONNX says
    mode = draw(st.sampled_from(modes))
    if mode:
        attributes["auto_pad"] = mode
    if mode in ("", "NOTSET") and draw(st.booleans()):
        limit = [min(2, k - 1) if pooling else 2 for k in kernel]
        attributes["pads"] = [draw(st.integers(0, n)) for n in limit * 2]
    if pooling or draw(st.booleans()):
        attributes["kernel_shape"] = kernel
    return Window(tuple(size), tuple(kernel), attributes)


@settings(max_examples=60, deadline=None)
@given(
    window(dilated=True, pooling=False), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2),
    st.booleans(), OPSETS, rngs,
)  # fmt: skip
def test_conv(
    w: Window, groups: int, inner: int, outer: int, biased: bool, opset: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    x = floats(rng, 1, inner * groups, *w.size)
    weights = floats(rng, outer * groups, inner, *w.kernel)
    bias = [floats(rng, len(weights))] if biased else []
    attributes = {**w.attributes, "group": groups}
    assert_agree("Conv", [x, weights, *bias], attributes, opset=opset)


@settings(max_examples=60, deadline=None)
@given(
    window(dilated=True, pooling=False), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2),
    st.integers(0, 1), OPSETS, rngs,
)  # fmt: skip
def test_conv_transpose(
    w: Window, groups: int, inner: int, outer: int, extra: int, opset: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    a = {**w.attributes, "group": groups}
    if min(a["strides"]) > extra and a.get("auto_pad", "NOTSET") == "NOTSET":
        a["output_padding"] = [extra] * len(w.size)
    x = floats(rng, 1, inner * groups, *(n + 4 for n in w.size))
    weights = floats(rng, inner * groups, outer, *w.kernel)
    assert_agree("ConvTranspose", [x, weights, floats(rng, outer * groups)], a, opset=opset)


@pytest.mark.parametrize("mode", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("shape", [(9, 10), (10, 11), (8, 12)])
def test_conv_transpose_to_a_shape(mode: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    a = {"strides": [2, 3], "output_shape": list(shape), "auto_pad": mode}
    assert_agree("ConvTranspose", [floats(rng, 1, 2, 5, 4), floats(rng, 2, 3, 3, 3)], a)


@settings(max_examples=60, deadline=None)
@given(window(dilated=True, pooling=True), st.booleans(), OPSETS, rngs)
def test_max_pool(w: Window, ceil: bool, opset: int, rng: np.random.Generator) -> None:
    a = dict(w.attributes)
    if max(a["dilations"]) == 1 and opset < 10:
        a.pop("dilations")
    elif a.get("auto_pad", "NOTSET") == "NOTSET":
        a["ceil_mode"] = int(ceil)
    opset = opset if "dilations" not in a else max(opset, 10)
    assert_agree("MaxPool", [floats(rng, 1, 2, *w.size)], a, opset=opset)


@settings(max_examples=80, deadline=None)
@given(window(dilated=False, pooling=True), st.booleans(), st.booleans(), OPSETS, rngs)
def test_average_pool(
    w: Window, ceil: bool, count: bool, opset: int, rng: np.random.Generator
) -> None:
    a = {**w.attributes, "count_include_pad": int(count)}
    if opset >= 10 and a.get("auto_pad", "NOTSET") == "NOTSET":
        a["ceil_mode"] = int(ceil)
    assert_agree("AveragePool", [floats(rng, 1, 2, *w.size)], a, opset=opset)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("size", [(5,), (3, 4), (2, 3, 4)])
def test_global_pools(op_type: str, size: tuple[int, ...]) -> None:
    assert_agree(op_type, [floats(np.random.default_rng(0), 1, 3, *size)])


def test_padding_that_rounding_up_adds_does_not_count() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    a = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": 1}
    model = node_model("AveragePool", [x], {**a, "pads": [0, 0, 1, 1]}, opset=19)
    np.testing.assert_allclose(interpreted(model, x).reshape(-1), [1, 6 / 9, 6 / 9, 4 / 9])
    model = node_model("AveragePool", [x], {**a, "pads": [0, 0, 0, 0]}, opset=19)
    np.testing.assert_allclose(interpreted(model, x).reshape(-1), [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("op_type", "attributes", "message"),
    [
        (
            "Conv",
            {"kernel_shape": [2, 2]},
            r"'kernel_shape' is \[2, 2\], but the weights have \[3, 3\]",
        ),
        ("Conv", {"pads": [-1, 0, 0, 0]}, "negative pads are not supported"),
        ("Conv", {"pads": [1, 1]}, "'pads' has 2 elements"),
        ("Conv", {"strides": [1]}, "'strides' has 1 elements"),
        ("Conv", {"strides": [0, 1]}, r"'strides' is \[0, 1\]"),
        ("Conv", {"auto_pad": "SAME"}, "auto_pad=SAME is not known"),
        ("Conv", {"auto_pad": "VALID", "pads": [1, 1, 1, 1]}, "exclude each other"),
        ("Conv", {"group": 2}, "the input has 2 channels"),
        ("Conv", {"colour": 2}, "the attribute 'colour' is not known"),
        ("ConvTranspose", {"group": 3}, "do not fit 4 axes in 3 groups"),
        ("ConvTranspose", {"strides": [0, 1]}, r"'strides' is \[0, 1\]"),
        ("ConvTranspose", {"output_padding": [-1, 0]}, r"'output_padding' is \[-1, 0\]"),
    ],
)
def test_convolutions_that_make_no_sense(
    op_type: str, attributes: dict[str, Any], message: str
) -> None:
    x, w = np.zeros((1, 2, 5, 5), np.float32), np.zeros((2, 2, 3, 3), np.float32)
    with pytest.raises(TinyccError, match=message):
        read_model(node_model(op_type, [x, w], attributes))


def test_windows_that_are_refused() -> None:
    x, w = np.zeros((1, 2, 5, 5), np.float32), np.zeros((2, 2, 3, 3), np.float32)
    with pytest.raises(TinyccError, match="must be known at compile time"):
        read_model(node_model("Conv", [x, w], runtime=2))
    with pytest.raises(TinyccError, match="a tensor with 5 axes"):
        read_model(node_model("Conv", [x[..., None], w[..., None]]))
    with pytest.raises(TinyccError, match="MaxPool with Indices"):
        read_model(node_model("MaxPool", [x], {"kernel_shape": [2, 2]}, outputs=2))
    with pytest.raises(TinyccError, match="'kernel_shape' is missing"):
        read_model(node_model("MaxPool", [x]))
