"""Weight formats in the IR: text, verifier, interpreter, the passes that look into weights."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.coded import BOOK, FORMATS, Layer, add, layers
from tests.support.ops import rngs
from tinycc_nn import reference
from tinycc_nn.diagnostics import Span, TinyccError
from tinycc_nn.ir import I8, DType, Graph, Quant, TensorType
from tinycc_nn.ir.text import graph_blobs, parse_graph, print_graph
from tinycc_nn.numeric.codes import CodeBook
from tinycc_nn.ops import emit, verify

DENSE: Layer = ("dense", {}, (1, 6), (4, 6))


def graph(dtype: DType, layer: Layer = DENSE) -> Graph:
    g = Graph("g")
    g.outputs = [add(g, layer, dtype, np.random.default_rng(1))]
    return g


def book_of(dtype: DType) -> CodeBook:
    assert dtype.book is not None
    return dtype.book


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_text(dtype: DType) -> None:
    g = graph(dtype)
    verify(g)
    text = print_graph(g)
    assert f" : {dtype}[4,6] q(" in text
    again = parse_graph(text, graph_blobs(g))
    verify(again)
    assert print_graph(again) == text
    assert again.ops[0].type.dtype == dtype
    if not isinstance((dtype.params or (0,))[0], int):
        assert len(graph_blobs(g)) >= 2


@pytest.mark.parametrize(
    ("type", "message", "marked"),
    [
        (
            "posit<9,1>",
            "posit<9,1>: n must be 4..8 and es 0..2, or n 16 in the interpreter alone",
            "posit",
        ),
        ("posit<8>", "posit takes 2 numbers, not 1", "posit"),
        ("fixed<17,0>", "fixed<17,0>: n must be 2..16 and f 0..15", "fixed"),
        ("posits<8,0>", "unknown element type 'posits'", "posits"),
        ("i8<4>", "unknown element type 'i8'", "i8"),
        ("book<16>", "a code book is a constant: book<@entries#digest>", "book"),
        ("posit<8,1.5>", "'1.5' is not a parameter", "1.5"),
    ],
)
def test_the_caret_is_under_a_wrong_format(type: str, message: str, marked: str) -> None:
    text = f"graph @g(%x: i8[1,6] q(0.1, 0)) {{\n  %w = const @w#{'0' * 16} : {type}[4,6]\n"
    with pytest.raises(TinyccError) as e:
        parse_graph(text + "  return %x\n}\n")
    assert e.value.message == message
    where = e.value.where
    assert isinstance(where, Span)
    assert where.text[where.column - 1 :].startswith(marked) and where.length == len(marked)


def test_types() -> None:
    t = TensorType(DType.parse("posit<5,1>"), (3, 3), Quant(0.5, 0))
    assert (t.nbytes, t.dtype.bits, t.dtype.unit) == (6, 5, 2.0**-6)
    assert t.steps().tolist() == [0.5 * 2.0**-6]
    assert str(DType.parse("posit< 5, 1 >")) == "posit<5,1>"
    with pytest.raises(ValueError, match="not an element type"):
        DType.parse("posit<")


@settings(deadline=None)
@given(layers(), st.sampled_from(FORMATS), rngs)
def test_meaning(layer: Layer, dtype: DType, rng: np.random.Generator) -> None:
    """As the same layer with the weights as real numbers, up to the rounding of requantization."""
    g = Graph("g")
    g.outputs = [add(g, layer, dtype, rng)]
    verify(g)
    x = rng.integers(-128, 128, (2, *layer[2])).astype(np.int8)
    (found,) = reference.run(g, {"x": x})
    op = g.ops[-1]
    w, quant = op.operands[1], op.operands[1].type.quant
    assert w.constant is not None and quant is not None
    real = Graph("real")
    source = real.add_input("x", TensorType(I8, layer[2], op.operands[0].type.quant))
    operands = [emit(real, "dequantize", [source])]
    values = book_of(dtype).values[w.constant] * book_of(dtype).unit
    weights = values * quant.broadcast(w.type.rank)
    operands.append(real.constant("w", weights.astype(np.float32)))
    if len(op.operands) == 3:
        bias = op.operands[2].constant
        assert bias is not None
        step = op.operands[0].type.steps() * w.type.steps()
        operands.append(real.constant("b", (bias * step).astype(np.float32)))
    y = emit(real, op.name, operands, op.attrs)
    real.outputs = [emit(real, "quantize", [y], quant=op.type.quant)]
    (wanted,) = reference.run(real, {"x": x})
    assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("text", ["ternary", "posit<5,1>", "posit<6,1>"])
def test_codes_that_are_none(text: str) -> None:
    dtype = DType.parse(text)
    bad = int(np.flatnonzero(~book_of(dtype).used)[0])
    g = Graph("g")
    codes = np.full((2, 3), bad, np.uint8)
    g.outputs = [g.constant("w", codes, Quant(1.0, 0), dtype=dtype)]
    with pytest.raises(TinyccError, match=rf"{bad} is no code of {text}"):
        verify(g)


def test_codes_beyond_the_bits() -> None:
    g = Graph("g")
    codes = np.full((2, 3), 16, np.uint8)
    g.outputs = [g.constant("w", codes, Quant(1.0, 0), dtype=DType.parse("i4"))]
    with pytest.raises(TinyccError, match="16 is no code of i4"):
        verify(g)


def test_codes_of_another_width() -> None:
    g = Graph("g")
    array = np.zeros((2, 3), np.int8)
    g.outputs = [g.constant("w", array, Quant(1.0, 0), dtype=DType.parse("i4"))]
    with pytest.raises(TinyccError, match="codes of i4 are stored as uint8, not int8"):
        verify(g)


def test_codes_need_a_scale() -> None:
    g = Graph("g")
    g.outputs = [g.constant("w", np.zeros((2, 3), np.uint8), dtype=DType.parse("i4"))]
    with pytest.raises(TinyccError, match="needs a scale and the zero point 0"):
        verify(g)


def test_only_weights_are_codes() -> None:
    g = graph(BOOK)
    w = g.ops[0].result
    g.outputs = [emit(g, "relu", [emit(g, "dequantize", [w])])]
    verify(g)
    i4 = Graph("g")
    i4.outputs = [i4.add_input("x", TensorType(DType.parse("i4"), (3,), Quant(1.0, 0)))]
    with pytest.raises(TinyccError, match="the input %x can't be i4"):
        verify(i4)
    moved = graph(DType.parse("i4"))
    w = moved.ops[0].result
    t = TensorType(w.type.dtype, (24,), w.type.quant)
    moved.outputs = [moved.add("reshape", [w], [t], {"shape": (24,)}).result]
    with pytest.raises(TinyccError, match="reshape can't make i4"):
        verify(moved)


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_dequantize(dtype: DType) -> None:
    g = graph(dtype)
    w = g.ops[0].result
    g.outputs = [emit(g, "dequantize", [w])]
    (found,) = reference.run(g, {"x": np.zeros((1, *DENSE[2]), np.int8)})
    assert w.constant is not None and w.type.quant is not None
    scales = np.broadcast_to(w.type.quant.broadcast(2), (4, 6)).ravel()
    for code, scale, y in zip(w.constant.ravel(), scales, found.ravel(), strict=True):
        exact = Fraction(int(book_of(dtype).values[code])) * Fraction(book_of(dtype).unit)
        assert float(y) == pytest.approx(float(exact * Fraction(float(scale))), rel=1e-6)
