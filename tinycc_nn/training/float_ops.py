"""The operators on floats in torch: tensors are [samples, *shape], images NHWC as in the IR.

A permuted view of an NHWC tensor is what torch calls channels-last, so nothing is transposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import flag, ints, number, word
from tinycc_nn.ops.activation import bounds
from tinycc_nn.ops.pool import window_counts
from tinycc_nn.ops.reduce import reduced
from tinycc_nn.ops.shape import slice_ranges
from tinycc_nn.training.tensors import Tensor, to_tensor

Meaning = Callable[..., Tensor]


def images(x: Tensor) -> Tensor:
    """[samples, n, h, w, c] as [samples * n, c, h, w], the same memory."""
    return x.reshape(-1, *x.shape[2:]).permute(0, 3, 1, 2)


def back(op: Op, y: Tensor, samples: int) -> Tensor:
    """The reverse, in the shape of the op's result."""
    return y.permute(0, 2, 3, 1).reshape(samples, *op.type.shape)


def padded(op: Op, x: Tensor, value: float) -> tuple[Tensor, tuple[int, int]]:
    """[n, c, h, w] with the op's padding, or the padding that is left for torch to add."""
    top, bottom, left, right = ints(op, "pad")
    if (top, left) == (bottom, right) and value == 0:
        return x, (top, left)
    if not any((top, bottom, left, right)):
        return x, (0, 0)
    y = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, top, bottom), value=value)
    return y.permute(0, 3, 1, 2), (0, 0)


