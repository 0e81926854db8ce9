"""mean-dsp on random maps: host and emulated C against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import rngs
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import I8, Array, Attr, Graph, Quant, TensorType
from tinycc_nn.ops import emit, verify
from tinycc_nn.target import Target

M4 = Target.for_cpu("cortex-m4")


def maps(rng: np.random.Generator, sizes: list[tuple[int, int]]) -> Graph:
    g = Graph("g")
    for i, (height, width) in enumerate(sizes):
        quant = Quant(0.05, int(rng.integers(-128, 128)))
        shape = (1, height, width, 4 * int(rng.integers(1, 5)))
        x = g.add_input(f"x{i}", TensorType(I8, shape, quant))
        attrs: dict[str, Attr] = {"kernel": (height, width)}
        if i % 2:
            attrs = {"axes": (1, 2), "keep": bool(rng.integers(2))}
        scale = float(np.float32(0.05 * 2.0 ** rng.uniform(-5, 2)))
        name = "reduce_mean" if i % 2 else "avg_pool2d"
        out = Quant(scale, int(rng.integers(-128, 128)))
        g.outputs.append(emit(g, name, [x], attrs, quant=out))
    verify(g)
    return g


def extremes(g: Graph, rng: np.random.Generator) -> dict[str, Array]:
    """Maps of the lowest or the highest int8 only: the largest sums of a lane."""
    return {v.name: np.full((1, *v.type.shape), rng.choice([-128, 127]), np.int8) for v in g.inputs}


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(rngs)
def test_random_maps_on_the_host(rng: np.random.Generator) -> None:
    sizes = [(int(rng.integers(1, 24)), int(rng.integers(1, 24))) for _ in range(8)]
    g = maps(rng, sizes)
    library = HostLibrary(forced(g, M4, ["mean"]).source, level="-O1")
    for inputs in (random_inputs(g, rng), extremes(g, rng)):
        compare(g, library.run(list(inputs.values())), inputs)


@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m33"])
def test_emulated(cpu: str) -> None:
    rng = np.random.default_rng(3)
    g = maps(rng, [(25, 5), (17, 15), (16, 16), (8, 8), (40, 20)])
    device = Device(forced(g, M4, ["mean"]).source, Target.for_cpu(cpu))
    for inputs in (random_inputs(g, rng), extremes(g, rng)):
        compare(g, device.run(list(inputs.values())), inputs)


def test_only_whole_maps() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 6, 6, 8), Quant(0.05, 3)))
    y = g.add_input("y", TensorType(I8, (1, 6, 6, 6), Quant(0.05, 3)))
    q = Quant(0.04, 0)
    cases: list[tuple[bool, str, dict[str, Attr]]] = [
        (True, "avg_pool2d", {"kernel": (6, 6)}),
        (False, "avg_pool2d", {"kernel": (6, 5)}),
        (False, "avg_pool2d", {"kernel": (6, 6), "pad": (1, 0, 0, 0)}),
        (True, "reduce_mean", {"axes": (2, 1)}),
        (False, "reduce_mean", {"axes": (1, 3)}),
        (False, "reduce_sum", {"axes": (1, 2)}),
    ]
    for wanted, name, attrs in cases:
        op = emit(g, name, [x], attrs, quant=q).owner
        assert op is not None
        assert any(k.name == "mean-dsp" for k in candidates(op, M4)) == wanted
    op = emit(g, "reduce_mean", [y], {"axes": (1, 2)}, quant=q).owner
    assert op is not None
    assert not any(k.name == "mean-dsp" for k in candidates(op, M4))
