"""Weights stored as a bitmap and what isn't zero: the interpreter's bits, chosen where flash counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import rngs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.backends.tvm.tir.bitmap import bitmap_bytes, pack
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import I8, Blob, Graph, Quant, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.target import Target


def network(shape: tuple[int, ...], out: int, live: float, rng: np.random.Generator) -> Graph:
    """A dense layer or 1x1 convolution of which weights anywhere are zero, whole rows among them."""
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, shape, Quant(0.05, int(rng.integers(-128, 128)))))
    w = rng.integers(-127, 128, (out, shape[-1])).astype(np.int8)
    w *= (rng.random(w.shape) < live) & (rng.random((out, 1)) < 0.8)
    scales = Blob("s", rng.uniform(0.004, 0.008, out).astype(np.float32))
    window = (1, 1) if len(shape) == 4 else ()
    quant = Quant(scales, 0, 0) if rng.random() < 0.7 else Quant(0.005, 0)
    weights = g.constant("w", w.reshape(out, *window, -1), quant)
    bias = g.constant("b", rng.integers(-900, 900, out).astype(np.int32))
    name = "conv2d" if window else "dense"
    result = Quant(float(np.float32(0.05 * np.sqrt(shape[-1]))), 5)
    g.outputs = [emit(g, name, [x, weights, bias], quant=result)]
    return g


shapes = st.one_of(
    st.tuples(st.integers(1, 3), st.integers(2, 40)),
    st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 4), st.integers(2, 40)),
)


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m3", "cortex-m4"])
@settings(max_examples=4, deadline=None)
@given(shape=shapes, out=st.integers(2, 9), live=st.sampled_from([0.0, 0.3, 0.7]), rng=rngs)
def test_bits(
    cpu: str, shape: tuple[int, ...], out: int, live: float, rng: np.random.Generator
) -> None:
    g, target = network(shape, out, live, rng), Target.for_cpu(cpu)
    source, inputs = forced(g, target, ["bitmap"]).source, random_inputs(g, rng)
    compare(g, HostLibrary(source, flags=["-Werror"]).run(list(inputs.values())), inputs)
    compare(g, Device(source, target).run(list(inputs.values())), inputs)


def test_what_is_stored() -> None:
    w = np.zeros((2, 9), np.int8)
    w[0, 1], w[0, 8], w[1, 0] = 5, -6, 7
    assert pack(w).tolist() == [2, 1, 5, -6, 1, 0, 7]
    assert bitmap_bytes(w) == 7


def test_chosen_for_flash_where_most_weights_are_zero() -> None:
    g = network((1, 640), 320, 0.3, np.random.default_rng(0))
    target = Target.for_cpu("cortex-m4")
    backend = load_backend("tvm")
    (small,) = backend.compile(g, target, BackendOptions("net", "Os")).layers
    (fast,) = backend.compile(g, target, BackendOptions("net", "O3")).layers
    assert small.kernel == "bitmap" != fast.kernel
    assert small.constant_bytes < 0.5 * fast.constant_bytes
