"""Parameters of weight formats: es and the point by error, the scale inside, zeros, posits of the host."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.forced import compare, random_inputs
from tests.support.ops import rngs
from tests.test_quantize_weights import ALL, after, error, layers, quantized
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.device import Device
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import DType, Graph
from tinycc_nn.numeric import posit
from tinycc_nn.numeric.codes import code_book
from tinycc_nn.quantization.coding import Bounds, Coding, nearest
from tinycc_nn.quantization.recode import real_weights, standard
from tinycc_nn.quantization.wish import parse_wish
from tinycc_nn.target import Target

WHOLE = [t for t in ALL if "book" not in t]


def dtypes(g: Graph) -> dict[str, str]:
    return {k: str(op.operands[1].type.dtype) for k, op in layers(g).items()}


def test_es_is_chosen_by_the_error_of_each_layer() -> None:
    g, data = quantized()
    new = after('quantize-weights{format="posit<6>", rounding=nearest}', g, data)
    assert all(t.startswith("posit<6,") for t in dtypes(new).values())
    for name in ("stem", "dense"):
        errors = {}
        for es in range(3):
            text = f'quantize-weights{{format="posit<6,{es}>", rounding=nearest, layers=[{name}]}}'
            one = after(text, g, data)
            w, real = (real_weights(layers(x)[name]) for x in (one, g))
            errors[f"posit<6,{es}>"] = float(((w - real) ** 2).sum())
        chosen = dtypes(new)[name]
        assert errors[chosen] <= 1.1 * min(errors.values())


def test_the_point_is_chosen_where_the_scale_is_inside() -> None:
    g, data = quantized()
    new = after('quantize-weights{format="fixed<8>", scale=inside}', g, data)
    assert len(set(dtypes(new).values())) > 1
    for op in layers(new).values():
        quant = op.operands[1].type.quant
        assert quant is not None and quant.scale == 1.0
        w = op.operands[1].integers
        assert w is not None and 32 <= np.abs(w.astype(int)).max() <= 128
    outside = after('quantize-weights{format="fixed<8>"}', g, data)
    assert set(dtypes(outside).values()) == {"fixed<8,0>"}
    assert error(outside, g, data) < error(new, g, data) < 0.05


def test_the_point_of_small_weights_lies_outside_of_the_code() -> None:
    g, data = quantized()
    new = after('quantize-weights{format="fixed<3>", scale=inside}', g, data)
    assert dtypes(new)["dense"] == "fixed<3,4>"
    one = 'quantize-weights{{format="fixed<3,{}>", scale=inside, layers=[dense]}}'
    within = after(one.format(2), g, data)
    assert error(after(one.format(4), g, data), g, data) < error(within, g, data) / 2


def test_the_point_changes_nothing_where_the_scale_is_outside() -> None:
    g, data = quantized()
    a, b = (after(f'quantize-weights{{format="fixed<5,{f}>"}}', g, data) for f in (0, 13))
    assert set(dtypes(b).values()) == {"fixed<5,13>"}
    for name in layers(g):
        x, y = layers(a)[name], layers(b)[name]
        np.testing.assert_array_equal(x.operands[1].integers, y.operands[1].integers)
        np.testing.assert_array_equal(real_weights(x), real_weights(y))


@pytest.mark.parametrize("text", ["fixed<6>", "fixed<5,4>", "posit<6>", "posit<8,0>"])
def test_the_scale_inside_on_a_core(text: str) -> None:
    g, data = quantized()
    new = after(f'quantize-weights{{format="{text}", scale=inside}}, quantize-interface', g, data)
    target = Target.for_cpu("cortex-m4")
    source = load_backend("tvm").compile(new, target, BackendOptions("net")).source
    inputs = random_inputs(new, np.random.default_rng(1))
    compare(new, Device(source, target).run(list(inputs.values())), inputs)


def test_a_layer_that_cannot_have_the_scale_inside() -> None:
    book = code_book("fixed", (16, 15))
    coding = Coding(book, np.ones((1, 1)), Bounds(np.ones(1), np.zeros(1)), False, nearest(book))
    assert coding.bounds.least[0] > book.unit
    g, data = quantized()
    for op in layers(g).values():
        assert op.type.quant is not None
    op = layers(g)["dense"]
    g.set_operand(op, 2, g.constant("b", np.full(10, 2**30, np.int32), before=op))
    with pytest.raises(TinyccError, match="its sums don't fit with the scale inside"):
        after('quantize-weights{format="fixed<16,15>", scale=inside, layers=[dense]}', g, data)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([t for t in WHOLE if t != "binary"] + ["posit<16,1>", "posit<16,2>"]),
    st.sampled_from(["nearest", "optimized", "standard"]),
    st.booleans(),
    st.floats(0, 0.99),
    rngs,
)
def test_exact_zeros_stay_zeros(
    text: str, rounding: str, per_channel: bool, zeros: float, rng: np.random.Generator
) -> None:
    """In every format that has a zero, however it is rounded."""
    wish = parse_wish(text)
    assert wish.dtype is not None
    book = wish.dtype.book
    assert book is not None and book.has_zero
    w = rng.standard_t(3, (4, 12)) * rng.uniform(0.01, 3, (4, 1))
    w[rng.random(w.shape) < zeros] = 0
    encode = standard(wish.dtype) if rounding == "standard" and "posit" in text else nearest(book)
    bounds = Bounds(np.full(4, 1e-12), np.zeros(4))
    coding = Coding(book, np.ones((1, 12)), bounds, per_channel, encode)
    steps = coding.steps(w + (np.arange(12) == 0))
    a = rng.standard_normal((30, 12))
    found = coding.integers(w, steps)
    if rounding == "optimized":
        found = coding.optimized(w, steps, (a.T @ a / 30)[None])
    assert (found[w == 0] == 0).all()


@pytest.mark.parametrize("es", [0, 1, 2])
def test_posits_of_16_bits_are_the_interpreters(es: int) -> None:
    book = code_book("posit", (16, es))
    assert book.host and book.used.sum() == 2**16 - 1
    np.testing.assert_array_equal(
        book.values[book.used] * book.unit, posit.values(16, es)[book.used]
    )
    g, data = quantized()
    fine = after(f'quantize-weights{{format="posit<16,{es}>"}}', g, data)
    coarse = after(f'quantize-weights{{format="posit<8,{es}>"}}', g, data)
    assert error(fine, g, data) < 0.1 * error(coarse, g, data)


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_no_core_executes_posits_of_16_bits(cpu: str) -> None:
    g, data = quantized()
    new = after('quantize-weights{format="posit<16,1>", layers=[dense]}', g, data)
    only = Graph("only")
    op = layers(new)["dense"]
    x = only.add_input("x", op.operands[0].type)
    w = op.operands[1]
    assert w.constant is not None
    value = only.constant("w", w.constant, w.type.quant, dtype=w.type.dtype)
    copy = only.add("dense", [x, value], [op.type], names=["y"])
    only.outputs = [copy.result]
    with pytest.raises(
        TinyccError, match=r"no kernel of .*\n  %y: dense .* with weights of posit, 16 bits"
    ):
        load_backend("tvm").compile(only, Target.for_cpu(cpu), BackendOptions("net"))


@pytest.mark.parametrize("text", ["posit<9>", "fixed<1>", "posit<12,1>"])
def test_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match="n must be"):
        parse_wish(text)


def test_choices_of_a_wish() -> None:
    wish = parse_wish("posit<5>")
    assert wish.bits == 5 and str(wish) == "posit<5>"
    assert wish.formats(inside=False) == tuple(DType.parse(f"posit<5,{i}>") for i in range(3))
    assert [str(d) for d in parse_wish("fixed<6>").formats(inside=False)] == ["fixed<6,0>"]
    assert len(parse_wish("fixed<6>").formats(inside=True)) == 16
