"""A C network of single kernels made from templates, with random weights and known outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tinycc_nn.backends.tvm.lower import emit_c
from tinycc_nn.backends.tvm.prelude import helpers_in, prelude
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, folded_bias
from tinycc_nn.source import NetworkSource, Port

Int64 = npt.NDArray[np.int64]
Int8 = npt.NDArray[np.int8]


@dataclass
class Layer:
    """A template with the numbers it was made from; weights and multipliers come from ``seed``."""

    template: Template
    window: Window
    channels: int
    input_zero: int
    requantize: Requantize
    depthwise: bool = False
    in_place: bool = False
    seed: int = 0
    weights: Int8 = field(init=False)
    bias: npt.NDArray[np.int32] = field(init=False)
    multiplier: npt.NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        kernel = self.window.kernel
        depth = kernel[0] * kernel[1] * (1 if self.depthwise else self.window.channels)
        shape = (*kernel, 1) if self.depthwise else (*kernel, self.window.channels)
        self.weights = random.integers(-127, 128, (self.channels, *shape), np.int8)
        self.bias = random.integers(-3000, 3000, self.channels, np.int32)
        count = self.requantize.channels(self.channels)
        if self.requantize.shift == 32:
            factors = random.uniform(0.1, 1.0, count) / np.sqrt(depth) / 100
        else:
            factors = random.uniform(0.5, 1.0, count) * 2.0 ** (31 - self.requantize.shift)
        self.multiplier = np.round(factors * 2.0**self.requantize.shift).astype(np.int32)
        if self.requantize.shift < 32:  # large factors belong to small sums
            self.weights //= 64
            self.bias //= 64

    @property
    def macs(self) -> int:
        return int(self.window.pixels * self.weights.size)

    def packed(self) -> npt.NDArray[np.int8] | npt.NDArray[np.int32]:
        weights = self.weights
        return self.template.pack(
            np.ascontiguousarray(weights[..., 0].transpose(1, 2, 0)) if self.depthwise else weights
        )

    def reference(self, x: Int8) -> Int8:
        """The output by definition, in 64 bits."""
        w, zero = self.window, self.input_zero
        top, left, bottom, right = w.pad
        image = np.zeros((w.height + top + bottom, w.width + left + right, w.channels), np.int64)
        inner = x.reshape(w.height, w.width, w.channels).astype(np.int64) - zero
        image[top : top + w.height, left : left + w.width] = inner
        sums: Int64 = np.zeros((w.out_height, w.out_width, self.channels), np.int64) + self.bias
        for i in range(w.kernel[0]):
            for j in range(w.kernel[1]):
                y0, x0 = i * w.dilation[0], j * w.dilation[1]
                y1 = y0 + (w.out_height - 1) * w.stride[0] + 1
                x1 = x0 + (w.out_width - 1) * w.stride[1] + 1
                part = image[y0 : y1 : w.stride[0], x0 : x1 : w.stride[1]]
                factors = self.weights[:, i, j].astype(np.int64)
                if self.depthwise:
                    sums += np.repeat(part, self.channels // w.channels, axis=2) * factors[:, 0]
                else:
                    sums += part @ factors.T
        q = self.requantize
        scaled = (sums * self.multiplier.astype(np.int64) + (1 << (q.shift - 1))) >> q.shift
        return np.asarray(np.clip(scaled + q.zero, q.low, q.high), np.int8).ravel()


def network(layers: Sequence[Layer]) -> NetworkSource:
    """One input, one output and one call for each layer; scratch is an arena of its exact size.

    A layer in place works on a copy of its input in the arena.
    """
    functions = {f"net_k{i}": layer.template.function() for i, layer in enumerate(layers)}
    aliased = [f"net_k{i}" for i, layer in enumerate(layers) if layer.in_place]
    texts = emit_c(functions, aliased=aliased, qualifier="static __attribute__((noinline))")
    micro: dict[str, str] = {}
    calls, data, arena = [], [], 0
    for i, layer in enumerate(layers):
        template, inputs = layer.template, layer.window.height * layer.window.width
        inputs *= layer.window.channels
        micro |= template.micro_kernels
        bias = folded_bias(layer.bias, layer.weights, layer.input_zero + template.input_offset)
        for name, array in (("w", layer.packed()), ("b", bias), ("m", layer.multiplier)):
            numbers = ",".join(map(str, array.ravel().tolist()))
            data.append(f"static const {array.dtype}_t net_{name}{i}[] = {{{numbers}}};")
        place = -(-template.scratch // 4) * 4
        scratch = ", arena" if template.scratch else ""
        x, y = (f"x{i}", f"y{i}")
        if layer.in_place:
            calls.append(f"  __builtin_memcpy((int8_t *)arena + {place}, {x}, {inputs});")
            x = y = f"(int8_t *)arena + {place}"
        calls.append(f"  net_k{i}({x}, net_w{i}, net_b{i}, net_m{i}, {y}{scratch});")
        if layer.in_place:
            outputs = layer.window.pixels * layer.channels
            calls.append(f"  __builtin_memcpy(y{i}, {x}, {outputs});")
        arena = max(arena, place + inputs if layer.in_place else template.scratch)
    helpers = helpers_in("".join(micro.values()))
    n = len(layers)
    arguments = [f"const int8_t *x{i}" for i in range(n)] + [f"int8_t *y{i}" for i in range(n)]
    head = f"int net_run({', '.join(arguments)}, void *arena)"
    run = [head, "{", *calls, "  (void)arena;", "  return 0;", "}", ""]
    parts = ['#include "net.h"', prelude(helpers), *micro.values(), *texts.values(), *data, *run]
    body = "\n".join(parts)
    files = {"net.h": f"#include <stdint.h>\n{head};\n", "net.c": body}
    inputs_ = [
        Port(f"x{i}", "int8", layer.window.height * layer.window.width * layer.window.channels)
        for i, layer in enumerate(layers)
    ]
    outputs_ = [
        Port(f"y{i}", "int8", layer.window.pixels * layer.channels)
        for i, layer in enumerate(layers)
    ]
    symbols = tuple(f"net_k{i}" for i in range(n))
    return NetworkSource("net", files, tuple(inputs_), tuple(outputs_), arena, 4, symbols)


def random_inputs(layers: Sequence[Layer], seed: int) -> list[Int8]:
    random = np.random.default_rng(seed)
    sizes = [layer.window.height * layer.window.width * layer.window.channels for layer in layers]
    return [random.integers(-128, 128, size, np.int8) for size in sizes]
