"""Small int8 graphs with seeded weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tinycc_nn.ir import Graph
from tinycc_nn.ir.graph import Attr
from tinycc_nn.ir.types import I8, Blob, Quant, TensorType
from tinycc_nn.ops import emit


def chain(
    *widths: int, size: int = 6, kernel: int = 3, seed: int = 0, zero: int = -128, act: str = "none"
) -> Graph:
    """Convolutions of stride 1, each of the next width of channels, on [1, size, size, width]."""
    random = np.random.default_rng(seed)
    graph = Graph("g")
    x = graph.add_input("x", TensorType(I8, (1, size, size, widths[0]), Quant(0.05, zero)))
    p = kernel // 2
    attrs: dict[str, Attr] = {"pad": (p, p, p, p)}
    if act != "none":
        attrs["act"] = act
    for i, (c, n) in enumerate(pairwise(widths)):
        scales = random.uniform(0.004, 0.008, n).astype(np.float32)
        weights = random.integers(-127, 128, (n, kernel, kernel, c)).astype(np.int8)
        w = graph.constant("w", weights, Quant(Blob("ws", scales), 0, 0))
        bias = random.integers(-300, 300, n).astype(np.int32)
        b_scales = Blob("bs", (scales * np.float32(0.05)).astype(np.float32))
        b = graph.constant("b", bias, Quant(b_scales, 0, 0))
        x = emit(graph, "conv2d", [x, w, b], attrs, result=f"y{i}", quant=Quant(0.05, zero))
    graph.outputs = [x]
    return graph
