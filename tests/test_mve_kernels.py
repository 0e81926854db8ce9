"""Cortex-M55 kernels: assembly beside portable C, the same bits as the interpreter's."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import int8
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import I8, Blob, Graph, Quant, TensorType
from tinycc_nn.ir.graph import Attr
from tinycc_nn.ops import emit, verify
from tinycc_nn.target import Target

M55 = Target.for_cpu("cortex-m55")
STEP = 0.05
Q, Y = Quant(STEP, -7), Quant(0.11, 11)
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not on the PATH"
)

CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Attr], float]] = [
    ((1, 5, 4, 16), (8, 1, 1, 16), {}, 1.0),
    ((1, 3, 3, 7), (70, 1, 1, 7), {}, 1.0),
    ((1, 6, 5, 3), (5, 3, 3, 3), {"pad": (1, 1, 1, 1), "act": "relu"}, 1.0),
    ((1, 7, 9, 20), (6, 3, 3, 20), {"pad": (0, 1, 1, 0), "stride": (2, 2)}, 1.0),
    ((1, 9, 8, 4), (4, 2, 3, 4), {"pad": (2, 2, 2, 2), "dilation": (2, 3)}, 1.0),
    ((1, 5, 5, 21), (21, 3, 3, 1), {"pad": (1, 1, 1, 1), "groups": 21}, 1.0),
    ((1, 6, 7, 6), (6, 2, 3, 1), {"stride": (2, 1), "groups": 6}, 1.0),
    ((1, 4, 4, 16), (8, 1, 1, 16), {}, 1000.0),  # factors above one half
]


def network() -> Graph:
    g, rng = Graph("g"), np.random.default_rng(1)
    for shape, weights, attrs, scale in CONVOLUTIONS:
        x = g.add_input("x", TensorType(I8, shape, Q))
        scales = (scale * rng.uniform(0.001, 0.004, weights[0])).astype(np.float32)
        w = int8(rng, *weights) if scale == 1.0 else rng.integers(-1, 2, weights).astype(np.int8)
        wv = g.constant("w", w, Quant(Blob("ws", scales), 0, 0))
        b_scales = Blob("bs", (scales * np.float32(STEP)).astype(np.float32))
        bias = rng.integers(-3000, 3000, weights[0]).astype(np.int32)
        b = g.constant("b", bias // 1000 if scale > 1 else bias, Quant(b_scales, 0, 0))
        g.outputs.append(emit(g, "conv2d", [x, wv, b], attrs, quant=Y))
    for rows, depth, n in ((1, 100, 10), (3, 16, 67)):
        x = g.add_input("x", TensorType(I8, (rows, depth), Q))
        wv = g.constant("w", int8(rng, n, depth), Quant(0.003, 0))
        g.outputs.append(emit(g, "dense", [x, wv], quant=Y))
    for name in ("add", "sub"):
        operands = [g.add_input("x", TensorType(I8, (1, 3, 3, 5), q)) for q in (Q, Quant(0.03, 40))]
        g.outputs.append(emit(g, name, operands, quant=Y))
    verify(g)
    return g


@pytest.mark.parametrize("pick", range(2))
def test_same_bits_on_the_host(pick: int) -> None:
    g = network()
    source = forced(g, M55, ("mve",), pick).source
    inputs = random_inputs(g, np.random.default_rng(pick))
    compare(g, HostLibrary(source).run(list(inputs.values())), inputs)


@needs_qemu
@pytest.mark.parametrize("pick", range(2))
def test_same_bits_on_the_core(pick: int) -> None:
    g = network()
    source = forced(g, M55, ("mve",), pick).source
    inputs = random_inputs(g, np.random.default_rng(pick))
    compare(g, Device(source, M55).run(list(inputs.values())), inputs)


def test_c_for_all_and_assembly_for_mve() -> None:
    text = forced(network(), M55, ("mve",)).source.files["net.c"]
    kernels = re.findall(
        r"#if defined\(__ARM_FEATURE_MVE\)\n__asm__\((.*?)\);\nvoid (\w+)\(.*?\);\n#else\n"
        r"static NET_NOINLINE void (\w+)\(.*?\n#endif\n",
        text,
        re.DOTALL,
    )
    assert len(kernels) == len(CONVOLUTIONS) + 4
    for assembly, declared, defined in kernels:
        assert declared == defined
        assert f'"{declared}:\\n"' in assembly
        assert f".global {declared}\\n" in assembly
        assert re.search(r"vmla|vmul|vmax", assembly)
        labels = set(re.findall(r"\.L\w+", assembly))
        assert all(label.startswith(f".L{declared}_") for label in labels)


def test_the_same_text_each_time() -> None:
    first, second = (forced(network(), M55, ("mve",)).source.files for _ in range(2))
    assert first == second


def test_only_for_cores_with_mve() -> None:
    g = network()
    ops = [v.owner for v in g.outputs if v.owner is not None]
    for cpu, offered in (("cortex-m33", False), ("cortex-m55", True)):
        target = Target.for_cpu(cpu)
        assert all(any(k.family == "mve" for k in candidates(op, target)) is offered for op in ops)


def test_taken_on_the_core() -> None:
    layers = load_backend("tvm").compile(network(), M55, BackendOptions("net", "O3")).layers
    assert all("mve" in layer.kernel for layer in layers)


def test_not_for_sums_of_31_bits() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 4), Q))
    w = g.constant("w", np.ones((1, 4), np.int8), Quant(0.003, 0))
    b = g.constant("b", np.array([2**30], np.int32), Quant(STEP * 0.003, 0))
    g.outputs = [emit(g, "dense", [x, w, b], quant=Y)]
    assert g.outputs[0].owner is not None
    assert all(k.family != "mve" for k in candidates(g.outputs[0].owner, M55))
