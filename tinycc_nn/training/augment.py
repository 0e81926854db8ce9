"""Variations of samples that keep what they show: float32 [n, ..., rows, columns, channels].

Samples come in the layout of the network's input, which may be channels-first: then the axis of
channels is the shorter one.

Sources: He et al., "Deep Residual Learning", 2016 (crop and flip); Park et al., "SpecAugment",
2019 (masks); Zhang et al., "mixup", 2018, and Beyer et al., "Knowledge distillation: A good teacher
is patient and consistent", 2022 (mix: the teacher answers for the blend).
"""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Value
from tinycc_nn.ir.types import Array
from tinycc_nn.training.settings import Settings


def check_augmentation(settings: Settings, v: Value) -> None:
    """TinyccError if the input isn't what the options are for."""
    asked = [n for n in ("crop", "flip", "shift", "mask") if getattr(settings, n)]
    if asked and (v.type.rank < 3 or (not v.type.dtype.is_float and v.type.quant is None)):
        hint = "they need [..., rows, columns, channels]"
        raise TinyccError(f"{', '.join(asked)} don't fit the input {v} {v.type}", hint=hint)
    rows, columns = _image(v.type.shape) if v.type.rank >= 3 else (1, 1)
    most = {"crop": min(rows, columns) - 1, "shift": rows - 1, "mask": min(rows, columns) - 1}
    for name, bound in most.items():
        if getattr(settings, name) > max(bound, 0):
            raise TinyccError(f"{name}={getattr(settings, name)} of {rows} rows, {columns} columns")


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 4 and shape[-3] < shape[-1] and shape[-3] < shape[-2]


def _image(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns."""
    first, second = (-2, -1) if _channels_first(shape) else (-3, -2)
    return shape[first], shape[second]


def augmented(x: Array, settings: Settings, random: np.random.Generator) -> Array:
    """Samples varied as the settings say; the same array if they say nothing."""
    if _channels_first(x.shape[1:]):
        return np.moveaxis(_varied(np.moveaxis(x, -3, -1), settings, random), -1, -3)
    return _varied(x, settings, random)


def _varied(x: Array, settings: Settings, random: np.random.Generator) -> Array:
    if settings.flip:
        x = _flipped(x, random)
    if settings.crop:
        x = _cropped(x, settings.crop, random)
    if settings.shift:
        x = _shifted(x, settings.shift, random)
    if settings.mask:
        x = _masked(x, settings.mask, random)
    if settings.noise:
        deviation = settings.noise * float(x.std())
        x = x + (random.standard_normal(x.shape, np.float32) * np.float32(deviation))
    if settings.mix:
        x = _mixed(x, settings.mix, random)
    return x


def _flipped(x: Array, random: np.random.Generator) -> Array:
    which = random.random(len(x)) < 0.5
    out = x.copy()
    out[which] = x[which][..., ::-1, :]
    return out


def _cropped(x: Array, most: int, random: np.random.Generator) -> Array:
    *_, rows, columns, _ = x.shape
    around = [(0, 0)] * (x.ndim - 3) + [(most, most), (most, most), (0, 0)]
    wide = np.pad(x, around, mode="reflect")
    out = np.empty_like(x)
    places = random.integers(0, 2 * most + 1, (len(x), 2))
    for i, (top, left) in enumerate(places):
        out[i] = wide[i, ..., top : top + rows, left : left + columns, :]
    return out


def _shifted(x: Array, most: int, random: np.random.Generator) -> Array:
    rows = x.shape[-3]
    out = np.empty_like(x)
    for i, by in enumerate(random.integers(-most, most + 1, len(x))):
        out[i] = np.take(x[i], np.clip(np.arange(rows) + by, 0, rows - 1), axis=-3)
    return out


def _masked(x: Array, most: int, random: np.random.Generator) -> Array:
    *_, rows, columns, _ = x.shape
    out = x.copy()
    for i in range(len(x)):
        mean = x[i].mean()
        for size, axis in ((rows, -3), (columns, -2)):
            span = int(random.integers(0, most + 1))
            first = int(random.integers(0, size - span + 1))
            part = (slice(first, first + span),) + (slice(None),) * (-axis - 1)
            out[(i, ..., *part)] = mean
    return out


def _mixed(x: Array, most: float, random: np.random.Generator) -> Array:
    others = x[random.permutation(len(x))]
    share = random.uniform(0, most, (len(x), *(1,) * (x.ndim - 1))).astype(np.float32)
    blend: Array = x + share * (others - x)
    return blend
