"""
Constants that are trained: float parameters as they are, codes and int8 by a latent weight.

A latent weight is kept in units of a power of two near the channel's magnitude, so that one
learning rate fits all layers and a parameter that was not trained comes back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from tinycc_nn.ir.graph import Value
from tinycc_nn.ir.types import F32, I8, Array, Blob, DType, Quant
from tinycc_nn.numeric.codes import CodeBook
from tinycc_nn.quantization.coding import codes_of
from tinycc_nn.training.straight_through import replaced, rounded
from tinycc_nn.training.tensors import Tensor, to_array, to_tensor

INT8_MOST = 127
MARGIN = 0.01
"""Of an integer: how far a latent weight is from where it would round to another code, at first."""


def magnitude(w: Array) -> Array:
    """float32, broadcast against w [n, ...]: the power of two nearest to each channel's root mean
    square; 1 for a channel of zeros."""
    axes = tuple(range(1, w.ndim))
    rms = np.sqrt(np.mean(np.square(w.astype(np.float64)), axis=axes, keepdims=True))
    rms = np.where(rms > 0, rms, 1.0)
    return np.asarray(2.0 ** np.rint(np.log2(rms)), np.float32)


class FloatParameter:
    """A float constant: weights [out, ...] (`masked`: exact zeros stay), or a vector."""

    def __init__(self, v: Value, *, masked: bool, per_channel: bool, device: str) -> None:
        assert v.constant is not None
        w = v.constant
        unit = magnitude(w if per_channel else w[None]).reshape((-1,) + (1,) * (w.ndim - 1))
        self.value = v
        self._unit = to_tensor(unit).to(device)
        self.latent = to_tensor(w / unit).to(device).requires_grad_()
        zero = w == 0
        self._mask = (
            to_tensor((~zero).astype(np.float32)).to(device) if masked and zero.any() else None
        )

    def parameters(self) -> Iterator[Tensor]:
        yield self.latent

    def now(self) -> Tensor:
        """float32 as the constant."""
        latent = self.latent if self._mask is None else self.latent * self._mask
        return latent * self._unit

    def array(self) -> Array:
        """float32: what is to be stored."""
        return to_array(self.now())


def in_cells(v: Value, w: Array) -> Array:
    """float32: the real weights nearest to `w` that round to the integers of the constant `v`, so
    that a training starts from the network as it is, however its codes were chosen."""
    integers = v.integers
    assert integers is not None and v.type.quant is not None
    n = integers.astype(np.float64)
    low, high = n - 0.5, n + 0.5
    if (book := v.type.dtype.book) is not None:
        values, _ = book.sorted()
        ends = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
        at = np.searchsorted(values, n)
        low, high = ends[at], ends[at + 1]
    steps = v.type.quant.broadcast(w.ndim) * v.type.dtype.unit
    return np.asarray(np.clip(w / steps, low + MARGIN, high - MARGIN) * steps, np.float32)


class CodedWeight:
    """
    Weights as int8 or codes: integer = nearest(latent / step), step = start * exp(log).

    w: float32 [out, ...], the real weights to start from, as far as they round to the codes. zeros: bool of that shape, what stays 0.
    `integers` and `steps` have gradients for the latent weights and, if `learn`, for the steps.
    """

    def __init__(self, v: Value, w: Array, zeros: Array, *, learn: bool, device: str) -> None:
        assert v.type.quant is not None
        self.value = v
        self._book: CodeBook | None = v.type.dtype.book
        if v.constant is not None and not (self._book is not None and self._book.hashed):
            w = in_cells(v, w)
        unit = magnitude(w)
        self._unit = to_tensor(unit).to(device)
        self.latent = to_tensor(w.astype(np.float32) / unit).to(device).requires_grad_()
        self._mask = to_tensor((~zeros).astype(np.float32)).to(device) if zeros.any() else None
        scale = v.type.quant.scales()
        self._start = to_tensor(scale).to(device)
        self.log = torch.zeros_like(self._start).requires_grad_() if learn else None
        if self._book is None:
            self._low, self._high = -float(INT8_MOST), float(INT8_MOST)
            return
        values, _ = self._book.sorted()
        self._low, self._high = float(values[0]), float(values[-1])
        self._values = to_tensor(values.astype(np.float32)).to(device)
        self._between = to_tensor((values[1:] + values[:-1]).astype(np.float32) / 2).to(device)

    def parameters(self) -> Iterator[Tensor]:
        yield self.latent

    def refresh(self, least: Tensor) -> None:
        """Before a forward pass: `least`, float64[out] or [1], is the smallest step that the layer
        can follow. Sets `scale` and `steps`, float64[out] or [1], numbers of float32 if learned."""
        unit = 1.0 if self._book is None else self._book.unit
        scale = self._start
        if self.log is not None:
            scale = (scale * torch.exp(self.log)).float().double()
            least = least.max() if len(scale) == 1 else least
            scale = torch.maximum(scale, (least / unit).float().double())
        self.scale, self.steps = scale, scale * unit

    def integers(self) -> Tensor:
        """float32 of the weights' shape: the integers that the codes stand for."""
        w = self.latent if self._mask is None else self.latent * self._mask
        steps = self.steps.float().reshape(-1, *[1] * (w.ndim - 1))
        u = (w * (self._unit / steps)).clamp(self._low, self._high)
        return replaced(u, self._nearest(u.detach()))

    def _nearest(self, u: Tensor) -> Tensor:
        if self._book is None or (self._book.signed and len(self._values) == 1 << self._book.bits):
            return torch.round(u)
        return self._values[torch.bucketize(u, self._between)]

    def dtype(self) -> DType:
        """The element type to be stored."""
        return self.value.type.dtype

    def stored_codes(self) -> Array:
        """int8, or codes."""
        integers = np.rint(to_array(self.integers())).astype(np.int64)
        return integers.astype(np.int8) if self._book is None else codes_of(self._book, integers)

    def stored(self) -> tuple[Array, Quant]:
        """The constant as stored and its quantization."""
        array = self.stored_codes()
        scale, old = to_array(self.scale), self.value.type.quant
        assert old is not None
        if isinstance(old.scale, float):
            return array, Quant(float(scale[0]), old.zero)
        return array, Quant(Blob(old.scale.name, scale.astype(np.float32)), old.zero, old.axis)


