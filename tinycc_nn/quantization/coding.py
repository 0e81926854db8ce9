"""
Weights as codes: the scale of each channel by the error that it leaves, then the codes.

The error of a channel is sum(e^2) over its weights, or e' C e with the covariance C of the layer's
input: the variance that e adds to the output. Codes are the nearest ones, or chosen one after the
other so that later ones make up for the error of earlier ones.

Source of the latter: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", 2023 (after Hassibi and Stork, "Optimal Brain Surgeon", 1993).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.types import Array
from tinycc_nn.numeric.codes import CodeBook

DAMPING = 0.01
"""Of the mean variance, added to every variance: keeps covariances invertible."""

REFINEMENTS = 3
Encode = Callable[[Array], Array]


@dataclass(frozen=True)
class Bounds:
    """
    What a layer asks of its weights.

    least: float64[out], positive: the smallest real value of the integer 1 that it can follow.
    bias:  float64[out]: magnitude of the bias over the scale of the input.
    """

    least: Array
    bias: Array

    def fit(self, integers: Array, steps: Array) -> Array:
        """bool[out]: whether sums of products fit int32 for every input."""
        sums = 255.0 * np.abs(integers).sum(axis=-1) + self.bias / steps
        return np.asarray(sums < 2**31 - 1)


@dataclass(frozen=True)
class Coding:
    """How float64[out, K] weights become codes of a book.

    weight:    float64[out, K] or [1, K]: importance of each weight's squared error.
    encode:    integers of float64[...] in units of the book, nearest if it isn't another rounding.
    """

    book: CodeBook
    weight: Array
    bounds: Bounds
    per_channel: bool
    encode: Encode

    def integers(self, w: Array, steps: Array) -> Array:
        """int64[out, K]: what the codes of the weights stand for; exact zeros stay zeros."""
        found = self.encode(w / steps[:, None])
        return np.where(w == 0, 0, found) if self.book.has_zero else found

    def steps(self, w: Array) -> Array:
        """float64[out]: the real value of the integer 1 with the least error.

        Tried are steps that put the largest weight at 2^(i/8) integers; the best one is refined by
        least squares. ValueError if sums don't fit int32 with any.
        """
        largest = np.abs(w).max(axis=1)
        if not self.per_channel:
            largest = np.full(len(w), largest.max())
        best, least = np.zeros(len(w)), np.full(len(w), np.inf)
        for reach in self._reaches():
            best, least = self._better(w, largest / reach, best, least)
        if np.isinf(least).any():
            raise ValueError("its sums may exceed 32 bits")
        for _ in range(REFINEMENTS):
            best, least = self._better(w, self._least_squares(w, best), best, least)
        return best

    def _reaches(self) -> list[float]:
        if self.book.host:  # the largest weight near 1, where posits are densest
            return [2.0 ** (i / 4) / self.book.unit for i in range(-16, 33)]
        top = float(np.abs(self.book.values[self.book.used].astype(np.int64)).max())
        even = self.book.signed or self.book.bits == 1
        low = -8 if even and self.book.bits <= 7 else -64
        return [top * 2.0 ** (i / 8) for i in range(low, 25)]

    def _better(self, w: Array, steps: Array, best: Array, least: Array) -> tuple[Array, Array]:
        steps = np.maximum(steps, self.bounds.least)
        if not self.per_channel:
            steps = np.full(len(w), steps.max())
        integers = self.integers(w, steps)
        error = (self.weight * (w - integers * steps[:, None]) ** 2).sum(axis=1)
        error[~self.bounds.fit(integers, steps)] = np.inf
        if not self.per_channel:
            error[:] = error.sum()
        better = error < least
        return np.where(better, steps, best), np.where(better, error, least)

    def _least_squares(self, w: Array, steps: Array) -> Array:
        v = self.integers(w, steps)
        axis = 1 if self.per_channel else None
        above, below = (self.weight * w * v).sum(axis=axis), (self.weight * v * v).sum(axis=axis)
        found = np.where(below > 0, above / np.where(below > 0, below, 1), 0)
        return np.where(found > 0, found, steps)

    def optimized(self, w: Array, steps: Array, covariance: Array) -> Array:
        """int64[out, K]: `integers` chosen one input after the other, those of the largest variance
        first; what is left to choose makes up for their errors. covariance: float64[groups, K, K].
        """
        groups, k = covariance.shape[:2]
        variance = np.diagonal(covariance, axis1=1, axis2=2)
        order = np.argsort(-variance, axis=1, kind="stable")
        damping = DAMPING * variance.mean(axis=1) + 1e-30
        each = np.arange(groups)[:, None, None]
        damped = covariance[each, order[:, :, None], order[:, None, :]]
        damped[:, np.arange(k), np.arange(k)] += damping[:, None]
        factor = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
        # All groups at once: a depthwise layer has as many as channels, each of a few weights.
        left = np.take_along_axis(w.reshape(groups, -1, k), order[:, None], axis=2)
        zero, units = (left == 0) & self.book.has_zero, steps.reshape(groups, -1)
        found = np.empty(left.shape, np.float64 if self.book.host else np.int64)
        for j in range(k):
            v = np.where(zero[:, :, j], 0, self.encode(left[:, :, j] / units))
            error = (left[:, :, j] - v * units) / factor[:, j, j, None]
            left[:, :, j + 1 :] -= error[:, :, None] * factor[:, None, j, j + 1 :]
            found[:, :, j] = v
        back = np.argsort(order, axis=1)
        return np.take_along_axis(found, back[:, None], axis=2).reshape(w.shape)


def nearest(book: CodeBook) -> Encode:
    """To the nearest value of the book."""
    values, _ = book.sorted()
    between = (values[1:] + values[:-1]) / 2
    return lambda x: values[np.searchsorted(between, x)]


def codes_of(book: CodeBook, integers: Array) -> Array:
    """The codes, uint8 or uint16, of int64[...] that are values of the book."""
    values, codes = book.sorted()
    return np.asarray(codes[np.searchsorted(values, integers)].astype(book.storage))
