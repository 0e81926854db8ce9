"""The kernels that fit every op: host C and emulated C against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.ops import channel_quant, floats, int8
from tinycc_nn import reference
from tinycc_nn.backend import Artifact, BackendOptions, load_backend
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import F32, I8, Array, Attr, Graph, Quant, TensorType, Value
from tinycc_nn.ops import Int8, emit, opdef, opdefs, verify
from tinycc_nn.target import Target

SHAPE = (1, 6, 5, 4)
Q = Quant(0.05, -7)

Case = tuple[str, dict[str, Attr], str]
"""Operator, attributes, and what its operands are: x an input, c a channel vector, w OHWI..."""

CASES: list[Case] = [
    ("conv2d", {"pad": (1, 0, 2, 1), "stride": (2, 1), "act": "relu"}, "x w6334 b6"),
    ("conv2d", {"pad": (1, 1, 1, 1), "groups": 4}, "x w4331 b4"),
    ("conv2d", {"groups": 2, "dilation": (2, 1), "act": "relu6"}, "x w6232"),
    ("conv2d_transpose", {"stride": (2, 2), "pad": (1, 0, 1, 0), "output_pad": (1, 0)}, "x w6334 b6"),
    ("dense", {}, "x w54 b5"),
    ("matmul", {}, "x m"),
    ("add", {"act": "relu"}, "x x"),
    ("sub", {}, "x x"),
    ("mul", {}, "x v"),
    ("div", {}, "x x"),
    ("minimum", {}, "x x"),
    ("maximum", {}, "x x"),
    ("prelu", {}, "x v"),
    ("batch_norm", {}, "x c c c p"),
    ("max_pool2d", {"kernel": (2, 3), "pad": (1, 0, 1, 1), "stride": (2, 1)}, "x"),
    ("avg_pool2d", {"kernel": (2, 3), "pad": (1, 0, 1, 1)}, "x"),
    ("avg_pool2d", {"kernel": (2, 2), "pad": (1, 0, 0, 1), "count_pad": True}, "x"),
    ("reduce_mean", {"axes": (1, 2)}, "x"),
    ("reduce_sum", {"axes": (3,), "keep": False}, "x"),
    ("reduce_max", {"axes": (1, 3)}, "x"),
    ("softmax", {"axis": 3}, "x"),
    ("softmax", {"axis": 1}, "x"),
    ("log_softmax", {"axis": 3}, "x"),
    ("transpose", {"perm": (0, 3, 1, 2)}, "x"),
    ("concat", {"axis": 2}, "x x x"),
    ("slice", {"begin": (0, 1, 4, 0), "end": (1, 6, -1, 4), "step": (1, 2, -2, 1)}, "x"),
    ("take", {"axis": 2, "indices": (3, 1, 1)}, "x"),
    ("pad", {"pads": (0, 0, 1, 2, 0, 1, 3, 0), "value": 1.5}, "x"),
    ("resize_nearest", {"rows": (0, 0, 1, 5), "columns": (4, 1)}, "x"),
    (
        "resize_linear",
        {"rows": (0, 0, 5), "columns": (4, 1), "row_fraction": (0.1, 0.25, 0.0),
         "column_fraction": (0.0, 0.7)},
        "x",
    ),
    ("quantize", {}, "x"),
    ("dequantize", {}, "x"),
    ("requantize", {}, "x"),
    ("exit_if", {"threshold": 0.5}, "x x"),
]  # fmt: skip
OF_BITS = {"pack_signs", "xnor_conv2d"}
"""On operands that only binarize makes: tests/test_binarize.py."""
UNARY = [
    name for name, d in opdefs().items() if d.elementwise and d.roles == ("x",) and name not in
    ("add", "sub", "mul", "div", "minimum", "maximum", "quantize", "dequantize", "requantize")
]  # fmt: skip
POSITIVE = ("log", "sqrt", "power", "reciprocal")


def takes(name: str, int8_operands: bool) -> bool:
    if name == "quantize":
        return not int8_operands
    if name in ("dequantize", "requantize"):
        return int8_operands
    return not int8_operands or opdef(name).int8 is not Int8.NONE


def operand(g: Graph, word: str, is_int8: bool, rng: np.random.Generator) -> Value:
    """A graph input for x and p, otherwise a constant."""
    kind, dims = word[0], tuple(int(d) for d in word[1:])
    if kind in "xm":
        shape = SHAPE if kind == "x" else (1, 1, SHAPE[3], 3)
        return g.add_input(kind, TensorType(I8 if is_int8 else F32, shape, Q if is_int8 else None))
    if kind == "b" and is_int8:
        return g.constant("b", rng.integers(-900, 900, dims).astype(np.int32))
    if kind == "w" and is_int8:
        return g.constant("w", int8(rng, *dims), channel_quant(rng, dims[0]))
    if kind == "v":
        dims = (1, 1, 1, SHAPE[3])
        return g.constant(
            "v", int8(rng, *dims) if is_int8 else floats(rng, *dims), Q if is_int8 else None
        )
    array = floats(rng, *(dims or (SHAPE[3],)))
    return g.constant(kind, abs(array) + np.float32(0.5) if kind == "p" else array)


def graph_of_cases(is_int8: bool) -> Graph:
    """One graph of all ops: each on inputs of its own, each result an output."""
    rng = np.random.default_rng(5)
    g = Graph("g")
    unary: list[Case] = [(n, {"exponent": 3.0} if n == "power" else {}, "x") for n in UNARY]
    for name, attrs, words in [*CASES, *unary]:
        if not takes(name, is_int8):
            continue
        operands = [operand(g, w, is_int8, rng) for w in words.split()]
        quant = opdef(name).output or Quant(0.04, 3)
        g.outputs.append(emit(g, name, operands, dict(attrs), quant=quant))
    verify(g)
    return g


def random_inputs(g: Graph, rng: np.random.Generator) -> dict[str, Array]:
    found = {}
    for v in g.inputs:
        if v.type.dtype == I8:
            found[v.name] = int8(rng, 1, *v.type.shape)
            continue
        x = 2 * floats(rng, 1, *v.type.shape)
        positive = v.users[0].name in POSITIVE
        found[v.name] = abs(x) + np.float32(0.1) if positive else x
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["f32", "i8"])
def compiled(request: pytest.FixtureRequest) -> tuple[Graph, Artifact]:
    g = graph_of_cases(request.param)
    target = Target.for_cpu("cortex-m0plus")
    forced = {
        op.result.name: "generic" for op in g.ops if op.name != "const" and op.name != "reshape"
    }
    options = BackendOptions("net", kernels=forced, banner="test")
    return g, load_backend("tvm").compile(g, target, options)


def compare(g: Graph, found: list[Array], wanted: list[Array]) -> None:
    for v, y, want in zip(g.outputs, found, wanted, strict=True):
        name = v.owner.name if v.owner else v.name
        if v.type.dtype == I8:
            np.testing.assert_array_equal(y, want.reshape(-1), err_msg=name)
        else:
            np.testing.assert_allclose(y, want.reshape(-1), rtol=1e-5, atol=1e-5, err_msg=name)


def test_host(compiled: tuple[Graph, Artifact]) -> None:
    g, artifact = compiled
    library = HostLibrary(artifact.source)
    rng = np.random.default_rng(6)
    for _ in range(3):
        inputs = random_inputs(g, rng)
        compare(g, library.run(list(inputs.values())), reference.run(g, inputs))


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
def test_emulated(compiled: tuple[Graph, Artifact], cpu: str) -> None:
    g, artifact = compiled
    device = Device(artifact.source, Target.for_cpu(cpu))
    inputs = random_inputs(g, np.random.default_rng(7))
    compare(g, device.run(list(inputs.values())), reference.run(g, inputs))


def test_every_operator_is_covered() -> None:
    covered = {name for name, _, _ in CASES} | set(UNARY)
    assert set(opdefs()) == covered | OF_BITS | {"const", "reshape"}
