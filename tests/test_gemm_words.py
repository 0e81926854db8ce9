"""gemm-4x2-words on random layers: host and emulated C against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import channel_quant, int8, rngs
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.backends.tvm.tir.gemm_words import gemm_words
from tinycc_nn.backends.tvm.tir.template import Requantize, Window
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import I8, Graph, Quant, TensorType
from tinycc_nn.ops import emit, verify
from tinycc_nn.target import Target

M4 = Target.for_cpu("cortex-m4")


def layer(g: Graph, rng: np.random.Generator) -> None:
    """Adds a convolution of a random shape, as an output."""
    kernel = tuple(int(n) for n in rng.integers(1, 4, 2))
    size = tuple(int(rng.integers(k, 9)) for k in kernel)
    channels = int(rng.integers(1, 14)), int(rng.integers(1, 10))
    if rng.integers(4) == 0:
        channels = 32 + channels[0], channels[1]
    pad = tuple(int(n) for n in rng.integers(0, 2, 4))
    stride = tuple(int(n) for n in rng.integers(1, 3, 2))
    quant = Quant(0.05, int(rng.integers(-128, 128)))
    x = g.add_input(f"x{len(g.inputs)}", TensorType(I8, (1, *size, channels[0]), quant))
    weights = int8(rng, channels[1], *kernel, channels[0])
    w = g.constant("w", weights, channel_quant(rng, channels[1]))
    b = g.constant("b", rng.integers(-9000, 9000, channels[1]).astype(np.int32))
    scale = float(np.float32(0.05 * 0.05 * 70 * np.sqrt(weights[0].size) * rng.uniform(0.3, 3)))
    attrs = {"pad": pad, "stride": stride}
    g.outputs.append(emit(g, "conv2d", [x, w, b], attrs, quant=Quant(scale, 3)))


def layers(rng: np.random.Generator) -> Graph:
    g = Graph("g")
    for _ in range(6):
        layer(g, rng)
    verify(g)
    return g


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(rngs)
def test_random_layers_on_the_host(rng: np.random.Generator) -> None:
    g = layers(rng)
    library = HostLibrary(forced(g, M4, ["gemm_words"]).source, level="-O1")
    inputs = random_inputs(g, rng)
    compare(g, library.run(list(inputs.values())), inputs)


@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m33"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_emulated(cpu: str, level: str) -> None:
    rng = np.random.default_rng(4)
    g, target = layers(rng), Target.for_cpu(cpu)
    device = Device(forced(g, target, ["gemm_words"]).source, target, level=level)
    inputs = random_inputs(g, rng)
    compare(g, device.run(list(inputs.values())), inputs)


def test_only_where_blocks_fit() -> None:
    rng = np.random.default_rng(4)
    for op in (v.owner for v in layers(rng).outputs):
        assert op is not None
        offered = any(k.family == "gemm_words" for k in candidates(op, M4))
        pixels = op.type.shape[1] * op.type.shape[2]
        assert offered == (pixels >= 4 and op.type.shape[3] % 2 == 0)
        assert not any(
            k.family == "gemm_words" for k in candidates(op, Target.for_cpu("cortex-m3"))
        )
    with pytest.raises(ValueError, match="four pixels"):
        gemm_words(Window(1, 3, 4), 2, 0, Requantize())
    with pytest.raises(ValueError, match="two channels"):
        gemm_words(Window(4, 4, 4), 3, 0, Requantize())
