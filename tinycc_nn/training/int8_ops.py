"""
The operators on int8 in torch: stored integers less the zero point, as float32, and the scales
beside them. Sums below 2^24 are exact, so that without gradients, where roundings are computed in
float64, a forward pass gives the interpreter's integers; with them, in float32, one rounding of
about 10^6 is the other way. Backward is straight-through.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor, inf, prod

import torch

from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import number
from tinycc_nn.ops.activation import bounds
from tinycc_nn.ops.reduce import reduced
from tinycc_nn.ops.resize import FRACTION_BITS, int_fractions
from tinycc_nn.ops.shape import pad_value
from tinycc_nn.ops.softmax import inverse_scale
from tinycc_nn.training import float_ops
from tinycc_nn.training.scales import Scales
from tinycc_nn.training.straight_through import floor_clamp, multiplier, replaced, sum_multiplier
from tinycc_nn.training.tensors import Tensor, to_tensor

Int8Meaning = Callable[..., Tensor]


def zero(op: Op) -> int:
    """The zero point of the result."""
    assert op.type.quant is not None
    return op.type.quant.zero


def limits(op: Op, scales: Scales) -> tuple[int, int]:
    """What the result less its zero point is clipped to, by its type and its activation."""
    low, high = bounds(op) if op.name in _WITH_ACTIVATION else (-inf, inf)
    least, most = -128 - zero(op), 127 - zero(op)

    def stored(real: float, otherwise: int) -> int:
        if real in (inf, -inf):
            return otherwise
        scale = float(scales.of(op.result).detach())
        return min(most, max(least, floor(real / scale + 0.5)))

    return stored(low, least), stored(high, most)


_WITH_ACTIVATION = {"conv2d", "conv2d_transpose", "dense", "add", "sub", "mul"}


def requantize(op: Op, scales: Scales, acc: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
    """acc, plus bias, times float64 factors, as the result's integers.

    factor and bias broadcast against acc; bias is in integers at the scale of acc.
    """
    m = multiplier(factor)
    offset = bias * m + 0.5
    if not torch.is_grad_enabled():
        return torch.floor(acc * m + offset).clamp_(*limits(op, scales)).float()
    t = torch.addcmul(offset.float(), acc, m.float())
    return floor_clamp(t, *limits(op, scales))


def ratio(op: Op, scales: Scales) -> Tensor:
    """float64[]: the scale of the first operand over that of the result."""
    return scales.of(op.operands[0]) / scales.of(op.result)


def _plain(op: Op, scales: Scales, acc: Tensor, factor: Tensor) -> Tensor:
    bias = torch.zeros((), dtype=torch.float64, device=acc.device)
    return requantize(op, scales, acc, factor, bias)


def _sum(op: Op, scales: Scales, a: Tensor, b: Tensor) -> Tensor:
    sign = -1.0 if op.name == "sub" else 1.0
    sa, sb = (scales.of(v) for v in op.operands)
    m = sum_multiplier(torch.stack([sa, sign * sb]) / scales.of(op.result))
    t = torch.addcmul(a * m[0] + 0.5, b, m[1])
    return floor_clamp(t, *limits(op, scales))


def _product(op: Op, scales: Scales, a: Tensor, b: Tensor) -> Tensor:
    factor = ratio(op, scales) * scales.of(op.operands[1])
    return _plain(op, scales, a @ b if op.name == "matmul" else a * b, factor)


def _prelu(op: Op, scales: Scales, x: Tensor, slope: Tensor) -> Tensor:
    above = ratio(op, scales)
    m = multiplier(torch.stack([above, above * scales.of(op.operands[1])])).float()
    t = torch.where(x > 0, x * m[0], x * slope * m[1])
    return floor_clamp(t + 0.5, *limits(op, scales))


def _avg_pool(op: Op, scales: Scales, x: Tensor) -> Tensor:
    factor = ratio(op, scales) / float_ops.counts(op, x).double()
    return _plain(op, scales, float_ops.window_sums(op, x), factor)


def _reduce(op: Op, scales: Scales, x: Tensor) -> Tensor:
    n = reduced(op) if op.name == "reduce_mean" else 1
    return _plain(op, scales, float_ops.reduce_sum(op, x), ratio(op, scales) / n)


def _requantize(op: Op, scales: Scales, x: Tensor) -> Tensor:
    return _plain(op, scales, x, ratio(op, scales))


def _resize_linear(op: Op, scales: Scales, x: Tensor) -> Tensor:
    u, v = (to_tensor(f).float().to(x.device) for f in int_fractions(op))
    acc = float_ops.blend(op, x, u, v, float(1 << FRACTION_BITS))
    return _plain(op, scales, acc, ratio(op, scales) / 4.0**FRACTION_BITS)


def _softmax(op: Op, scales: Scales, x: Tensor) -> Tensor:
    axis = int(number(op, "axis")) + 1
    real = x.double() * scales.of(op.operands[0])
    top = real.amax(dim=axis, keepdim=True).detach()
    e = torch.floor(2.0**15 * torch.exp(real.detach() - top) + 0.5)
    total = e.sum(dim=axis, keepdim=True)
    assert op.type.quant is not None
    one = inverse_scale(op.type.quant)
    y = torch.floor((e * one + torch.floor(total / 2)) / total).clamp(max=127 - zero(op))
    soft = torch.softmax(real, axis) / scales.of(op.result)
    return replaced(soft, y).float()


def _unary(op: Op, scales: Scales, x: Tensor) -> Tensor:
    real = x.double() * scales.of(op.operands[0])
    y = torch.nan_to_num(float_ops.UNARY[op.name](op, real), nan=0.0)
    t = y / scales.of(op.result) + 0.5
    return floor_clamp(t, *limits(op, scales)).float()


def _pad(op: Op, scales: Scales, x: Tensor) -> Tensor:
    del scales
    return float_ops.pad(op, x, pad_value(op) - zero(op))


def quantize(op: Op, scales: Scales, x: Tensor) -> Tensor:
    """float to integers, halves to even."""
    low, high = -128 - zero(op), 127 - zero(op)
    t = x / scales.of(op.result)
    return replaced(t.clamp(low, high), torch.round(t.detach()).clamp(low, high))


def dequantize(op: Op, scales: Scales, x: Tensor) -> Tensor:
    return x * scales.of(op.operands[0])


INT8: dict[str, Int8Meaning] = {
    **dict.fromkeys(float_ops.UNARY, _unary),
    "add": _sum,
    "avg_pool2d": _avg_pool,
    "matmul": _product,
    "mul": _product,
    "pad": _pad,
    "prelu": _prelu,
    "reduce_mean": _reduce,
    "reduce_sum": _reduce,
    "requantize": _requantize,
    "resize_linear": _resize_linear,
    "softmax": _softmax,
    "sub": _sum,
}
"""Every operator on int8 but layers and what only moves elements."""


def int32_room(weights: Tensor) -> float:
    """The largest sum of products of a layer with these integers [out, ...], for any input."""
    return 255.0 * float(
        weights.detach().abs().reshape(len(weights), prod(weights.shape[1:])).sum(dim=1).max()
    )