def conv(op: Op, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Sums of products of a conv2d: x [samples, n, h, w, c], w OHWI, bias [o]."""
    y, pad = padded(op, images(x), 0.0)
    y = F.conv2d(
        y,
        w.permute(0, 3, 1, 2),
        bias,
        ints(op, "stride"),
        pad,
        ints(op, "dilation"),
        int(number(op, "groups")),
    )
    return back(op, y, len(x))


def conv_transpose(op: Op, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Sums of products of a conv2d_transpose, as `conv`."""
    groups = int(number(op, "groups"))
    out, kh, kw, each = w.shape
    weight = w.reshape(groups, out // groups, kh, kw, each).permute(0, 4, 1, 2, 3)
    weight = weight.reshape(groups * each, out // groups, kh, kw)
    stride, dilation = ints(op, "stride"), ints(op, "dilation")
    y = F.conv_transpose2d(images(x), weight, None, stride=stride, groups=groups, dilation=dilation)
    top, _, left, _ = ints(op, "pad")
    _, rows, columns, _ = op.type.shape
    missing = (max(0, left + columns - y.shape[3]), max(0, top + rows - y.shape[2]))
    y = F.pad(y, (0, missing[0], 0, missing[1]))[:, :, top : top + rows, left : left + columns]
    y = back(op, y, len(x))
    return y if bias is None else y + bias


def dense(op: Op, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Sums of products of a dense layer: x [samples, ..., k], w [n, k]."""
    return F.linear(x, w, bias).reshape(len(x), *op.type.shape)


PRODUCTS: dict[str, Meaning] = {"conv2d": conv, "conv2d_transpose": conv_transpose, "dense": dense}


def clamp(op: Op, y: Tensor) -> Tensor:
    """Clip to the range of the op's activation."""
    lo, hi = bounds(op)
    if (lo, hi) == (-math.inf, math.inf):
        return y
    if (lo, hi) == (0.0, math.inf):
        return F.relu(y)
    return y.clamp(None if lo == -math.inf else lo, None if hi == math.inf else hi)


def window_sums(op: Op, x: Tensor) -> Tensor:
    """Sums over the windows of an avg_pool2d; padding counts as 0."""
    y, pad = padded(op, images(x), 0.0)
    if max(ints(op, "dilation")) > 1:
        c = y.shape[1]
        ones = torch.ones(c, 1, *ints(op, "kernel"), device=x.device)
        args = ints(op, "stride"), pad, ints(op, "dilation")
        return back(op, F.conv2d(y, ones, None, *args, groups=c), len(x))
    y = F.pad(y, (pad[1], pad[1], pad[0], pad[0])) if any(pad) else y
    if tuple(y.shape[2:]) == ints(op, "kernel"):
        return back(op, y.sum(dim=(2, 3), keepdim=True), len(x))
    y = F.avg_pool2d(y, ints(op, "kernel"), ints(op, "stride"), divisor_override=1)
    return back(op, y, len(x))


def counts(op: Op, x: Tensor) -> Tensor:
    """float32[rows, columns, 1]: what the sums of an avg_pool2d are divided by."""
    return to_tensor(window_counts(op)).float().to(x.device)[..., None]


def max_pool(op: Op, x: Tensor) -> Tensor:
    y, _ = padded(op, images(x), -math.inf) if any(ints(op, "pad")) else (images(x), None)
    y = F.max_pool2d(y, ints(op, "kernel"), ints(op, "stride"), 0, ints(op, "dilation"))
    return back(op, y, len(x))


def axes(op: Op) -> tuple[int, ...]:
    """The reduced axes of a tensor with samples."""
    return tuple(a + 1 for a in ints(op, "axes"))


def reduce_sum(op: Op, x: Tensor) -> Tensor:
    return x.sum(dim=axes(op), keepdim=flag(op, "keep")) if axes(op) else x


def _reduce_mean(op: Op, x: Tensor) -> Tensor:
    return reduce_sum(op, x) / reduced(op)


def reduce_max(op: Op, x: Tensor) -> Tensor:
    return x.amax(dim=axes(op), keepdim=flag(op, "keep")) if axes(op) else x


def _reshape(op: Op, x: Tensor) -> Tensor:
    return x.reshape(len(x), *op.type.shape)


def _transpose(op: Op, x: Tensor) -> Tensor:
    return x.permute(0, *(p + 1 for p in ints(op, "perm")))


def _concat(op: Op, *parts: Tensor) -> Tensor:
    n = max(len(p) for p in parts)
    whole = [p.expand(n, *p.shape[1:]) for p in parts]
    return torch.cat(whole, dim=int(number(op, "axis")) + 1)


def _slice(op: Op, x: Tensor) -> Tensor:
    for axis, r in enumerate(slice_ranges(op), start=1):
        if r != range(x.shape[axis]):
            x = x.index_select(axis, torch.tensor(list(r), device=x.device))
    return x


def _take(op: Op, x: Tensor) -> Tensor:
    indices = torch.tensor(ints(op, "indices"), device=x.device)
    return x.index_select(int(number(op, "axis")) + 1, indices)


def pad(op: Op, x: Tensor, value: float) -> Tensor:
    """The operator pad with what it writes."""
    pads = ints(op, "pads")
    pairs = list(zip(pads[::2], pads[1::2], strict=True))
    return F.pad(x, [n for pair in reversed(pairs) for n in pair], value=value)


def _resize_nearest(op: Op, x: Tensor) -> Tensor:
    rows, columns = (torch.tensor(ints(op, n), device=x.device) for n in ("rows", "columns"))
    return x.index_select(2, rows).index_select(3, columns)


def blend(op: Op, x: Tensor, u: Tensor, v: Tensor, one: float = 1.0) -> Tensor:
    """resize_linear with the fractions u of rows and v of columns, in units of 1 / one."""
    rows, columns = (torch.tensor(ints(op, n), device=x.device) for n in ("rows", "columns"))
    below, right = (rows + 1).clamp(max=x.shape[2] - 1), (columns + 1).clamp(max=x.shape[3] - 1)
    u, v = u[:, None, None], v[None, :, None]

    def row(r: Tensor) -> Tensor:
        y = x.index_select(2, r)
        return y.index_select(3, columns) * (one - v) + y.index_select(3, right) * v

    return row(rows) * (one - u) + row(below) * u


def _resize_linear(op: Op, x: Tensor) -> Tensor:
    u, v = (
        torch.tensor(op.attrs[n], dtype=torch.float32, device=x.device)
        for n in ("row_fraction", "column_fraction")
    )
    return blend(op, x, u, v)


def _axis(op: Op) -> int:
    return int(number(op, "axis")) + 1


def elu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def _gelu(op: Op, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=word(op, "approximate"))


UNARY: dict[str, Meaning] = {
    "abs": lambda _, x: x.abs(),
    "ceil": lambda _, x: x.ceil(),
    "celu": lambda op, x: F.celu(x, number(op, "alpha")),
    "clip": lambda op, x: x.clamp(number(op, "min"), number(op, "max")),
    "cos": lambda _, x: x.cos(),
    "elu": lambda op, x: elu(x, number(op, "alpha")),
    "erf": lambda _, x: x.erf(),
    "exp": lambda _, x: x.exp(),
    "floor": lambda _, x: x.floor(),
    "gelu": _gelu,
    "hard_sigmoid": lambda op, x: (number(op, "alpha") * x + number(op, "beta")).clamp(0, 1),
    "hard_swish": lambda _, x: x * (x / 6 + 0.5).clamp(0, 1),
    "leaky_relu": lambda op, x: F.leaky_relu(x, number(op, "alpha")),
    "log": lambda _, x: x.log(),
    "mish": lambda _, x: F.mish(x),
    "neg": lambda _, x: -x,
    "power": lambda op, x: x ** number(op, "exponent"),
    "reciprocal": lambda _, x: x.reciprocal(),
    "relu": lambda _, x: F.relu(x),
    "round": lambda _, x: x.round(),
    "selu": lambda op, x: number(op, "gamma") * elu(x, number(op, "alpha")),
    "sigmoid": lambda _, x: x.sigmoid(),
    "sign": lambda _, x: x.sign(),
    "sin": lambda _, x: x.sin(),
    "softplus": lambda _, x: F.softplus(x),
    "softsign": lambda _, x: F.softsign(x),
    "sqrt": lambda _, x: x.sqrt(),
    "swish": lambda op, x: x * (number(op, "alpha") * x).sigmoid(),
    "tanh": lambda _, x: x.tanh(),
    "thresholded_relu": lambda op, x: torch.where(x > number(op, "alpha"), x, torch.zeros_like(x)),
}
"""Functions of one number: the op and float32 or float64 [...] to the same."""

MOVES: dict[str, Meaning] = {
    "concat": _concat,
    "max_pool2d": max_pool,
    "maximum": lambda _, a, b: torch.maximum(a, b),
    "minimum": lambda _, a, b: torch.minimum(a, b),
    "reduce_max": reduce_max,
    "reshape": _reshape,
    "resize_nearest": _resize_nearest,
    "slice": _slice,
    "take": _take,
    "transpose": _transpose,
}
"""What only moves or compares elements: the same on floats and on integers."""

FLOAT: dict[str, Meaning] = {
    **UNARY,
    **MOVES,
    "add": lambda op, a, b: clamp(op, a + b),
    "avg_pool2d": lambda op, x: window_sums(op, x) / counts(op, x),
    "div": lambda op, a, b: clamp(op, a / b),
    "log_softmax": lambda op, x: F.log_softmax(x, _axis(op)),
    "matmul": lambda _, a, b: a @ b,
    "mul": lambda op, a, b: clamp(op, a * b),
    "pad": lambda op, x: pad(op, x, number(op, "value")),
    "prelu": lambda _, x, slope: torch.where(x >= 0, x, x * slope),
    "reduce_mean": _reduce_mean,
    "reduce_sum": reduce_sum,
    "resize_linear": _resize_linear,
    "softmax": lambda op, x: F.softmax(x, _axis(op)),
    "sub": lambda op, a, b: clamp(op, a - b),
}
"""Every operator on floats but layers, batch_norm and what leads to integers."""
