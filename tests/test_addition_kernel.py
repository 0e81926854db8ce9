"""add-dsp on tensors of any size and with any limits: host and emulated C against the interpreter."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.support.forced import compare, forced, random_inputs
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import I8, Graph, Quant, TensorType
from tinycc_nn.ops import emit, verify
from tinycc_nn.target import Target

M4 = Target.for_cpu("cortex-m4")
needs_gcc = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on PATH"
)


def sums(rng: np.random.Generator) -> Graph:
    """Sums and differences of 1 to 23 elements, all remainders of 8 among them."""
    g = Graph("g")
    for size in range(1, 24):
        quants = [
            Quant(float(np.float32(rng.uniform(0.01, 0.2))), int(rng.integers(-128, 128)))
            for _ in range(3)
        ]
        x = g.add_input(f"x{size}", TensorType(I8, (1, size), quants[0]))
        y = g.add_input(f"y{size}", TensorType(I8, (1, size), quants[1]))
        act = "relu" if size % 3 == 0 else "none"
        attrs = {"act": act}
        g.outputs.append(emit(g, ("add", "sub")[size % 2], [x, y], attrs, quant=quants[2]))
    verify(g)
    return g


def test_on_the_host() -> None:
    rng = np.random.default_rng(1)
    g = sums(rng)
    inputs = random_inputs(g, rng)
    library = HostLibrary(forced(g, M4, ["addition"]).source, level="-O1", flags=["-Werror"])
    compare(g, library.run(list(inputs.values())), inputs)


@needs_gcc
@pytest.mark.parametrize(("cpu", "level"), [("cortex-m4", "-O2"), ("cortex-m33", "-O0")])
def test_emulated(cpu: str, level: str) -> None:
    rng = np.random.default_rng(2)
    g = sums(rng)
    inputs = random_inputs(g, rng)
    device = Device(forced(g, M4, ["addition"]).source, Target.for_cpu(cpu), level=level)
    compare(g, device.run(list(inputs.values())), inputs)


@needs_gcc
def test_instructions_for_an_element_on_cortex_m4() -> None:
    g = Graph("g")
    size = 4096
    x = g.add_input("x", TensorType(I8, (1, size), Quant(0.05, -3)))
    y = g.add_input("y", TensorType(I8, (1, size), Quant(0.04, 5)))
    g.outputs = [emit(g, "add", [x, y], {}, quant=Quant(0.07, -10))]
    device = Device(forced(g, M4, ["addition"]).source, M4)
    inputs = random_inputs(g, np.random.default_rng(3))
    assert device.profile(list(inputs.values())).instructions < 6.5 * size
