"""ONNX readers of Resize and Upsample."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

import numpy as np

from tinycc_nn.ir.graph import Value
from tinycc_nn.ops.resize import coordinates, linear_indices, nearest_indices
from tinycc_nn.ops.shape_readers import TO_NCHW, TO_NHWC, axis_of, integers, reshape
from tinycc_nn.reader import Node, Reader

Axis = tuple[tuple[int, ...], tuple[float, ...]]
"""Along one axis: which elements are taken, and the fractions towards the next ones."""


def _resize(n: Node) -> Value:
    x, scale_at = n.value(0), 1 if n.opset < 11 else 2
    scales = n.optional_constant(scale_at)
    sizes = integers(n, 3) if n.opset >= 11 else None
    given = [axis_of(n, a, x.type.rank) for a in n.integers("axes", range(x.type.rank))]
    if n.integer("antialias", 0):
        raise n.fail("antialias is not supported", "export without it")
    if sizes:
        targets = _by_size(n, dict(zip(given, sizes, strict=True)), x.type.shape)
    elif scales is not None and scales.size:
        targets = _by_scale(dict(zip(given, map(float, scales), strict=True)), x.type.shape)
    else:
        raise n.fail("neither scales nor sizes are given")
    if n.opset < 11:
        return _read(n, x, targets, "asymmetric", "floor")
    transform = n.text("coordinate_transformation_mode", "half_pixel")
    return _read(n, x, targets, transform, n.text("nearest_mode", "round_prefer_floor"))


def _upsample(n: Node) -> Value:
    x = n.value(0)
    scales = n.reals("scales") if n.opset < 9 else tuple(float(s) for s in n.constant(1))
    targets = _by_scale(dict(enumerate(scales)), x.type.shape)
    return _read(n, x, targets, "asymmetric", "floor")


Targets = dict[int, tuple[int, float]]
"""Size and scale of the result by axis."""


def _by_scale(scales: Mapping[int, float], shape: tuple[int, ...]) -> Targets:
    return {a: (floor(shape[a] * s), s) for a, s in scales.items()}


def _by_size(n: Node, sizes: Mapping[int, int], shape: tuple[int, ...]) -> Targets:
    policy = n.text("keep_aspect_ratio_policy", "stretch")
    factors = {a: size / shape[a] for a, size in sizes.items()}
    if policy == "stretch":
        return {a: (size, factors[a]) for a, size in sizes.items()}
    if policy not in ("not_larger", "not_smaller"):
        raise n.fail(f"the policy '{policy}' is not known")
    one = (min if policy == "not_larger" else max)(factors.values())
    return {a: (floor(shape[a] * one + 0.5), one) for a in sizes}


def _read(n: Node, x: Value, targets: Targets, transform: str, rounding: str) -> Value:
    mode = n.text("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise n.fail(f"the mode '{mode}' is not supported", "nearest or linear")
    shape = x.type.shape
    moved = {a: t for a, t in targets.items() if t != (shape[a], 1.0)}
    if any(size < 1 or size > 1 << 20 for size, _ in moved.values()):
        raise n.fail("the result has an impossible size")
    axes = {a: _axis(n, mode, shape[a], *moved[a], transform, rounding) for a in sorted(moved)}
    if len(axes) > 2:
        raise n.fail(f"{len(axes)} axes are resized", "at most two are supported")
    return _as_image(n, x, axes, mode)


def _axis(
    n: Node, mode: str, size: int, out: int, scale: float, transform: str, rounding: str
) -> Axis:
    try:
        at = coordinates(transform, size, out, scale)
        if mode == "linear":
            return linear_indices(at, size)
        return nearest_indices(at, rounding, size), (0.0,) * out
    except ValueError as e:
        raise n.fail(f"'{e}' is not supported") from None


def _as_image(n: Node, x: Value, axes: dict[int, Axis], mode: str) -> Value:
    """Resize axes of a tensor of any rank by the operators on NHWC images."""
    if not axes:
        return x
    rank = x.type.rank
    if rank == 4 and set(axes) <= {1, 2}:
        return _emit(n, x, axes, (1, 2), mode)
    if rank == 4 and set(axes) <= {2, 3}:
        image = n.emit("transpose", [x], {"perm": TO_NHWC})
        y = _emit(n, image, {a - 1: axis for a, axis in axes.items()}, (1, 2), mode)
        return n.emit("transpose", [y], {"perm": TO_NCHW})
    others = [a for a in range(rank) if a not in axes]
    perm = (*others, *axes)
    shape = tuple(x.type.shape[a] for a in perm)
    sides = shape[len(others) :] if len(axes) == 2 else (shape[-1], 1)
    y = n.emit("transpose", [x], {"perm": perm})
    y = reshape(n, y, (int(np.prod(shape[: len(others)])), *sides, 1))
    y = _emit(n, y, dict(enumerate(axes.values(), start=1)), (1, 2), mode)
    y = reshape(n, y, (*shape[: len(others)], *(len(i) for i, _ in axes.values())))
    return n.emit("transpose", [y], {"perm": tuple(int(i) for i in np.argsort(perm))})


def _emit(n: Node, x: Value, axes: Mapping[int, Axis], at: tuple[int, int], mode: str) -> Value:
    same: list[Axis] = [(tuple(range(x.type.shape[a])), (0.0,) * x.type.shape[a]) for a in at]
    (rows, u), (columns, v) = (axes.get(a, s) for a, s in zip(at, same, strict=True))
    if mode == "nearest":
        return n.emit("resize_nearest", [x], {"rows": rows, "columns": columns})
    fractions = {"row_fraction": u, "column_fraction": v}
    return n.emit("resize_linear", [x], {"rows": rows, "columns": columns, **fractions})


READERS = (
    Reader(
        ("Resize",),
        _resize,
        (
            "mode",
            "coordinate_transformation_mode",
            "nearest_mode",
            "axes",
            "antialias",
            "keep_aspect_ratio_policy",
            "cubic_coeff_a",
            "exclude_outside",
            "extrapolation_value",
        ),
    ),
    Reader(("Upsample",), _upsample, ("mode", "scales")),
)
