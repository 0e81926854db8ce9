"""
Rounding with a gradient: forward as the integers of the reference interpreter, backward as if
nothing had been rounded, and zero where a number was clipped.

Sources: Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic
Neurons for Conditional Computation", 2013 (straight-through); Esser et al., "Learned Step Size
Quantization", 2020: the gradients of steps follow from the same rule, since a step multiplies
what is rounded and divides what is read.
"""

from __future__ import annotations

from typing import Any

import torch

from tinycc_nn.numeric.requantize import MAX_SHIFT
from tinycc_nn.training.tensors import Tensor


class _FloorClamp(torch.autograd.Function):  # type: ignore[misc]
    """clamp(floor(t), lo, hi) of float[...]; the gradient passes strictly between lo and hi."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, lo: float, hi: float) -> Tensor:
        y = torch.floor(t).clamp_(lo, hi)
        ctx.save_for_backward(y)
        ctx.bounds = lo, hi
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(g, y, *ctx.bounds), None, None


def floor_clamp(t: Tensor, lo: int, hi: int) -> Tensor:
    """Round down and saturate; add one half before, and it rounds half up."""
    return _FloorClamp.apply(t, float(lo), float(hi))


class _Replace(torch.autograd.Function):  # type: ignore[misc]
    """The second tensor with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, value: Tensor) -> Tensor:
        del ctx, t
        return value

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        del ctx
        return g, None


def replaced(t: Tensor, value: Tensor) -> Tensor:
    """`value` (a constant, of the same shape and type) with the gradient of `t`."""
    return _Replace.apply(t, value)


def rounded(t: Tensor) -> Tensor:
    """The nearest integer, halves to even; the gradient passes."""
    return replaced(t, torch.round(t.detach()))


def multiplier(factor: Tensor) -> Tensor:
    """float64[n] factors as the integer multipliers of the one requantization rule stand for them,
    float64[n]; see numeric.requantize.multipliers."""
    largest, shift = float(factor.detach().max()), MAX_SHIFT
    while shift > 1 and largest * 2.0**shift + 0.5 >= 2**31:
        shift -= 1
    exact = torch.floor(factor.detach() * 2.0**shift + 0.5) * 2.0**-shift
    return replaced(factor, exact)


def sum_multiplier(factors: Tensor) -> Tensor:
    """float64[n] factors of a sum as its 15-bit multipliers stand for them, float32[n]."""
    from tinycc_nn.numeric.requantize import sum_multipliers
    from tinycc_nn.training.tensors import to_array, to_tensor

    m, shift = sum_multipliers(to_array(factors))
    exact = to_tensor(m).double().to(factors.device) * 2.0**-shift
    return replaced(factors, exact).float()
