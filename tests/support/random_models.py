"""Random small networks as ONNX models: the operators, layouts and idioms that exporters write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

from tinycc_nn.ir.types import Array

MAX_ELEMENTS = 1500
ACTIVATIONS = ["Relu", "Relu6", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Sigmoid", "Tanh", "Elu"]
ACTIVATIONS += ["HardSigmoid", "Gelu", "Silu"]
UNROLLED = {"Relu6": 1, "HardSwish": 14, "Gelu": 20}
"""Operators that are younger than some opsets, with the opset that has them."""


class RandomModel:
    """A model grown layer by layer from `seed`; images are [1, c, h, w]."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.opset = int(self.random.choice([7, 9, 11, 12, 13, 15, 17, 18, 20, 21]))
        self.nodes: list[NodeProto] = []
        self.arrays: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    def model(self) -> bytes:
        """The serialized ONNX model."""
        info, kind = helper.make_tensor_value_info, TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "random",
            [info(n, kind, self.shapes[n]) for n in self.inputs],
            [info(n, kind, self.shapes.get(n)) for n in self.outputs],
            [numpy_helper.from_array(a, n) for n, a in self.arrays.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return bytes(made.SerializeToString())

    def chance(self, p: float) -> bool:
        return bool(self.random.random() < p)

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.random.integers(low, high + 1))

    def input(self, *shape: int) -> str:
        name = f"in{len(self.inputs)}"
        self.inputs.append(name)
        self.shapes[name] = shape
        return name

    def const(self, array: Array, dtype: type[np.generic] = np.float32) -> str:
        name = f"c{len(self.arrays)}"
        self.arrays[name] = np.asarray(array, dtype)
        return name

    def weights(self, *shape: int) -> str:
        """Normal, of a variance that keeps magnitudes; some output channels are all zero."""
        fan = max(1, int(np.prod(shape[1:])))
        a = self.random.normal(0, 1.2 / np.sqrt(fan), shape)
        if self.chance(0.3):
            a[self.random.random(shape[0]) < 0.3] = 0
        return self.const(a)

    def ints(self, *values: int) -> str:
        return self.const(np.array(values), np.int64)

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """The first result's name."""
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        attributes = {k: v for k, v in attributes.items() if v is not None}
        node = helper.make_node(op, inputs, names, **attributes)
        self.nodes.append(node)
        info, kind = helper.make_tensor_value_info, TensorProto.FLOAT
        used = [n for n in dict.fromkeys(inputs) if n]
        graph = helper.make_graph(
            [node],
            "one",
            [info(n, kind, self.shapes[n]) for n in used if n in self.shapes],
            [info(n, kind, None) for n in names],
            [numpy_helper.from_array(self.arrays[n], n) for n in used if n in self.arrays],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        one = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        inferred = shape_inference.infer_shapes(one, strict_mode=True, data_prop=True)
        for o in inferred.graph.output:
            self.shapes[o.name] = tuple(d.dim_value for d in o.type.tensor_type.shape.dim)
        return names[0]

    def window(self, x: str, *, dilate: bool) -> dict[str, Any]:
        """Attributes of a window that fits the image `x`."""
        side = self.shapes[x][2:]
        kernel = [min(self.between(1, 4), n) for n in side]
        fits = dilate and all((k - 1) * 2 < n for k, n in zip(kernel, side, strict=True))
        found: dict[str, Any] = {"kernel_shape": kernel}
        if self.chance(0.6):
            found["strides"] = [self.between(1, 3) for _ in side]
        if fits and self.chance(0.3):
            found["dilations"] = [self.between(1, 2) for _ in side]
        dilations = found.get("dilations", [1] * len(side))
        span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        strides = found.get("strides", [1] * len(side))
        inside = all(k >= s for k, s in zip(kernel, strides, strict=True))
        if inside and "dilations" not in found and self.chance(0.2):
            found["auto_pad"] = self.one_of("SAME_UPPER", "SAME_LOWER", "VALID")
        elif self.chance(0.7):
            most = [min(k, s) - 1 for k, s in zip(kernel, span, strict=True)] * 2
            found["pads"] = [self.between(0, max(0, n)) for n in most]
        return found

    def conv(self, x: str) -> str:
        c = self.shapes[x][1]
        attributes = self.window(x, dilate=True)
        style = self.one_of("full", "full", "pointwise", "depthwise", "grouped")
        out, group = self.between(1, 10), 1
        if style == "pointwise":
            attributes = {"kernel_shape": [1] * (len(self.shapes[x]) - 2)}
        elif style == "depthwise":
            group, out = c, c * self.one_of(1, 1, 1, 2)
        elif style == "grouped" and c % 2 == 0:
            group, out = 2, 2 * self.between(1, 4)
        w = self.weights(out, c // group, *attributes["kernel_shape"])
        bias = [self.const(self.random.normal(0, 0.3, out))] if self.chance(0.7) else []
        y = self.node("Conv", x, w, *bias, group=group, **attributes)
        y = self.batch_norm(y) if self.chance(0.3) else y
        return self.activation(y) if self.chance(0.6) else y

    def conv_transpose(self, x: str) -> str:
        c, out = self.shapes[x][1], self.between(1, 4)
        side = self.shapes[x][2:]
        k = [self.between(1, 3) for _ in side]
        pads = [self.between(0, (n - 1) // 2) for n in k] * 2
        strides = [self.between(1, 2) for _ in side]
        extra = [self.between(0, s - 1) for s in strides]
        w = self.weights(c, out, *k)
        options: dict[str, Any] = {"kernel_shape": k, "strides": strides, "pads": pads}
        return self.node("ConvTranspose", x, w, output_padding=extra, **options)

    def batch_norm(self, x: str) -> str:
        c = self.shapes[x][1]
        scale = self.const(self.random.uniform(0.5, 1.5, c) * self.random.choice([1, 1, -1], c))
        shift, mean = (self.const(self.random.normal(0, 0.3, c)) for _ in range(2))
        return self.node(
            "BatchNormalization", x, scale, shift, mean, self.const(self.random.uniform(0.3, 2, c))
        )

    def activation(self, x: str) -> str:
        op = self.one_of(*ACTIVATIONS)
        if op == "Silu":
            return self.node("Mul", x, self.node("Sigmoid", x))
        if self.opset < UNROLLED.get(op, 1):
            op = "Relu"
        if op in ("Relu6", "Clip"):
            low, high = (0.0, 6.0) if op == "Relu6" else (self.one_of(-1.0, 0.0, 0.1), 1.5)
            if self.opset < 11:
                return self.node("Clip", x, min=low, max=high)
            bounds = [self.const(np.array(v)) for v in (low, high)]
            return self.node("Clip", x, *bounds[: self.one_of(1, 2, 2)])
        if op == "PRelu":
            shape = (self.shapes[x][1],) + (1,) * (len(self.shapes[x]) - 2)
            return self.node(op, x, self.const(self.random.normal(0.2, 0.1, shape)))
        return self.node(op, x, alpha=0.2 if op == "LeakyRelu" else None)

    def pool(self, x: str) -> str:
        op = self.one_of("MaxPool", "AveragePool")
        dilate = op == "MaxPool" and self.opset >= 10
        options = self.window(x, dilate=dilate)
        strides = options.get("strides", [1] * len(options["kernel_shape"]))
        inside = all(k >= s for k, s in zip(options["kernel_shape"], strides, strict=True))
        if self.opset >= 10 and inside and "auto_pad" not in options and self.chance(0.4):
            options["ceil_mode"] = 1
        if op == "AveragePool" and self.chance(0.4):
            options["count_include_pad"] = 1
        return self.node(op, x, **options)

    def residual(self, x: str) -> str:
        shape = self.shapes[x]
        w = self.weights(shape[1], shape[1], *[1] * (len(shape) - 2))
        y = self.node("Conv", x, w)
        op = self.one_of("Add", "Add", "Add", "Sub", "Mul", "Max" if self.opset >= 8 else "Add")
        y = self.node(op, *self.one_of((x, y), (y, x)))
        return self.activation(y) if self.chance(0.5) else y

    def gate(self, x: str) -> str:
        c = self.shapes[x][1]
        y = self.node(self.one_of("GlobalAveragePool", "GlobalMaxPool"), x)
        y = self.node("Conv", y, self.weights(c, c, *[1] * (len(self.shapes[x]) - 2)))
        return self.node("Mul", x, self.node(self.one_of("Sigmoid", "HardSigmoid"), y))

    def branches(self, x: str) -> str:
        parts = [self.conv_same(x) if self.chance(0.7) else x for _ in range(self.between(2, 3))]
        return self.node("Concat", *parts, axis=1)

    def conv_same(self, x: str) -> str:
        shape = self.shapes[x]
        k = [self.one_of(1, 3)] * (len(shape) - 2)
        w = self.weights(self.between(1, 4), shape[1], *k)
        return self.node("Conv", x, w, pads=[n // 2 for n in k] * 2)

    def split(self, x: str) -> str:
        c = self.shapes[x][1]
        if c < 2:
            return x
        sizes = [c // 2, c - c // 2]
        first = f"t{len(self.nodes)}_"
        if self.opset < 13:
            self.node("Split", x, outputs=2, axis=1, split=sizes)
        else:
            self.node("Split", x, self.ints(*sizes), outputs=2, axis=1)
        names = [first + "0", first + "1"]
        if self.chance(0.5):
            names[1] = self.activation(names[1])
        return self.node("Concat", *names[:: self.one_of(1, -1)], axis=1)

    def resize(self, x: str) -> str:
        if self.opset < 11 or len(self.shapes[x]) != 4:
            return x
        scale = self.const(np.array([1, 1, 2, self.one_of(1, 2, 3)]))
        mode = self.one_of("nearest", "linear")
        where = self.one_of("asymmetric", "half_pixel", "align_corners")
        rounding = "floor" if mode == "nearest" else None
        roi = "" if self.opset >= 13 else self.const(np.zeros(0))
        return self.node(
            "Resize", x, roi, scale,
            mode=mode, coordinate_transformation_mode=where, nearest_mode=rounding,
        )  # fmt: skip

    def depth_to_space(self, x: str) -> str:
        shape = self.shapes[x]
        if len(shape) != 4:
            return x
        if shape[2] % 2 == shape[3] % 2 == 0 and self.chance(0.5):
            return self.node("SpaceToDepth", x, blocksize=2)
        if shape[1] % 4:
            return x
        mode = self.one_of("DCR", "CRD") if self.opset >= 11 else None
        return self.node("DepthToSpace", x, blocksize=2, mode=mode)

    def pad(self, x: str) -> str:
        n = len(self.shapes[x]) - 2
        pads = [0, 0, *(self.between(0, 2) for _ in range(n))] * 2
        mode = self.one_of("constant", "constant", "reflect", "edge")
        if mode == "reflect" and min(self.shapes[x][2:]) < 3:
            mode = "edge"
        if self.opset < 11:
            return self.node("Pad", x, pads=pads, mode=mode)
        value = [self.const(np.array(self.one_of(0.0, 0.5)))] if mode == "constant" else []
        return self.node("Pad", x, self.ints(*pads), *value, mode=mode)

    def slice(self, x: str) -> str:
        axis = self.between(1, len(self.shapes[x]) - 1)
        size = self.shapes[x][axis]
        begin = self.between(0, size - 1)
        end = self.between(begin + 1, size)
        if self.opset < 10:
            return self.node("Slice", x, starts=[begin], ends=[end], axes=[axis])
        if self.chance(0.3):
            last = self.ints(-(size + 1))
            return self.node("Slice", x, self.ints(-1), last, self.ints(axis), self.ints(-1))
        step = self.ints(self.one_of(1, 2))
        return self.node("Slice", x, self.ints(begin), self.ints(end), self.ints(axis), step)

    def transposed(self, x: str) -> str:
        """The detour of channels-last frameworks, sometimes without the way back."""
        n = len(self.shapes[x])
        y = self.node("Transpose", x, perm=[0, *range(2, n), 1])
        y = self.node(self.one_of("Relu", "Sigmoid"), y)
        if self.chance(0.3):
            return self.node("Transpose", y, perm=[0, *self.random.permutation(range(1, n))])
        return self.node("Transpose", y, perm=[0, n - 1, *range(1, n - 1)])

    def scale(self, x: str) -> str:
        c = self.shapes[x][1]
        k = self.random.uniform(0.3, 1.5, (c,) + (1,) * (len(self.shapes[x]) - 2))
        op = self.one_of("Mul", "Add", "Sub", "Div")
        names = (x, self.const(k))
        return self.node(op, *(names[::-1] if op == "Sub" and self.chance(0.5) else names))

    def reduce(self, x: str) -> str:
        """A reduction over the image that keeps the axes."""
        axes = list(range(2, len(self.shapes[x])))
        op = self.one_of("ReduceMean", "ReduceMax", "ReduceSum")
        as_input = self.opset >= (13 if op == "ReduceSum" else 18)
        if as_input:
            return self.node(op, x, self.ints(*axes), keepdims=1)
        return self.node(op, x, axes=axes, keepdims=1)

    def softmax(self, x: str) -> str:
        axis = self.one_of(1, len(self.shapes[x]) - 1) if self.opset >= 13 else 1
        return self.node("Softmax", x, axis=axis)

    def head(self, x: str) -> str:
        """From an image to a vector of classes."""
        if self.chance(0.5):
            x = self.node("GlobalAveragePool", x)
        if self.chance(0.5):
            x = self.node("Flatten", x)
        else:
            x = self.node("Reshape", x, self.ints(1, -1))
        n, out = self.shapes[x][1], self.between(1, 12)
        if self.chance(0.6):
            flip = self.between(0, 1)
            w = self.weights(*((out, n) if flip else (n, out)))
            x = self.node("Gemm", x, w, self.const(self.random.normal(0, 0.2, out)), transB=flip)
        else:
            x = self.node("MatMul", x, self.weights(n, out))
            if self.chance(0.5):
                x = self.node("Add", x, self.const(self.random.normal(0, 0.2, out)))
        x = self.activation(x) if self.chance(0.4) and out > 1 else x
        return self.softmax(x) if self.chance(0.4) else x

    def body(self, x: str, layers: int) -> str:
        steps: list[Callable[[str], str]] = [
            self.conv, self.conv, self.conv, self.conv, self.pool, self.residual, self.gate,
            self.branches, self.split, self.resize, self.depth_to_space, self.pad, self.slice,
            self.transposed, self.scale, self.activation, self.conv_transpose, self.batch_norm,
            self.reduce, self.softmax,
        ]  # fmt: skip
        for _ in range(layers):
            keep = len(self.nodes)
            try:
                y = self.one_of(*steps)(x)
            except shape_inference.InferenceError:
                del self.nodes[keep:]
                continue
            shape = self.shapes[y]
            if min(shape) < 1 or np.prod(shape) > MAX_ELEMENTS:
                del self.nodes[keep:]
                continue
            x = y
        return x


def random_model(seed: int) -> bytes:
    """A serialized ONNX model, always the same for the seed."""
    m = RandomModel(seed)
    shape = (1, m.one_of(1, 2, 3, 4, 8), m.between(3, 9), m.between(2, 8))
    x = m.input(*(shape[:3] if m.chance(0.15) else shape))
    image = m.body(x, m.between(1, 7))
    if m.chance(0.1):
        other = m.input(*m.shapes[image])
        image = m.node("Add", image, other)
    m.outputs = [image] if m.chance(0.4) and image != x else [m.head(image)]
    if m.chance(0.1) and image not in (x, *m.outputs):
        m.outputs.append(image)
    used = {n for node in m.nodes for n in node.input}
    m.arrays = {k: v for k, v in m.arrays.items() if k in used}
    return m.model()