class HashedWeight(CodedWeight):
    """Weights whose codes follow from their position: the entries of the table are trained, each by
    all weights that have it."""

    def __init__(self, v: Value, *, learn: bool, device: str) -> None:
        assert v.constant is not None
        shape = v.type.shape
        nothing = np.zeros(shape, np.float32)
        super().__init__(v, nothing, np.zeros(shape, np.bool_), learn=learn, device=device)
        assert self._book is not None
        entries = self._book.values.astype(np.float32)
        self._unit = to_tensor(magnitude(entries[None])[0]).to(device)
        self.latent = (to_tensor(entries).to(device) / self._unit).requires_grad_()
        self._codes = to_tensor(v.constant.astype(np.int64)).to(device)
        self._most = float(np.iinfo(np.int16).max)

    def _entries(self) -> Tensor:
        """float32[k], integers."""
        return rounded((self.latent * self._unit).clamp(-self._most, self._most))

    def integers(self) -> Tensor:
        return self._entries()[self._codes]

    def dtype(self) -> DType:
        entries = np.rint(to_array(self._entries())).astype(np.int16)
        old = self.value.type.dtype
        (blob,) = old.params
        assert isinstance(blob, Blob)
        same = np.array_equal(entries, blob.array)
        return old if same else DType.of_parts(old.name, (Blob(blob.name, entries),))

    def stored_codes(self) -> Array:
        assert self.value.constant is not None
        return self.value.constant


def is_coded(v: Value) -> bool:
    """Whether a constant is stored as int8 or as codes, symmetric."""
    q = v.type.quant
    stored = v.type.dtype == I8 or v.type.dtype.book is not None
    return v.constant is not None and stored and q is not None and q.zero == 0


def is_float(v: Value) -> bool:
    return v.constant is not None and v.type.dtype == F32
