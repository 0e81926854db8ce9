"""What it costs to decode weights: single layers on the emulated Cortex-M4."""

from __future__ import annotations

import numpy as np

from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.device import Device
from tinycc_nn.ir import I8, I16, Attr, Blob, DType, Graph, Quant, TensorType, Value
from tinycc_nn.numeric.codes import buckets
from tinycc_nn.ops import emit, verify
from tinycc_nn.ops.xnor import pack_bits
from tinycc_nn.reference import run
from tinycc_nn.target import Target

FORMATS = (
    "int8",
    "i2",
    "i4",
    "i5",
    "i6",
    "posit<5,0>",
    "posit<6,0>",
    "posit<8,0>",
    "ternary",
    "binary",
)
LAYERS = {
    "pointwise 64->64, 25x5": (25, 5, 64, 64),
    "pointwise 64->64, 16x8": (16, 8, 64, 64),
    "pointwise 64->64, 8x8": (8, 8, 64, 64),
    "dense 640->128": (1, 1, 640, 128),
}
"""Rows, columns, input channels, output channels."""

ACTIVATIONS = ("int8, int16 activations", "xnor")
COSTS = tuple((text, layer) for layer in LAYERS for text in (*FORMATS, "hashed", *ACTIVATIONS))


def cost(text: str, layer: str) -> dict[str, float]:
    """Instructions and cycles of a layer with random weights of a format, by the fastest kernel; the
    kernels of both square layers decode once for all their pixels, so that they differ by their
    pixels alone."""
    target = Target.for_cpu("cortex-m4")
    g = network(text, *LAYERS[layer])
    op = g.outputs[0].owner
    assert op is not None
    found = candidates(op, target)
    pixels = LAYERS[layer][0] * LAYERS[layer][1]
    once = [k for k in found if k.name == f"coded-words-{pixels}"]
    kernel = once[0] if once and "25x5" not in layer else min(found, key=lambda k: k.cycles)
    options = BackendOptions("net", kernels={op.result.name: kernel.name})
    device = Device(load_backend("tvm").compile(g, target, options).source, target)
    kind = np.iinfo(g.inputs[0].type.dtype.numpy)
    shape = (1, *g.inputs[0].type.shape)
    x = np.random.default_rng(1).integers(kind.min, kind.max + 1, shape).astype(kind.dtype)
    wanted = run(g, {g.inputs[0].name: x})[0].reshape(-1)
    if not np.array_equal(device.run([x[0]])[0], wanted):
        raise RuntimeError(f"{kernel.name} does not compute what the interpreter does")
    profile = device.profile([x[0]])
    macs = pixels * LAYERS[layer][2] * LAYERS[layer][3]
    return {
        "instructions": profile.instructions, "cycles": profile.cycles, "macs": macs,
        "weights": LAYERS[layer][2] * LAYERS[layer][3],
    }  # fmt: skip


def network(text: str, rows: int, columns: int, inputs: int, outputs: int) -> Graph:
    rng = np.random.default_rng(1)
    g = Graph("net")
    dense = rows * columns == 1
    shape = (1, inputs) if dense else (1, rows, columns, inputs)
    x = g.add_input("x", TensorType(I8, shape, Quant(0.05, 3)))
    weights = (outputs, inputs) if dense else (outputs, 1, 1, inputs)
    if text == "xnor":
        return bits(g, x, outputs)
    if text == ACTIVATIONS[0]:
        x.type = TensorType(I16, shape, Quant(0.05 / 256, 768))
    if text == "int8" or text == ACTIVATIONS[0]:
        w = g.constant("w", rng.integers(-127, 128, weights).astype(np.int8), Quant(0.01))
    else:
        dtype = hashed() if text == "hashed" else DType.parse(text)
        book = dtype.book
        assert book is not None
        codes = rng.choice(np.flatnonzero(book.used), weights).astype(dtype.numpy)
        if book.hashed:
            codes = buckets(codes.size, book.bits).reshape(weights)
        w = g.constant("w", codes, Quant(0.01), dtype=dtype)
    b = g.constant("b", rng.integers(-900, 900, outputs).astype(np.int32))
    y = Quant(5.0 if text in FORMATS or text == "hashed" else 5.0 / 256, 1)
    g.outputs = [emit(g, "dense" if dense else "conv2d", [x, w, b], quant=y, result="y")]
    verify(g)
    return g


def bits(g: Graph, x: Value, outputs: int) -> Graph:
    """The layer on packed signs, with the packing of its inputs."""
    rng = np.random.default_rng(1)
    inputs = x.type.shape[-1]
    if x.type.rank == 2:
        x = emit(g, "reshape", [x], {"shape": (1, 1, 1, inputs)})
    packed = emit(g, "pack_signs", [x], {"threshold": 1}, quant=Quant(1.0))
    w = g.constant("w", pack_bits(rng.random((outputs, 1, 1, inputs)) < 0.5), Quant(1.0))
    b = g.constant("b", rng.integers(-9, 9, outputs).astype(np.int32))
    attrs: dict[str, Attr] = {"channels": inputs}
    g.outputs = [emit(g, "xnor_conv2d", [packed, w, b], attrs, quant=Quant(0.5), result="y")]
    verify(g)
    return g


def hashed() -> DType:
    entries = np.random.default_rng(2).integers(-2047, 2048, 1024).astype(np.int16)
    return DType.of_parts("hashed", (Blob("entries", entries),))
