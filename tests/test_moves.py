"""concat, slice and pad as copies, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.ops import floats, int8
from tinycc_nn import reference
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.device import HostLibrary
from tinycc_nn.ir import F32, I8, Attr, Graph, Quant, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.target import Target

Q = Quant(0.1, -5)
IMAGE: list[tuple[int, ...]] = [(1, 5, 4, 3)]
CASES: list[tuple[str, dict[str, Attr], list[tuple[int, ...]]]] = [
    ("concat", {"axis": 3}, [(1, 5, 4, 3), (1, 5, 4, 2), (1, 5, 4, 1)]),
    ("concat", {"axis": 1}, [(1, 2, 4, 3), (1, 3, 4, 3)]),
    ("concat", {"axis": 0}, [(2, 3), (1, 3), (4, 3)]),
    ("slice", {"begin": (0, 1, 0, 0), "end": (1, 4, 4, 3), "step": (1, 1, 1, 1)}, IMAGE),
    ("slice", {"begin": (0, 1, 2, 1), "end": (1, 4, 4, 3), "step": (1, 1, 1, 1)}, IMAGE),
    ("slice", {"begin": (0, 0, 0, 0), "end": (1, 5, 4, 3), "step": (1, 1, 1, 1)}, IMAGE),
    ("pad", {"pads": (0, 0, 1, 2, 0, 1, 0, 0)}, IMAGE),
    ("pad", {"pads": (1, 0, 0, 0, 0, 0, 3, 1)}, IMAGE),
]


@pytest.mark.parametrize("is_int8", [False, True], ids=["f32", "i8"])
def test_moves(is_int8: bool) -> None:
    g, rng, inputs = Graph("g"), np.random.default_rng(3), {}
    for name, attrs, shapes in CASES:
        operands = [
            g.add_input("x", TensorType(I8, s, Q) if is_int8 else TensorType(F32, s))
            for s in shapes
        ]
        for v in operands:
            shape = (1, *v.type.shape)
            inputs[v.name] = int8(rng, *shape) if is_int8 else floats(rng, *shape)
        g.outputs.append(emit(g, name, operands, attrs))
    options = BackendOptions("net", kernels={v.name: "moves" for v in g.outputs})
    artifact = load_backend("tvm").compile(g, Target.for_cpu("cortex-m0"), options)
    found = HostLibrary(artifact.source).run(list(inputs.values()))
    for v, y, want in zip(g.outputs, found, reference.run(g, inputs), strict=True):
        np.testing.assert_array_equal(y, want.reshape(-1), err_msg=str(v))


def test_a_fill_of_different_bytes_is_not_offered() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 3)))
    g.outputs = [emit(g, "pad", [x], {"pads": (0, 0, 1, 1), "value": 2.0}, result="y")]
    artifact = load_backend("tvm").compile(g, Target.for_cpu("cortex-m4"), BackendOptions("net"))
    assert artifact.layers[0].alternatives == ("generic",)
