"""Weights as numbers in the code: the interpreter's bits, and chosen where they pay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import rngs
from tests.test_bitmap_kernels import network, shapes
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.backends.tvm.kernels.inline_weights import FAMILY, MOST
from tinycc_nn.backends.tvm.tir.inline_weights import pixel
from tinycc_nn.backends.tvm.tir.template import Requantize
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import Graph
from tinycc_nn.schedule import steps
from tinycc_nn.target import Target

NAME = "inline-weights"


def with_live(g: Graph, live: int, rng: np.random.Generator) -> Graph:
    """The network of one layer with just so many weights that aren't zero, extremes among them."""
    (op,) = steps(g)
    w = op.operands[1]
    assert w.constant is not None
    stored = np.zeros(w.constant.size, np.int8)
    at = rng.permutation(stored.size)[:live]
    stored[at] = rng.choice([-128, -127, -1, 1, 2, 53, 127], live)
    value = g.constant("v", stored.reshape(w.constant.shape), w.type.quant, before=op)
    g.set_operand(op, 1, value)
    g.sweep()
    return g


@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4", "cortex-m7"])
@settings(max_examples=5, deadline=None)
@given(shape=shapes, out=st.integers(1, 9), part=st.floats(0, MOST), rng=rngs)
def test_bits(
    cpu: str, shape: tuple[int, ...], out: int, part: float, rng: np.random.Generator
) -> None:
    g, target = network(shape, out, 1.0, rng), Target.for_cpu(cpu)
    g = with_live(g, int(part * out * shape[-1]), rng)
    artifact, inputs = forced(g, target, ["inline_weights"]), random_inputs(g, rng)
    assert artifact.layers[0].kernel == NAME
    compare(g, HostLibrary(artifact.source, flags=["-Werror"]).run([*inputs.values()]), inputs)
    compare(g, Device(artifact.source, target).run([*inputs.values()]), inputs)


def test_one_statement_for_each_weight_that_is_not_zero() -> None:
    w = np.zeros((2, 300), np.int8)
    w[0, [1, 2, 3, 4, 299]] = 5, -6, 127, -128, 1
    bias, m = np.array([7, -(2**31)], np.int32), np.array([3, 4], np.int32)
    _, text = pixel(w, bias, m, Requantize(narrow=True, zero=9))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("int32_t a = 7;") :][:8] == [
        "int32_t a = 7;",
        "a += 5 * x[1];",
        "a -= 6 * x[2];",
        "a += 127 * x[3];",
        "a -= 128 * x[4];",
        "tcnn_keep(y);",
        "a += 1 * x[299];",
        "y[0] = tcnn_clamp(tcnn_requantize32(a, 3, 9), -128, 127);",
    ]
    assert "int32_t a = -2147483648;" in lines


def sparse(inputs: int, outputs: int, live: float) -> Graph:
    rng = np.random.default_rng(0)
    return with_live(network((1, inputs), outputs, 1.0, rng), int(live * inputs * outputs), rng)


@pytest.mark.parametrize(
    ("cpu", "inputs", "live", "offered"),
    [
        ("cortex-m4", 128, 0.25, True),
        ("cortex-m4", 128, 0.26, False),
        ("cortex-m4", 640, 0.06, False),  # too much code
        ("cortex-m0plus", 128, 0.1, False),
        ("cortex-m55", 128, 0.1, False),
    ],
)
def test_what_it_is_offered_for(cpu: str, inputs: int, live: float, offered: bool) -> None:
    (op,) = steps(sparse(inputs, 128, live))
    assert (NAME in [k.name for k in candidates(op, Target.for_cpu(cpu))]) == offered


def test_the_estimate_is_near_what_is_measured() -> None:
    target = Target.for_cpu("cortex-m4")
    for g in (sparse(128, 64, 0.1), sparse(64, 32, 0.25)):
        (op,) = steps(g)
        (kernel,) = FAMILY.candidates(op, target)
        inputs = random_inputs(g, np.random.default_rng(1))
        device = Device(forced(g, target, ["inline_weights"]).source, target, level="-O2")
        (layer,) = device.profile([a[0] for a in inputs.values()]).layers
        assert 0.75 < kernel.cycles / layer.cycles < 1.35


def test_chosen_where_few_weights_are_left() -> None:
    backend, target = load_backend("tvm"), Target.for_cpu("cortex-m4")
    options = BackendOptions("net", "O2")
    (layer,) = backend.compile(sparse(64, 64, 0.06), target, options).layers
    assert layer.kernel == NAME and layer.constant_bytes == 0
    assert layer.macs == int(0.06 * 64 * 64)
    (layer,) = backend.compile(sparse(64, 64, 0.9), target, options).layers
    assert layer.kernel != NAME
