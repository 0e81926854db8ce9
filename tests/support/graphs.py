"""Random graphs for Hypothesis: networks as exports make them, float and int8, with dead channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinycc_nn.ir import F32, I8, Array, Blob, DType, Graph, Quant, TensorType, Value
from tinycc_nn.ops import emit

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass
class Builder:
    """Adds random layers to a graph. Images are [1, h, w, c] where `nchw` is false."""

    draw: st.DrawFn
    dtype: DType
    graph: Graph = field(default_factory=lambda: Graph("g"))

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.draw(st.integers(0, 2**32 - 1)))

    def pick(self, *choices: object) -> int:
        """The index of one of the choices."""
        return self.draw(st.integers(0, len(choices) - 1))

    @property
    def quant(self) -> Quant | None:
        if self.dtype == F32:
            return None
        return Quant(float(self.random.uniform(0.02, 0.2)), int(self.random.integers(-128, 128)))

    def input(self, *shape: int) -> Value:
        return self.graph.add_input("x", TensorType(self.dtype, shape, self.quant))

    def emit(self, op: str, *operands: Value, quant: Quant | None = None, **attrs: Any) -> Value:
        return emit(self.graph, op, operands, attrs, quant=quant or self.quant)

    def weights(self, *shape: int) -> Value:
        """Weights with some output and some input channels all zero."""
        if self.dtype == F32:
            a: Array = self.random.standard_normal(shape).astype(np.float32)
            quant = None
        else:
            a = self.random.integers(-127, 128, shape).astype(np.int8)
            scales = self.random.uniform(0.002, 0.02, shape[0]).astype(np.float32)
            quant = Quant(Blob("scale", scales), 0, 0)
            if self.random.random() < 0.3:
                quant = Quant(float(scales[0]), 0)
        a[self.random.random(shape[0]) < 0.25] = 0
        a[..., self.random.random(shape[-1]) < 0.25] = 0
        return self.graph.constant("w", a, quant)

    def bias(self, x: Value, w: Value) -> list[Value]:
        n = w.type.shape[0]
        if self.random.random() < 0.3:
            return []
        if self.dtype == F32:
            return [self.graph.constant("b", self.random.standard_normal(n).astype(np.float32))]
        b = self.random.integers(-20000, 20000, n).astype(np.int32)
        b[self.random.random(n) < 0.3] -= 200000
        assert x.type.quant is not None and w.type.quant is not None
        scales = (x.type.quant.scales() * w.type.quant.scales()).astype(np.float32)
        quant = Quant(Blob("scale", np.broadcast_to(scales, (n,))), 0, 0)
        return [self.graph.constant("b", b, quant)]

    def act(self) -> dict[str, Any]:
        acts: list[dict[str, Any]] = [
            {}, {"act": "relu"}, {"act": "relu6"}, {"act": "clip", "act_min": -0.5, "act_max": 1.5}
        ]  # fmt: skip
        return acts[self.pick(*acts)]

    def conv(self, x: Value) -> Value:
        c = x.type.shape[3]
        k, out = self.draw(st.sampled_from([1, 2, 3])), self.draw(st.integers(1, 5))
        k = min(k, *x.type.shape[1:3])
        pad = (0, 0, 0, 0) if self.draw(st.booleans()) else (1, 0, 0, 1)
        if self.draw(st.booleans()):
            w = self.weights(c, k, k, 1)
            return self.emit("conv2d", x, w, *self.bias(x, w), pad=pad, groups=c, **self.act())
        w = self.weights(out, k, k, c)
        return self.emit("conv2d", x, w, *self.bias(x, w), pad=pad, **self.act())

    def unary(self, x: Value) -> Value:
        name = self.draw(st.sampled_from(["relu", "clip", "sigmoid", "leaky_relu", "abs"]))
        attrs = {"min": -0.7, "max": 0.9} if name == "clip" else {}
        keep = self.draw(st.booleans()) and name in ("relu", "clip")
        return self.emit(name, x, quant=x.type.quant if keep else None, **attrs)

    def pool(self, x: Value) -> Value:
        if min(x.type.shape[1:3]) < 2:
            return x
        name = self.draw(st.sampled_from(["max_pool2d", "avg_pool2d"]))
        return self.emit(name, x, kernel=(2, 2), stride=(2, 1))

    def pad(self, x: Value) -> Value:
        return self.emit("pad", x, pads=(0, 0, 1, 0, 0, 1, 0, 0))

    def residual(self, x: Value) -> Value:
        c = x.type.shape[3]
        w = self.weights(c, 1, 1, c)
        y = self.emit("conv2d", x, w, *self.bias(x, w), **self.act())
        return self.emit(self.draw(st.sampled_from(["add", "sub", "mul"])), x, y, **self.act())

    def branches(self, x: Value) -> Value:
        w, v = self.weights(2, 1, 1, x.type.shape[3]), self.weights(3, 1, 1, x.type.shape[3])
        q = self.quant
        a = self.emit("conv2d", x, w, quant=q)
        b = self.emit("conv2d", x, v, quant=q, **self.act())
        return self.emit("concat", a, b, axis=3)

    def scale(self, x: Value) -> Value:
        if self.dtype != F32:
            return x
        c = x.type.shape[3]
        k = self.random.standard_normal((1, 1, 1, c)).astype(np.float32)
        constant = self.graph.constant("k", k)
        if self.draw(st.booleans()):
            return self.emit(self.draw(st.sampled_from(["mul", "add", "sub"])), x, constant)
        p = [self.random.standard_normal(c).astype(np.float32) for _ in range(4)]
        p[3] = np.abs(p[3]) + np.float32(0.1)
        return self.emit("batch_norm", x, *(self.graph.constant("p", a) for a in p))

    def nchw(self, x: Value) -> Value:
        """Some NCHW operators, as exports have them between two convolutions."""
        y = self.emit("transpose", x, perm=TO_NCHW)
        y = self.unary(y)
        match self.draw(st.integers(0, 3)):
            case 0:
                y = self.emit("pad", y, pads=(0, 0, 0, 0, 1, 0, 0, 1))
            case 1:
                n, c, h, w = y.type.shape
                y = self.emit(
                    "slice", y, begin=(0, c - 1, 0, 0), end=(n, -1, h, w), step=(1, -1, 1, 1)
                )
            case 2:
                y = self.emit("concat", y, y, axis=1)
        return self.emit("transpose", y, perm=TO_NHWC)

    def head(self, x: Value) -> Value:
        if self.draw(st.booleans()):
            x = self.emit("transpose", x, perm=TO_NCHW)
        if self.draw(st.booleans()):
            x = self.emit("reduce_mean", x, axes=(1, 2) if self.draw(st.booleans()) else (2, 3))
        flat = self.emit("reshape", x, shape=(1, x.type.size))
        w = self.weights(3, x.type.size)
        return self.emit("dense", flat, w, *self.bias(flat, w))


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """A chain of random layers, with branches, on images of 4x5 pixels and 3 channels."""
    b = Builder(draw, draw(st.sampled_from([F32, I8])))
    x = b.input(1, 4, 5, 3)
    steps = [b.conv, b.conv, b.unary, b.pool, b.pad, b.residual, b.branches, b.scale, b.nchw]
    for step in draw(st.lists(st.sampled_from(steps), min_size=1, max_size=6)):
        x = step(x)
    b.graph.outputs = [b.head(x) if draw(st.booleans()) else x]
    return b.graph


def samples(graph: Graph, n: int = 6) -> dict[str, Array]:
    """Random inputs by name, as stored."""
    random = np.random.default_rng(1)
    return {
        v.name: random.standard_normal((n, *v.type.shape)).astype(np.float32)
        if v.type.dtype.is_float
        else random.integers(-128, 128, (n, *v.type.shape)).astype(v.type.dtype.numpy)
        for v in graph.inputs
    }
