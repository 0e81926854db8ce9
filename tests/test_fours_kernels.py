"""Elementwise operators four at a time, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import floats, int8
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import F32, I8, Graph, Quant, TensorType, Value
from tinycc_nn.ops import emit, opdef, verify
from tinycc_nn.target import Target

SHAPES = [(1, 2, 3, 7), (2, 8)]
Q, Y = Quant(0.05, -7), Quant(0.08, 11)


def value(g: Graph, kind: str, shape: tuple[int, ...], is_int8: bool, q: Quant) -> Value:
    """x: a running tensor; r: a running row; c: a constant row."""
    row = shape if kind == "x" else (*(1 for _ in shape[1:]), shape[-1])
    if kind == "c":
        rng = np.random.default_rng(2)
        return g.constant("c", (int8 if is_int8 else floats)(rng, *row), q if is_int8 else None)
    return g.add_input("x", TensorType(I8, row, q) if is_int8 else TensorType(F32, row))


def network(is_int8: bool) -> Graph:
    g = Graph("g")
    for shape in SHAPES:
        for name in ("add", "sub", "mul"):
            for kinds in ("xx", "xc", "cx", "xr"):
                for act in ("none", "relu6") if kinds == "xx" else ("none",):
                    quants = (Q, Quant(0.03, 40)) if kinds != "cx" else (Quant(0.7, 0), Q)
                    operands = [
                        value(g, k, shape, is_int8, q) for k, q in zip(kinds, quants, strict=True)
                    ]
                    attrs = {"act": act}
                    quant = Y if is_int8 else None
                    g.outputs.append(emit(g, name, operands, attrs, quant=quant))
        for name in ("sigmoid", "hard_swish", "requantize") if is_int8 else ():
            x = value(g, "x", shape, True, Q)
            g.outputs.append(emit(g, name, [x], quant=opdef(name).output or Y))
    verify(g)
    return g


@pytest.mark.parametrize("is_int8", [False, True], ids=["f32", "i8"])
@pytest.mark.parametrize("cpu", ["host", "cortex-m4", "cortex-m0plus"])
def test_fours(is_int8: bool, cpu: str) -> None:
    g, target = network(is_int8), Target.for_cpu("cortex-m4" if cpu == "host" else cpu)
    source = forced(g, target, ("fours",)).source
    inputs = random_inputs(g, np.random.default_rng(3))
    machine = HostLibrary(source) if cpu == "host" else Device(source, target)
    compare(g, machine.run(list(inputs.values())), inputs)


def test_every_int8_value_of_a_table() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (256,), Quant(0.03, 5)))
    g.outputs = [emit(g, "tanh", [x], quant=opdef("tanh").output or Y)]
    library = HostLibrary(forced(g, Target.for_cpu("cortex-m3"), ("fours",)).source)
    every = np.arange(-128, 128).astype(np.int8)
    compare(g, library.run([every]), {"x": every[None]})


def test_columns_are_for_the_generic_kernel() -> None:
    g = Graph("g")
    a = g.add_input("a", TensorType(F32, (4, 3)))
    b = g.add_input("b", TensorType(F32, (4, 1)))
    g.outputs = [emit(g, "add", [a, b])]
    op = g.outputs[0].owner
    assert op is not None
    assert [k.name for k in candidates(op, Target.for_cpu("cortex-m4"))] == ["generic"]
