"""A convolution of one channel to one channel is neither mixing nor depthwise: every kernel's bits."""

from __future__ import annotations

import numpy as np
import pytest

from tinycc_nn.accuracy import mismatches
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.device import HostLibrary
from tinycc_nn.ir import I8, Graph, TensorType
from tinycc_nn.ir.types import Quant
from tinycc_nn.measure import run_samples
from tinycc_nn.ops import emit
from tinycc_nn.passmanager import made_up_samples
from tinycc_nn.reference import run
from tinycc_nn.target import Target


def add_layer(g: Graph, name: str, kernel: int) -> None:
    """A layer of its own, on an input of its own."""
    random = np.random.default_rng(kernel)
    x = g.add_input(f"x_{name}", TensorType(I8, (1, 9, 7, 1), Quant(0.05, 3)))
    w = random.integers(-127, 128, (1, kernel, kernel, 1)).astype(np.int8)
    b = random.integers(-500, 500, 1).astype(np.int32)
    operands = [
        x, g.constant(f"w_{name}", w, Quant(0.01, 0)), g.constant(f"b_{name}", b, Quant(0.0005, 0))
    ]  # fmt: skip
    attrs = {"pad": (kernel // 2,) * 4}
    g.outputs.append(emit(g, "conv2d", operands, attrs, result=f"y_{name}", quant=Quant(0.1, -5)))


@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m3", "cortex-m0plus"])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_every_kernel(cpu: str, kernel: int) -> None:
    target, one = Target.for_cpu(cpu), Graph("one")
    add_layer(one, "only", kernel)
    owner = one.outputs[0].owner
    assert owner is not None
    names = sorted({k.name for k in candidates(owner, target)})
    assert len(names) > 5
    g = Graph("g")
    for i in range(len(names)):
        add_layer(g, str(i), kernel)
    forced = {f"y_{i}": name for i, name in enumerate(names)}
    artifact = load_backend("tvm").compile(g, target, BackendOptions("g", "O3", forced))
    samples = made_up_samples(g)
    found = run_samples(HostLibrary(artifact.source), g, samples)
    wrong = [
        name
        for name, want, got in zip(names, run(g, samples), found, strict=True)
        if mismatches([want], [got]).any()
    ]
    assert not wrong
