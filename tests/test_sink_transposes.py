"""Transposes in front of operators of a flattened tensor: those that mix elements stay behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinycc_nn.ir import F32, Graph, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("softmax", {"axis": 1}),
        ("slice", {"begin": (0, 3), "end": (1, 11), "step": (1, 1)}),
        ("pad", {"pads": (0, 0, 1, 2)}),
        ("reduce_max", {"axes": (1,), "keep": True}),
        ("relu", {}),
    ],
)
@pytest.mark.parametrize("perm", [(0, 3, 1, 2), (0, 1, 3, 2)])
def test_operators_of_a_flattened_transpose(
    op: str, attrs: dict[str, Any], perm: tuple[int, ...]
) -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 2, 3, 4)))
    t = emit(g, "transpose", [x], {"perm": perm})
    flat = emit(g, "reshape", [t], {"shape": (1, 24)})
    g.outputs = [emit(g, op, [flat], attrs)]
    (p,) = parse_pipeline("sink-transposes")
    data = {"x": np.random.default_rng(0).standard_normal((2, 1, 2, 3, 4)).astype(np.float32)}
    np.testing.assert_array_equal(run(p(g), data)[0], run(g, data)[0])
