"""int16 activations: the interpreter, the pass, the C on the host and on emulated cores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.ops import rngs
from tests.test_quantize_weights import after, error, network
from tinycc_nn import reference
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import I8, I16, Array, Attr, Blob, Graph, Quant, TensorType, Value
from tinycc_nn.numeric.requantize import multipliers
from tinycc_nn.ops import emit, verify
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.target import Target

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4")


def add(g: Graph, rng: np.random.Generator, kind: str, size: tuple[int, int, int, int]) -> Value:
    """One op on new int16 inputs; results spread over the range."""
    height, width, channels, out = size
    zero = int(rng.integers(-20000, 20000))
    shape = (1, channels) if kind == "dense" else (1, height, width, channels)
    x = g.add_input("x", TensorType(I16, shape, Quant(0.001, zero)))
    windows: dict[str, Attr] = {"stride": (2, 1), "pad": (1, 0, 1, 1), "act": "relu"}
    match kind:
        case "dense" | "pointwise" | "conv" | "depthwise":
            weights = {
                "dense": (out, channels), "pointwise": (out, 1, 1, channels),
                "conv": (out, 3, 2, channels), "depthwise": (channels, 3, 2, 1),
            }[kind]  # fmt: skip
            w = rng.integers(-127, 128, weights).astype(np.int8)
            scales = rng.uniform(0.005, 0.02, weights[0]).astype(np.float32)
            wide = Quant(Blob("s", scales), 0, 0) if rng.random() < 0.7 else Quant(0.01)
            b = rng.integers(-(10**6), 10**6, weights[0]).astype(np.int32)
            operands = [x, g.constant("w", w, wide), g.constant("b", b)]
            attrs = dict(windows) if kind in ("conv", "depthwise") else {}
            if kind == "depthwise":
                attrs["groups"] = channels
            y = Quant(0.001 * float(np.sqrt(np.prod(weights[1:]))), 300)
            return emit(g, "dense" if kind == "dense" else "conv2d", operands, attrs, quant=y)
        case "add" | "sub":
            other = g.add_input("z", TensorType(I16, shape, Quant(0.002, -7)))
            return emit(g, kind, [x, other], {"act": "relu6"}, quant=Quant(0.0025, 5))
        case "reduce_mean" | "reduce_sum":
            scale = 0.0005 if kind == "reduce_mean" else 0.01
            return emit(g, kind, [x], {"axes": (1, 2)}, quant=Quant(scale, 40))
        case "avg_pool2d" | "max_pool2d":
            attrs = {"kernel": (2, 3), "stride": (1, 2), "pad": (1, 0, 1, 0)}
            return emit(g, kind, [x], attrs, quant=Quant(0.0009, 9) if kind[0] == "a" else None)
        case "to8":
            return emit(g, "requantize", [x], quant=Quant(0.2, 3))
        case "from8":
            narrow = g.add_input("n", TensorType(I8, shape, Quant(0.3, -4)))
            return emit(g, "requantize", [narrow], {"bits": 16}, quant=Quant(0.3 / 256, -1024))
        case "concat":
            other = g.add_input("z", x.type)
            return emit(g, "concat", [x, other], {"axis": 3})
        case "pad":
            return emit(g, "pad", [x], {"pads": (0, 0, 1, 0, 0, 2, 0, 0), "value": 1.0})
        case _:
            return emit(g, "dequantize", [x])


KINDS = (
    "dense", "pointwise", "conv", "depthwise", "add", "sub", "reduce_mean", "reduce_sum",
    "avg_pool2d", "max_pool2d", "to8", "from8", "concat", "pad", "dequantize",
)  # fmt: skip
SIZES = ((3, 4, 8, 4), (5, 3, 7, 5), (2, 2, 1, 1), (4, 4, 12, 3))


def inputs_of(g: Graph, rng: np.random.Generator) -> dict[str, Array]:
    found = {}
    for v in g.inputs:
        info = np.iinfo(v.type.dtype.numpy)
        found[v.name] = rng.integers(info.min, info.max + 1, (1, *v.type.shape)).astype(info.dtype)
    return found


def check(g: Graph, y: list[Array], inputs: dict[str, Array]) -> None:
    for v, found, want in zip(g.outputs, y, reference.run(g, inputs), strict=True):
        np.testing.assert_array_equal(found, want.reshape(-1), err_msg=str(v.owner))


@pytest.mark.parametrize("cpu", CORES)
@pytest.mark.parametrize("pick", [0, -1])
def test_every_op_on_cores_and_the_host(cpu: str, pick: int) -> None:
    rng = np.random.default_rng(5)
    g = Graph("g")
    g.outputs = [add(g, rng, kind, size) for kind in KINDS for size in SIZES]
    verify(g)
    target = Target.for_cpu(cpu)
    kernels = {}
    for v in g.outputs:
        assert v.owner is not None
        kernels[v.name] = candidates(v.owner, target)[pick].name
    artifact = load_backend("tvm").compile(g, target, BackendOptions("net", kernels=kernels))
    inputs = inputs_of(g, rng)
    wanted = reference.run(g, inputs)
    assert np.mean([len(np.unique(y)) / y.size for y in wanted]) > 0.4
    check(g, Device(artifact.source, target).run(list(inputs.values())), inputs)
    host = HostLibrary(artifact.source, level="-O1", flags=["-Werror"])
    check(g, host.run(list(inputs.values())), inputs)


@settings(max_examples=30, deadline=None)
@given(rngs, st.sampled_from(["dense", "pointwise", "conv"]))
def test_products_by_their_definition(rng: np.random.Generator, kind: str) -> None:
    """In Python's integers, without the operators' own arithmetic."""
    g = Graph("g")
    g.outputs = [add(g, rng, kind, (3, 3, 5, 2))]
    verify(g)
    (op,) = (o for o in g.ops if o.name != "const")
    inputs = inputs_of(g, rng)
    (x,), (y,) = inputs.values(), reference.run(g, inputs)
    weights, bias = (v.constant for v in op.operands[1:])
    assert weights is not None and bias is not None and op.type.quant is not None
    steps = op.operands[0].type.steps() * op.operands[1].type.steps() / op.type.steps()
    m, shift = multipliers(np.broadcast_to(steps, len(weights)))
    quant = op.operands[0].type.quant
    assert quant is not None
    if kind == "conv":
        field = np.full((1, 5, 5, 5), quant.zero)
        field[:, 1:4, 1:4] = x[0]
        x = field[:, 0:3, 0:2]
    else:
        x = x[0, :, :1, :1] if kind == "pointwise" else x[0]
        x = x[:, :1] if kind == "pointwise" else x
    flat = [int(v) - quant.zero for v in x.reshape(-1)[: weights[0].size]]
    low = quant_floor(op.type.quant, relu=kind == "conv")
    for n in range(len(weights)):
        row = [int(v) for v in weights[n].reshape(-1)]
        acc = sum(a * b for a, b in zip(flat, row, strict=True)) + int(bias[n])
        want = (acc * int(m[n]) + 2 ** (shift - 1) >> shift) + op.type.quant.zero
        assert int(y.reshape(-1, len(weights))[0, n]) == min(2**15 - 1, max(low, want))


def quant_floor(q: Quant, *, relu: bool) -> int:
    return q.zero if relu else -(2**15)


def test_the_pass_makes_a_network_finer() -> None:
    g, data = network()
    narrow = after("quantize, quantize-interface", g, data)
    wide = after("quantize, quantize-interface, widen-activations", g, data)
    assert {str(v.type.dtype) for v in (*wide.inputs, *wide.outputs)} == {"i8"}
    kinds = [op.type.dtype for op in wide.ops if op.name in ("conv2d", "dense", "reshape")]
    assert kinds and set(kinds) == {I16}
    fine = after("quantize, widen-activations", g, data)
    coarse = after("quantize", g, data)
    assert error(fine, g, data) < error(coarse, g, data)
    assert narrow.outputs[0].type == wide.outputs[0].type


@pytest.mark.parametrize("cpu", CORES)
def test_a_network_on_cores(cpu: str) -> None:
    g, data = network()
    wide = after("quantize, quantize-interface, widen-activations", g, data)
    target = Target.for_cpu(cpu)
    artifact = load_backend("tvm").compile(wide, target, BackendOptions("net"))
    inputs = inputs_of(wide, np.random.default_rng(3))
    check(wide, Device(artifact.source, target).run(list(inputs.values())), inputs)


def test_layers_and_skip() -> None:
    g, data = network()
    base = "quantize, quantize-interface, "
    only = after(base + "widen-activations{layers=[pointwise]}", g, data)
    types = {op.result.name.rstrip("'"): op.type.dtype for op in only.ops if op.name == "conv2d"}
    assert types["pointwise"] == I16 and types["depthwise"] == I8
    some = after(base + "widen-activations{skip=[stem]}", g, data)
    types = {op.result.name.rstrip("'"): op.type.dtype for op in some.ops if op.name == "conv2d"}
    assert types["stem"] == I8 and types["depthwise"] == I16


def test_softmax_keeps_int8() -> None:
    g, data = network()
    g.outputs = [emit(g, "softmax", [g.outputs[0]], {"axis": 1})]
    wide = after("quantize, quantize-interface, widen-activations", g, data)
    softmax = next(op for op in wide.ops if op.name == "softmax")
    assert softmax.operands[0].type.dtype == I8
    assert softmax.operands[0].owner is not None
    assert softmax.operands[0].owner.name == "requantize"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widen-activations", "there is no int8 layer"),
        ("quantize, widen-activations{skip=[steam]}", "no int8 layer is called 'steam'"),
        ("quantize, quantize-weights, widen-activations", "must have constant, symmetric int8"),
    ],
)
def test_bad_input(text: str, message: str) -> None:
    g, data = network()
    with pytest.raises(TinyccError, match=message):
        after(text, g, data)


def test_sums_that_do_not_fit() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 600), Quant(0.1, 0)))
    w = g.constant("w", np.full((2, 600), 127, np.int8), Quant(0.01))
    g.outputs = [emit(g, "dense", [x, w], quant=Quant(5.0, 0), result="fc")]
    (p,) = parse_pipeline("widen-activations")
    with pytest.raises(TinyccError, match=r"sums of %fc may reach .* beyond 32 bits") as e:
        p(g, Context())
    assert e.value.hint == "skip=[fc]"


def test_ops_without_an_int16_meaning() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I16, (1, 4), Quant(0.1, 0)))
    g.add("softmax", [x], [TensorType(I16, (1, 4), Quant(0.1, 0))], {"axis": 1})
    g.outputs = [g.ops[-1].result]
    with pytest.raises(TinyccError, match="softmax does not work on int16 activations"):
        verify(g)
