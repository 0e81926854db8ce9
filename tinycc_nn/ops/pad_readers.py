"""ONNX reader of Pad: by a constant, or by elements of the tensor itself."""

from __future__ import annotations

import numpy as np

from tinycc_nn.ir.graph import Value
from tinycc_nn.ops.shape_readers import axis_of, check_indices, integers, slice_axes, take
from tinycc_nn.reader import Node, Reader

MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
"""ONNX's modes that copy elements, by numpy's names."""


def _pad(n: Node) -> Value:
    x, mode = n.value(0), n.text("mode", "constant")
    pads = n.integers("pads") if n.opset < 11 else integers(n, 1) or ()
    axes = integers(n, 3) if n.opset >= 18 else None
    axes = tuple(range(x.type.rank)) if axes is None else axes
    if len(pads) != 2 * len(axes):
        raise n.fail(f"{len(pads)} pads for {len(axes)} axes")
    both = {
        axis_of(n, a, x.type.rank): (b, e)
        for a, b, e in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True)
    }
    if mode in MODES:
        for axis, (before, after) in both.items():
            x = _pad_axis(n, x, axis, before, after, MODES[mode])
        return x
    if mode != "constant":
        raise n.fail(f"the mode '{mode}' is not known", "constant, reflect, edge or wrap")
    return _pad_constant(n, x, both)


def _pad_axis(n: Node, x: Value, axis: int, before: int, after: int, mode: str) -> Value:
    size = x.type.shape[axis]
    if not before and not after:
        return x
    check_indices(n, size + before + after, size + max(before, 0) + max(after, 0))
    padded = np.pad(np.arange(size), (max(before, 0), max(after, 0)), mode=mode)  # type: ignore[call-overload]
    kept = padded[max(-before, 0) : len(padded) - max(-after, 0)]
    return take(n, x, axis, tuple(int(i) for i in kept))


def _pad_constant(n: Node, x: Value, both: dict[int, tuple[int, int]]) -> Value:
    value = n.real("value", 0.0) if n.opset < 11 else _value(n)
    if not np.isfinite(value):
        raise n.fail(f"padding by {value} is not supported", "a finite number")
    crop = {
        axis: range(max(-b, 0), x.type.shape[axis] - max(-e, 0)) for axis, (b, e) in both.items()
    }
    x = slice_axes(n, x, crop)
    pads = [0] * (2 * x.type.rank)
    for axis, (b, e) in both.items():
        pads[2 * axis : 2 * axis + 2] = max(b, 0), max(e, 0)
    return n.emit("pad", [x], {"pads": tuple(pads), "value": value}) if any(pads) else x


def _value(n: Node) -> float:
    given = n.optional_constant(2)
    return 0.0 if given is None else float(given.reshape(-1)[0])


READERS = (Reader(("Pad",), _pad, ("mode", "pads", "value")),)
