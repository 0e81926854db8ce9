"""The pass quantize-weights: formats, exact zeros, scales, rounding, budgets, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycc_nn import reference
from tinycc_nn.diagnostics import Span, TinyccError
from tinycc_nn.ir import F32, Array, Graph, TensorType, Value
from tinycc_nn.ir.graph import Op
from tinycc_nn.numeric.codes import code_book
from tinycc_nn.ops import emit
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.quantization.coding import Bounds, Coding, codes_of, nearest
from tinycc_nn.quantization.mixed import Option, allocate
from tinycc_nn.quantization.wish import Wish, parse_wish

BEFORE = "quantize{weight_bits=12, weights=per-channel}"
ALL = (
    "i2", "i3", "i4", "i5", "i6", "i7", "ternary", "binary", "fixed<3,2>", "fixed<10,4>",
    "posit<4,0>", "posit<5,1>", "posit<6,2>", "posit<8,0>", "posit<8,2>", "book<5>", "book<16>",
)  # fmt: skip


def network(zeros: float = 0.0) -> tuple[Graph, dict[str, Array]]:
    """conv, depthwise, pointwise, dense, with a part of the weights exactly zero; samples."""
    rng = np.random.default_rng(7)
    g = Graph("g")

    def layer(name: str, x: Value, *shape: int, **attrs: object) -> Value:
        w = rng.standard_t(4, shape) / np.sqrt(np.prod(shape[1:]))
        w[rng.random(shape) < zeros] = 0
        b = rng.standard_normal(shape[0]).astype(np.float32) / 4
        operands = [x, g.constant(f"{name}.w", w.astype(np.float32)), g.constant("b", b)]
        op = "dense" if len(shape) == 2 else "conv2d"
        return emit(g, op, operands, attrs, result=name)  # type: ignore[arg-type]

    x = g.add_input("x", TensorType(F32, (1, 8, 8, 3)))
    x = layer("stem", x, 8, 3, 3, 3, pad=(1, 1, 1, 1), act="relu")
    x = layer("depthwise", x, 8, 3, 3, 1, pad=(1, 1, 1, 1), groups=8, act="relu")
    x = layer("pointwise", x, 16, 1, 1, 8, stride=(2, 2), act="relu")
    x = emit(g, "reshape", [x], {"shape": (1, 256)})
    g.outputs = [layer("dense", x, 10, 256)]
    base = rng.standard_normal((64, 1, 1, 1, 3))
    noise = rng.standard_normal((64, 1, 8, 8, 3))
    return g, {"x": (base + noise).astype(np.float32)}


def after(pipeline: str, g: Graph, data: dict[str, Array] | None) -> Graph:
    for p in parse_pipeline(pipeline):
        g = p(g, Context(data or {}))
    return g


def quantized(zeros: float = 0.0) -> tuple[Graph, dict[str, Array]]:
    g, data = network(zeros)
    return after(BEFORE, g, data), data


def layers(g: Graph) -> dict[str, Op]:
    return {op.result.name.rstrip("'"): op for op in g.ops if op.name in ("conv2d", "dense")}


def error(g: Graph, wanted: Graph, data: dict[str, Array]) -> float:
    """Noise over signal, of the real outputs."""
    (a,), (b,) = reference.run(g, data), reference.run(wanted, data)
    return float(((a - b) ** 2).sum() / (b**2).sum())


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("rounding", ["nearest", "optimized", "standard"])
def test_every_format(text: str, rounding: str) -> None:
    g, data = quantized()
    new = after(f'quantize-weights{{format="{text}", rounding={rounding}}}', g, data)
    found = layers(new)
    assert len(found) == 4
    for op in found.values():
        assert str(op.operands[1].type.dtype).startswith(text.partition("<")[0])
    most = {1: 2.0, 2: 1.0, 3: 0.3, 4: 0.1}.get(parse_wish(text).bits, 0.03)
    assert error(new, g, data) < most


@pytest.mark.parametrize("text", [t for t in ALL if t != "binary"])
def test_zeros_stay_zeros(text: str) -> None:
    g, data = quantized(zeros=0.5)
    new = after(f'quantize-weights{{format="{text}"}}', g, data)
    for name, op in layers(new).items():
        old, now = layers(g)[name].operands[1].integers, op.operands[1].integers
        assert old is not None and now is not None
        assert (now[old == 0] == 0).all() and (now != 0).any()


def test_optimized_rounding_and_output_error_are_better() -> None:
    g, data = quantized()
    plain, output, best = (
        error(after(f"quantize-weights{{format=i3{o}}}", g, data), g, data)
        for o in (", error=weight, rounding=nearest", ", rounding=nearest", "")
    )
    assert best < 0.8 * plain
    assert output < 1.2 * plain


def test_more_bits_are_better() -> None:
    g, data = quantized()
    errors = [
        error(after(f"quantize-weights{{format=i{n}, rounding=nearest}}", g, data), g, data)
        for n in (2, 4, 6)
    ]
    assert errors[0] > 4 * errors[1] > 16 * errors[2] > 0


def test_per_tensor_has_one_scale() -> None:
    g, data = quantized()
    new = after("quantize-weights{granularity=tensor}", g, data)
    assert all(isinstance(op.operands[1].type.quant.scale, float) for op in layers(new).values())  # type: ignore[union-attr]


def test_without_calibration_data() -> None:
    g, _ = quantized()
    new = after("quantize-weights{error=weight, rounding=nearest}", g, None)
    assert {str(op.operands[1].type.dtype) for op in layers(new).values()} == {"i4"}


def test_layers() -> None:
    g, data = quantized()
    text = "quantize-weights{format=i4, skip=[stem], formats=[dense:ternary, depthwise:i6]}"
    found = {k: str(op.operands[1].type.dtype) for k, op in layers(after(text, g, data)).items()}
    assert found == {
        "stem": "fixed<12,0>", "depthwise": "i6", "pointwise": "i4", "dense": "ternary",
    }  # fmt: skip
    only = layers(after("quantize-weights{layers=[dense]}", g, data))
    assert [str(op.operands[1].type.dtype) for op in only.values()].count("i4") == 1


@pytest.mark.parametrize("budget", [2.5, 3.5, 5])
def test_formats_by_layer_keep_to_the_mean(budget: float) -> None:
    g, data = quantized()
    new = after(f"quantize-weights{{format=auto:{budget}}}", g, data)
    types = [op.operands[1].type for op in layers(new).values()]
    bits = sum(t.size * t.dtype.bits for t in types) / sum(t.size for t in types)
    assert budget - 1 < bits <= budget
    same = after(f"quantize-weights{{format=i{int(budget)}}}", g, data)
    assert error(new, g, data) < error(same, g, data)


def test_allocation() -> None:
    def option(bits: int, cost: float) -> Option:
        return Option(Wish(budget=5.0), bits, cost)

    each = [[option(2, 10.0), option(4, 1.0)], [option(2, 3.0), option(4, 2.0)]]
    assert [o.bits for o in allocate(each, 6)] == [4, 2]
    assert [o.bits for o in allocate(each, 8)] == [4, 4]
    assert [o.bits for o in allocate(each, 3)] == [2, 2]


def test_sums_must_fit_32_bits() -> None:
    """Where large integers would overflow, a coarser scale is taken."""
    w = np.ones((1, 4096))
    bounds = Bounds(np.full(1, 1e-9), np.zeros(1))
    book = code_book("fixed", (16, 0))
    coding = Coding(book, np.ones((1, 1)), bounds, True, nearest(book))
    integers = coding.integers(w, coding.steps(w))
    assert 0 < 255 * np.abs(integers).sum() < 2**31
    hopeless = Coding(
        book, np.ones((1, 1)), Bounds(np.ones(1), np.full(1, 2.0**33)), True, nearest(book)
    )
    with pytest.raises(ValueError, match="32 bits"):
        hopeless.steps(w * 1e-3)


@given(st.lists(st.floats(-50, 50), min_size=1), st.sampled_from(["i4", "ternary", "i7"]))
def test_codes_of_integers(x: list[float], family: str) -> None:
    book = code_book(family)
    integers = nearest(book)(np.array(x))
    np.testing.assert_array_equal(book.values[codes_of(book, integers)], integers)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ("format=i9", "unknown number format 'i9'", "i2..i7"),
        ("format=posits", "did you mean 'posit'?", ""),
        ('format="posit<9,0>"', "posit<9,0>: n must be 4..8 and es 0..2", ""),
        ('format="posit<6,3>"', "posit<6,3>: n must be 4..8 and es 0..2", ""),
        ('format="fixed<1,0>"', "fixed<1,0>: n must be 2..16", ""),
        ('format="book<300>"', "book<300>: a code book has 2..256 entries", ""),
        ("format=auto:9", "auto:9: the mean number of bits must be 2..8", ""),
        ("formats=[i4]", "formats: 'i4' is not LAYER:FORMAT", ""),
    ],
)
def test_wrong_options_are_shown_in_the_pipeline(options: str, message: str, hint: str) -> None:
    with pytest.raises(TinyccError) as e:
        parse_pipeline(f"quantize-weights{{{options}}}")
    assert message in str(e.value) and hint in str(e.value)
    assert isinstance(e.value.where, Span) and e.value.where.column == 1


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("quantize-weights{skip=[steam]}", "no int8 layer with weights is called 'steam'", "did you mean 'stem'?"),
        ("quantize-weights{formats=[x:i4]}", "is called 'x'", "known: dense"),
        ("quantize-weights{layers=[densee]}", "is called 'densee'", "'dense'"),
    ],
)  # fmt: skip
def test_layers_that_there_are_not(text: str, message: str, hint: str) -> None:
    g, data = quantized()
    with pytest.raises(TinyccError) as e:
        after(text, g, data)
    assert message in e.value.message and hint in e.value.hint


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("quantize-weights", "error=output, rounding=optimized"),
        ("quantize-weights{error=weight}", "rounding=optimized"),
        ("quantize-weights{format=auto:4, error=weight, rounding=nearest}", "format=auto:4"),
    ],
)
def test_what_needs_calibration_data(text: str, needs: str) -> None:
    g, _ = quantized()
    with pytest.raises(TinyccError, match=f"quantize-weights: {needs} needs calibration data"):
        after(text, g, None)


def test_a_float_network() -> None:
    g, data = network()
    with pytest.raises(TinyccError, match="no int8 layer with weights"):
        after("quantize-weights", g, data)


def test_a_format_without_zero_refuses_pruned_layers() -> None:
    g, data = quantized(zeros=0.5)
    with pytest.raises(TinyccError, match=r"%stem can't have weights of binary: \d+ % of its") as e:
        after("quantize-weights{format=binary}", g, data)
    assert e.value.hint == "another format, or skip=[stem]"


@pytest.mark.parametrize(
    "text", ["drop-dead-channels", "prune-channels{ratio=0.2}", "quantize-weights{format=i6}"]
)
def test_passes_behind_it(text: str) -> None:
    """They read what codes stand for, and leave codes."""
    g, data = quantized()
    coded = after("quantize-weights{format=i6}", g, data)
    new = after(text, coded, data)
    assert {str(op.operands[1].type.dtype) for op in layers(new).values()} == {"i6"}
    assert error(new, coded, data) < 0.05


def test_pruned_weights_stay_pruned() -> None:
    g, data = network()
    pruned = after("prune-weights{ratio=0.4}", g, data)
    new = after(f"{BEFORE}, quantize-weights{{format=i4}}", pruned, data)
    for name, op in layers(new).items():
        before, w = layers(pruned)[name].operands[1].constant, op.operands[1].integers
        assert before is not None and w is not None
        assert (w[before == 0] == 0).all()
    dense = layers(pruned)["dense"].operands[1].constant
    assert dense is not None and (dense == 0).mean() > 0.2
