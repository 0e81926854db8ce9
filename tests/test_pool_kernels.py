"""max_pool2d and avg_pool2d over neighbouring channels, against the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import rngs
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import F32, I8, Attr, Graph, Quant, TensorType
from tinycc_nn.ops import emit, verify
from tinycc_nn.target import Target

Case = tuple[str, dict[str, Attr], tuple[int, ...], bool]


@st.composite
def pools(draw: st.DrawFn) -> Case:
    """Operator, attributes, input shape, whether int8; every window has a pixel of the image."""
    name = draw(st.sampled_from(["max_pool2d", "avg_pool2d"]))
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = draw(pairs), draw(pairs), draw(pairs)
    pad = tuple(draw(st.integers(0, kernel[i // 2] - 1)) for i in range(4))
    size = [dilation[i] * (kernel[i] - 1) + 1 + draw(st.integers(0, 6)) for i in range(2)]
    if draw(st.booleans()):
        dilation = 1, 1
    attrs: dict[str, Attr] = {
        "kernel": kernel, "stride": stride, "dilation": dilation, "pad": pad
    }  # fmt: skip
    if name == "avg_pool2d":
        attrs["count_pad"] = draw(st.booleans())
    return name, attrs, (1, *size, draw(st.integers(1, 40))), draw(st.booleans())


def network(cases: Sequence[Case]) -> Graph:
    g = Graph("g")
    for name, attrs, shape, is_int8 in cases:
        kind = TensorType(I8, shape, Quant(0.05, -7)) if is_int8 else TensorType(F32, shape)
        quant = Quant(0.04, 3) if is_int8 and name == "avg_pool2d" else None
        g.outputs.append(emit(g, name, [g.add_input("x", kind)], attrs, quant=quant))
    verify(g)
    return g


lists = st.lists(pools(), min_size=3, max_size=8)


@settings(max_examples=10, deadline=None)
@given(lists, st.sampled_from(["cortex-m0plus", "cortex-m4"]), st.integers(0, 1), rngs)
def test_on_the_host(cases: list[Case], cpu: str, pick: int, rng: np.random.Generator) -> None:
    g = network(cases)
    inputs = random_inputs(g, rng)
    library = HostLibrary(forced(g, Target.for_cpu(cpu), ("pool",), pick).source, level="-O1")
    compare(g, library.run(list(inputs.values())), inputs)


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
@settings(max_examples=2, deadline=None)
@given(cases=lists, rng=rngs)
def test_on_cores(cpu: str, cases: list[Case], rng: np.random.Generator) -> None:
    """Also that nothing beside the buffers is touched: they are guarded."""
    g, target = network(cases), Target.for_cpu(cpu)
    inputs = random_inputs(g, rng)
    device = Device(forced(g, target, ("pool",), 1).source, target)
    compare(g, device.run(list(inputs.values())), inputs)
